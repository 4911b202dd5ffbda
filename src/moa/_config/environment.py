"""Addresses from environment variables: proxies and some servers."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # missing in typeshed

from moa.errors import ConfigError

OLLAMA_PORT = 11434


def base_url_from(environ: Mapping[str, str], name: str) -> str | None:
    """Return the address of a built-in endpoint from the environment, or None if it has none.

    Reads `OPENAI_BASE_URL` and `OLLAMA_HOST`, as those projects' own clients do.

    Raises:
        ConfigError: OLLAMA_HOST is not an address.
    """
    if name == "openai":
        return environ.get("OPENAI_BASE_URL", "").strip().rstrip("/") or None
    if name == "ollama" and (host := environ.get("OLLAMA_HOST", "").strip()):
        return _ollama_url(host)
    return None


def _ollama_url(host: str) -> str:
    """Return the address in OLLAMA_HOST: `host`, `host:port`, `:port` or a whole URL, as Ollama reads it."""
    scheme, _, rest = host.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port or {"": OLLAMA_PORT, "http": 80, "https": 443}[scheme]
    except (KeyError, ValueError) as error:
        raise ConfigError(f"OLLAMA_HOST is {host!r}: expected host, host:port or http://host:port") from error
    name = parts.hostname or "127.0.0.1"
    # A server that listens on every address is reached through loopback.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme or 'http'}://{shown}:{port}{parts.path.rstrip('/')}/v1"


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY choose for an address, None for a direct connection.

    The loopback addresses never go through a proxy.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = {kind: _either(environ, f"{kind}_proxy") for kind in ("http", "https", "no")}
    if environ.get("REQUEST_METHOD"):
        # Under CGI, a request header `Proxy` sets HTTP_PROXY.
        proxies["http"] = environ.get("http_proxy", "")
    proxy = proxies[parts.scheme] if parts.scheme in ("http", "https") else ""
    if not proxy or is_loopback(host) or proxy_bypass_environment(parts.netloc, proxies):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: `localhost` or a loopback address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _either(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()
