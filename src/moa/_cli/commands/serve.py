"""`moa serve`: mixtures as ordinary models behind the APIs of OpenAI and Anthropic, and the playground."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moa._cli.options import ConfigOption


class LogFormat(StrEnum):
    """How logs are written."""

    TEXT = "text"
    JSON = "json"


def serve(
    mixture: Annotated[
        list[str] | None,
        typer.Option(
            "--mixture",
            "-m",
            metavar="NAME|FILE",
            help="What to serve; repeatable. Default: every preset whose endpoints can be used.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen at.")] = 8080,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes; several share no limits and have no /metrics.")
    ] = 1,
    api_keys_file: Annotated[
        Path | None, typer.Option("--api-keys-file", metavar="FILE", help="Who may ask; needed beyond loopback.")
    ] = None,
    new_key: Annotated[
        str | None, typer.Option("--new-key", metavar="NAME", help="Print a new API key and its entry, and stop.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="Further name that clients call us by.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option("--cors-origin", metavar="URL", help="Web page that may call the API.")
    ] = None,
    max_inflight: Annotated[int, typer.Option("--max-inflight", min=1, help="Most runs at once.")] = 1024,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1000, metavar="BYTES", help="Largest request.")
    ] = 20_000_000,
    max_calls: Annotated[
        int, typer.Option("--max-calls", min=1, help="Most calls of a mixture that a request brings or changes.")
    ] = 128,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Let requests with a key name models that are not served, too.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option("--budget", min=0.000001, metavar="USD", help="US dollars until the next start.")
    ] = None,
    drain: Annotated[
        float, typer.Option("--drain", min=0, metavar="SECONDS", help="Time for streams to end when stopped.")
    ] = 30.0,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="Logs for people or machines.")] = (
        LogFormat.TEXT
    ),
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts into the access log.")] = False,
    config: ConfigOption = None,
) -> None:
    """Serve mixtures as ordinary models: OpenAI's and Anthropic's APIs, and a playground in the browser.

    Clients use http://HOST:PORT/v1 as base URL and moa/NAME as model. Examples:

        moa serve

        moa serve -m bedrock-haiku -m my-mixture.yaml --port 9000

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
            host=host,
            port=port,
            workers=workers,
            keys_file=api_keys_file,
            hosts=tuple(allow_host or ()),
            cors_origins=tuple(cors_origin or ()),
            max_inflight=max_inflight,
            max_body_bytes=max_body,
            max_calls=max_calls,
            any_model=any_model,
            budget_usd=budget,
            drain_s=drain,
            log_format=log_format.value,
            log_prompts=log_prompts,
        )
    )
