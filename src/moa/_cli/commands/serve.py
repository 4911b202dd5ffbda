"""`moa serve`: mixtures as ordinary models behind the OpenAI and Anthropic APIs, and the playground."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moa._cli.options import ConfigOption, TierOption


class LogFormat(StrEnum):
    """Format of the logs."""

    TEXT = "text"
    JSON = "json"


def serve(
    mixture: Annotated[
        list[str] | None,
        typer.Option(
            "--mixture",
            "-m",
            metavar="NAME|FILE",
            help="Preset or mixture file to serve; repeatable. Default: every preset whose endpoints are ready.",
        ),
    ] = None,
    compare_with: Annotated[
        list[str] | None,
        typer.Option(
            "--compare-with",
            metavar="ENDPOINT/MODEL",
            help="Model to serve alone, for comparison in the playground; repeatable.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port to listen on.")] = 8080,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", min=1, help="Processes; they share limits and budgets, and have no /metrics."
        ),
    ] = 1,
    api_keys_file: Annotated[
        Path | None, typer.Option("--api-keys-file", metavar="FILE", help="API keys; required beyond loopback.")
    ] = None,
    new_key: Annotated[
        str | None, typer.Option("--new-key", metavar="NAME", help="Print a new API key and its entry, then exit.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="Additional host name that clients use.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option("--cors-origin", metavar="URL", help="Origin of a web page that may call the API."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy",
            metavar="ADDRESS|NETWORK",
            help="Reverse proxy whose X-Forwarded-For names the client; repeatable.",
        ),
    ] = None,
    max_connections_per_address: Annotated[
        int | None,
        typer.Option(
            "--max-connections-per-address",
            metavar="N",
            min=1,
            help="Maximum number of connections of one address. Default: a quarter of all, none on loopback.",
        ),
    ] = None,
    max_inflight: Annotated[
        int, typer.Option("--max-inflight", metavar="N", min=1, help="Maximum number of concurrent runs.")
    ] = 1024,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1000, metavar="BYTES", help="Maximum size of a request.")
    ] = 20_000_000,
    max_calls: Annotated[
        int,
        typer.Option(
            "--max-calls", metavar="N", min=1, help="Maximum calls of a mixture that a request defines or changes."
        ),
    ] = 128,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Allow requests with a key to name models that are not served.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option("--budget", min=0.000001, metavar="USD", help="Budget until the next restart.")
    ] = None,
    tier: TierOption = None,
    drain: Annotated[
        float,
        typer.Option("--drain", min=0, metavar="SECONDS", help="Time for open streams to finish after a stop signal."),
    ] = 30.0,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="Format of the logs.")] = (LogFormat.TEXT),
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Include prompts in the access log.")] = False,
    config: ConfigOption = None,
) -> None:
    """Serve mixtures as ordinary models behind the OpenAI and Anthropic APIs, with a playground in the browser.

    Clients use http://HOST:PORT/v1 as base URL and moa/NAME as model. Examples:

        moa serve

        moa serve -m bedrock-current -m my-mixture.yaml --port 9000

        moa serve --host 0.0.0.0 --api-keys-file keys.yaml --allow-host moa.example.org
    """
    try:
        from moa._cli.handlers.serve import print_new_key, start
        from moa._server.launcher import ServeSettings
    except ModuleNotFoundError as missing:
        from moa.errors import MissingDependency

        raise MissingDependency.of("serving", extra="server") from missing
    if new_key is not None:
        print_new_key(new_key)
        return
    start(
        ServeSettings(
            mixtures=tuple(mixture or ()),
            config=config,
            compare_with=tuple(compare_with or ()),
            host=host,
            port=port,
            workers=workers,
            keys_file=api_keys_file,
            hosts=tuple(allow_host or ()),
            cors_origins=tuple(cors_origin or ()),
            trusted_proxies=tuple(trusted_proxy or ()),
            address_connections=max_connections_per_address,
            max_inflight=max_inflight,
            max_body_bytes=max_body,
            max_calls=max_calls,
            any_model=any_model,
            budget_usd=budget,
            tier=tier.value if tier else None,
            drain_s=drain,
            log_format=log_format.value,
            log_prompts=log_prompts,
        )
    )
