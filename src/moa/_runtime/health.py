"""Whether the endpoints can be used: keys, packages, reachability. Changes nothing, asks no model."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal
from urllib.parse import urlsplit

from moa._config.environment import is_loopback
from moa._config.settings import Settings
from moa._mixture.schema import Mixture
from moa.errors import BadRequest, ConfigError, MissingDependency, ProviderError
from moa.providers._endpoint import Endpoint
from moa.providers._registry import open_provider

CONNECT_TIMEOUT_S = 3.0
"""Seconds that an endpoint has to take a connection."""

State = Literal["ready", "no key", "no region", "not running", "missing", "unreachable", "unusable"]

Connect = Callable[[str, int], Awaitable[None]]
"""Opens and closes a connection to a host and port; raises `OSError` if it can't."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How one endpoint is.

    Attributes:
        name: The endpoint's.
        kind: Its adapter.
        state: `ready`; `no key` if its credentials aren't there, `no region` if AWS's region isn't; `not running` if it
            is a server on this machine that takes no connection, `unreachable` if it is elsewhere; `missing` if a
            package isn't installed; `unusable` if its settings are wrong.
        detail: What was found, in a few words.
        fix: What to do about it, as one command where there is one; None if there is none.
    """

    name: str
    kind: str
    state: State
    detail: str
    fix: str | None = None


async def connect_tcp(host: str, port: int) -> None:
    """Open and close a TCP connection.

    Raises:
        OSError: It can't be opened, or not within `CONNECT_TIMEOUT_S`.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, writer = await asyncio.open_connection(host, port)
    writer.close()


async def check_endpoints(settings: Settings, *, connect: Connect | None = connect_tcp) -> tuple[Health, ...]:
    """Return how every endpoint is, in the order of the settings.

    Args:
        settings: The endpoints.
        connect: Opens connections; None leaves the network alone.
    """
    checks = (
        _check(endpoint, settings.key_variables.get(name), connect) for name, endpoint in settings.endpoints.items()
    )
    return tuple(await asyncio.gather(*checks))


def obstacles(mixture: Mixture, healths: Sequence[Health]) -> tuple[str, ...]:
    """Return why a mixture can't run: one sentence for each of its models whose endpoint isn't ready."""
    by_name = {health.name: health for health in healths}
    faults = []
    for reference in mixture.references:
        health = by_name.get(reference.partition("/")[0])
        if health is None:
            faults.append(f"{reference}: there is no such endpoint")
        elif health.state != "ready":
            faults.append(f"{reference}: {health.detail}" + (f": {health.fix}" if health.fix else ""))
    return tuple(faults)


async def require_ready(references: Iterable[str], settings: Settings) -> None:
    """Make sure that the endpoints of some models have what they need, before the first call is made.

    Looks for keys, credentials, regions and packages; asks no model and connects to no endpoint.

    Args:
        references: Model references; endpoints that the settings don't know are left to the engine.
        settings: The endpoints.

    Raises:
        ConfigError: One or several can't be used; one line for each.
    """
    models: dict[str, list[str]] = {}
    for reference in references:
        models.setdefault(reference.partition("/")[0], []).append(reference)
    used = [settings.endpoints[name] for name in models if name in settings.endpoints]
    found = await asyncio.gather(
        *(_check(endpoint, settings.key_variables.get(endpoint.name), None) for endpoint in used)
    )
    faults = [health for health in found if health.state != "ready"]
    if not faults:
        return
    lines = [
        f"{health.name} (for {', '.join(models[health.name])}): {health.detail}"
        + (f": {health.fix}" if health.fix else "")
        for health in faults
    ]
    raise ConfigError("\n".join(lines))


async def _check(endpoint: Endpoint, variable: str | None, connect: Connect | None) -> Health:
    match endpoint.kind:
        case "openai":
            return await _check_openai(endpoint, variable, connect)
        case "bedrock":
            return await _check_bedrock(endpoint, connect)
        case "local":
            return _check_local(endpoint)
    return await _check_other(endpoint)


async def _check_openai(endpoint: Endpoint, variable: str | None, connect: Connect | None) -> Health:
    if variable and endpoint.api_key is None:
        return _health(endpoint, "no key", "its key is missing", f"export {variable}=...")
    found = f"{variable} is set" if variable else "needs no key"
    return await _reached(endpoint, endpoint.base_url or "", found, connect)


async def _check_bedrock(endpoint: Endpoint, connect: Connect | None) -> Health:
    # Imported here: Bedrock is optional, and not everybody's concern.
    from moa.providers._bedrock.aws import Aws

    try:
        # Signing something shows whether there are credentials, and where it would go; nothing is sent.
        url, _ = await Aws(endpoint).signed("/", b"", reference=endpoint.name)
    except MissingDependency as error:
        return _health(endpoint, "missing", str(error))
    except BadRequest as error:
        return _health(endpoint, "no region", str(error.args[0]), "export AWS_REGION=us-east-1")
    except ProviderError as error:
        return _health(endpoint, "no key", str(error.args[0]), "aws configure")
    if (right := await _right_region(url)) is not None:
        return _health(endpoint, "unusable", f"there is no AWS region of this name ({url})", f"did you mean {right}?")
    return await _reached(endpoint, url, "AWS credentials found", connect)


async def _right_region(url: str) -> str | None:
    """The region that is meant where its name is misspelt: it is like one of AWS's, and its host doesn't exist."""
    from moa.providers._bedrock.aws import region_like

    host = urlsplit(url).hostname or ""
    named = re.fullmatch(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?", host)
    right = await asyncio.to_thread(region_like, named[1]) if named else None
    if right is None:
        return None
    try:
        await asyncio.get_running_loop().getaddrinfo(host, 443)
    except OSError:
        return right
    return None


def _check_local(endpoint: Endpoint) -> Health:
    # Imported here: the embedded model is optional.
    from moa.providers._local.server import llama_cpp
    from moa.providers._local.weights import SMOLLM2, packaged

    try:
        llama_cpp()
    except MissingDependency as error:
        return _health(endpoint, "missing", str(error))
    if packaged(SMOLLM2.name):
        return _health(endpoint, "ready", "embedded model, weights installed")
    if find_spec("huggingface_hub") is None:
        return _health(endpoint, "missing", "nothing to download the weights with", "pip install huggingface-hub")
    return _health(endpoint, "ready", "embedded model, weights are downloaded at the first call")


async def _check_other(endpoint: Endpoint) -> Health:
    try:
        provider = open_provider(endpoint)
    except ConfigError as error:
        return _health(endpoint, "unusable", str(error), "correct the settings")
    await provider.aclose()
    return _health(endpoint, "ready", f"kind {endpoint.kind}")


async def _reached(endpoint: Endpoint, url: str, found: str, connect: Connect | None) -> Health:
    host, port = _address(endpoint.proxy or url)
    if connect is None:
        return _health(endpoint, "ready", f"{found}, not contacted")
    try:
        await connect(host, port)
    except OSError:
        detail = f"{host}:{port} takes no connection"
        if is_loopback(host):
            return _health(endpoint, "not running", detail, _start(endpoint))
        return _health(endpoint, "unreachable", detail, "check the address, the network and HTTPS_PROXY")
    return _health(endpoint, "ready", f"{found}, {host} answers")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


def _start(endpoint: Endpoint) -> str:
    return "ollama serve" if endpoint.name == "ollama" else "start it"


def _health(endpoint: Endpoint, state: State, detail: str, fix: str | None = None) -> Health:
    return Health(name=endpoint.name, kind=endpoint.kind, state=state, detail=detail, fix=fix)
