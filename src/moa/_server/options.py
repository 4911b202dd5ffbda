"""How the server behaves, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moa._mixture.schema import Mixture
from moa._server.api_keys import ApiKeys
from moa._server.http.client_addresses import Network
from moa._server.http.held_stream import HOLD_S

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
"""Names by which a browser on this machine may call a server that listens on loopback."""

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a server offers, to whom, and within which bounds.

    Attributes:
        mixtures: What is served, each as `moa/NAME`, and their models as `endpoint/model-id`.
        compare_with: Further models that are served alone, to compare mixtures with.
        left_out: What was to be served and can't be, with the reason.
        keys: Who may ask; None admits every client (loopback only).
        hosts: Names that a request's Host header may have; empty: any.
        trusted_proxies: Reverse proxies whose `X-Forwarded-For` is believed.
        cors_origins: Web pages of other origins that may call the server, e.g. `https://chat.example.org`.
        max_inflight: Most runs at once; what comes beyond is answered with 429.
        max_body_bytes: Largest request body.
        max_calls: Most calls that a mixture which a request brings or changes may make.
        allows_unserved_models: Whether requests may name models of the configured endpoints that no served mixture has;
            None: only on a server without keys.
        body_timeout_s: Seconds in which a request's body has to arrive.
        hold_headers_s: Longest wait of a stream's headers for its first piece, in seconds.
        keep_alive_s: Longest silence on a stream, in seconds, before a comment shows that it lives.
        log_prompts: Whether the access log holds the last user message; off, as prompts are private.
        has_metrics: Whether there is `/metrics`; with several processes each scrape would reach another one.
        page: Folder of the playground.
    """

    mixtures: tuple[Mixture, ...]
    compare_with: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    keys: ApiKeys | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_inflight: int = 1024
    max_body_bytes: int = 20_000_000
    max_calls: int = 128
    allows_unserved_models: bool | None = None
    body_timeout_s: float = 30.0
    hold_headers_s: float = HOLD_S
    keep_alive_s: float = 10.0
    log_prompts: bool = False
    has_metrics: bool = True
    page: Path = PAGE

    @property
    def shows_error_details(self) -> bool:
        """Whether errors include texts of services and addresses: only without keys, on loopback."""
        return self.keys is None

    @property
    def takes_unserved_models(self) -> bool:
        """Whether requests may name models that no served mixture has."""
        return self.keys is None if self.allows_unserved_models is None else self.allows_unserved_models
