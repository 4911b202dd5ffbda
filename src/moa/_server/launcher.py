"""The server process: builds the application, listens, and stops without breaking streams off."""

import asyncio
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import FrameType
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from moa._config.settings import Settings, load_settings, with_default_state
from moa._mixture.schema import Mixture, Tier
from moa._policies.shared_budget import BudgetSettings
from moa._runtime.engine import Engine
from moa._runtime.gc_tuning import reduce_gc
from moa._server.api_keys import ApiKeys, load_keys
from moa._server.app import create_app
from moa._server.http.client_addresses import parse_networks
from moa._server.http.connection_limits import ConnectionTable, most_connections
from moa._server.http.older_clients import OlderClientsProtocol
from moa._server.inflight import InflightLimiter
from moa._server.logs import LogFormat, log_settings
from moa._server.options import LOOPBACK_HOSTS, ServerOptions
from moa._server.startup_checks import require_bounded, require_usable, usable_mixtures
from moa._state.store import StateStore
from moa._validation.file_errors import port_reason
from moa.errors import UsageError
from moa.providers._endpoint import Endpoint, LimitSettings

DRAIN_S = 30.0
"""Seconds for open streams to end after a stop signal."""

VANISHED_AFTER_S = 30
"""Seconds after which a client that vanished without closing its connection is noticed (Linux, macOS)."""

_VANISHED_CLIENTS = [
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", VANISHED_AFTER_S // 2),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", VANISHED_AFTER_S // 6),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", VANISHED_AFTER_S * 1000),
    )
    if hasattr(socket, name)
]
"""Options of the listening socket, which its connections inherit: probes while nothing is sent, a limit while it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What the command line asks of a server.

    Attributes:
        mixtures: Presets and files; none: every preset that can be used.
        config: Endpoints and settings; None looks in the usual places.
        compare_with: Further models that are served alone, as `endpoint/model-id`.
        host: Address to listen at.
        port: Port to listen at.
        workers: Processes.
        keys_file: Who may ask.
        hosts: Further names in Host headers.
        trusted_proxies: Addresses and networks of reverse proxies.
        address_connections: Most connections of one address, in all workers together; None: a quarter of all, and no
            limit where all clients are on this machine.
        cors_origins: Web pages that may call the server.
        max_inflight: Most runs at once, in all workers together.
        max_body_bytes: Largest request.
        max_calls: Most calls of a mixture that a request brings or changes.
        any_model: Whether requests may name models that are not served although there are keys.
        budget_usd: US dollars for everything until the server is restarted.
        tier: Service tier of all calls, whatever agents and endpoints name; None: theirs.
        drain_s: Seconds for open streams to end after a stop signal.
        log_format: `text` or `json`.
        log_prompts: Whether prompts are logged.
        start: Names this start: what its workers share, and no other start does.
    """

    mixtures: tuple[str, ...] = ()
    config: Path | None = None
    compare_with: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    keys_file: Path | None = None
    hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    address_connections: int | None = None
    cors_origins: tuple[str, ...] = ()
    max_inflight: int = field(default=ServerOptions(mixtures=()).max_inflight)
    max_body_bytes: int = field(default=ServerOptions(mixtures=()).max_body_bytes)
    max_calls: int = field(default=ServerOptions(mixtures=()).max_calls)
    any_model: bool = False
    budget_usd: float | None = None
    tier: Tier | None = None
    drain_s: float = DRAIN_S
    log_format: LogFormat = "text"
    log_prompts: bool = False
    start: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK_HOSTS


def make_options(serving: ServeSettings, settings: Settings, state: StateStore | None = None) -> ServerOptions:
    """Return how the server behaves.

    Args:
        serving: What the command line asks for.
        settings: Endpoints and settings.
        state: Where keys' budgets and rates are counted; None counts them in this process.

    Raises:
        UsageError: Any network client could use it without a key, or each process would load a model of its own.
        MixtureError: A mixture can't be used.
        ConfigError: The file of keys can't be used.
    """
    on_failure = settings.state.on_failure if settings.state else "refuse"
    keys = load_keys(serving.keys_file, state, on_failure) if serving.keys_file else None
    if keys is None and not serving.is_local:
        raise UsageError(
            f"at {serving.host} anyone on the network could spend your money: give --api-keys-file, or use 127.0.0.1"
        )
    mixtures, left_out = usable_mixtures(serving.mixtures, settings)
    if serving.tier is not None:
        mixtures = tuple(mixture.in_tier(serving.tier) for mixture in mixtures)
    require_usable(serving.compare_with, settings)
    _require_bounded(mixtures, serving, settings, keys)
    if serving.workers > 1:
        require_shareable(mixtures, settings)
    return ServerOptions(
        mixtures=mixtures,
        compare_with=serving.compare_with,
        left_out=left_out,
        keys=keys,
        # With a key, a name that a page lets point here is of no use to it.
        hosts=(*LOOPBACK_HOSTS, *serving.hosts) if serving.is_local else serving.hosts,
        trusted_proxies=parse_networks(serving.trusted_proxies),
        cors_origins=serving.cors_origins,
        max_inflight=max(1, serving.max_inflight // serving.workers),
        max_body_bytes=serving.max_body_bytes,
        max_calls=serving.max_calls,
        allows_unserved_models=serving.any_model or keys is None,
        log_prompts=serving.log_prompts,
        has_metrics=serving.workers == 1,
    )


def _require_bounded(
    mixtures: tuple[Mixture, ...], serving: ServeSettings, settings: Settings, keys: ApiKeys | None
) -> None:
    """Refuse mixtures that no budget of the server can be kept with."""
    budgets = [
        ("--budget", serving.budget_usd is not None),
        ("the budget of the configuration", bool(settings.budgets)),
        ("the budget of an API key", keys is not None and keys.has_budget),
    ]
    for budget, is_set in budgets:
        if is_set:
            require_bounded(mixtures, budget=budget)
    for mixture in mixtures:
        if mixture.budget_usd is not None:
            require_bounded([mixture], budget="its budget_usd")


def require_shareable(mixtures: tuple[Mixture, ...], settings: Settings) -> None:
    """Make sure that several processes may serve the same.

    Raises:
        UsageError: Each of them would load an embedded model.
    """
    names = dict.fromkeys(reference.partition("/")[0] for mixture in mixtures for reference in mixture.references)
    for endpoint in (settings.endpoints[name] for name in names if name in settings.endpoints):
        if endpoint.kind == "local":
            raise UsageError(
                f"several workers can't share the slots of {endpoint.name}, whose model each process would load: "
                "use one worker, or name the mixtures to serve with -m"
            )


def shared_settings(serving: ServeSettings, settings: Settings) -> Settings:
    """Return the settings of a server whose processes, or whose restarts, have to agree on what was spent and asked.

    Several workers share a file in the user's folder if `state` says nothing else, and so do a keys file's budgets with
    the next start. Concurrency, which isn't counted there, is divided among the workers.
    """
    if serving.workers > 1 or (serving.keys_file is not None and load_keys(serving.keys_file).has_budget):
        settings = with_default_state(settings)
    if serving.workers == 1:
        return settings
    budgets = settings.budgets
    if serving.budget_usd is not None:
        budgets = (*budgets, BudgetSettings(usd=Decimal(str(serving.budget_usd)), account=f"server {serving.start}"))
    endpoints = {name: _divided(endpoint, serving.workers) for name, endpoint in settings.endpoints.items()}
    return replace(settings, budgets=budgets, endpoints=endpoints)


def _divided(endpoint: Endpoint, workers: int) -> Endpoint:
    def of(limits: LimitSettings) -> LimitSettings:
        most = limits.max_concurrency
        return limits if most is None else replace(limits, max_concurrency=max(1, most // workers))

    models = {model: of(limits) for model, limits in endpoint.model_limits.items()}
    return replace(endpoint, limits=of(endpoint.limits), model_limits=models)


def build_app(serving: ServeSettings) -> Starlette:
    """Return the application that a command line asks for; each worker builds its own."""
    settings = shared_settings(serving, load_settings(serving.config).in_tier(serving.tier))
    engine = Engine(settings=settings, budget_usd=serving.budget_usd if serving.workers == 1 else None)
    return create_app(engine, make_options(serving, settings, engine.state))


Announce = Callable[[ServerOptions, str], None]
"""Called with what is served and at which address, once the server listens there."""


def serve(serving: ServeSettings, announce: Announce) -> None:
    """Serve until the process gets a stop signal.

    Args:
        serving: What to serve, and where.
        announce: Called with what is served and the address, once the server listens.

    Raises:
        MoaError: It can't be served.
    """
    if serving.workers > 1:
        options = make_options(serving, load_settings(serving.config).in_tier(serving.tier))
        _serve_in_processes(replace(serving, start=uuid4().hex), partial(announce, options))
        return
    app = build_app(serving)
    service = app.state.service
    config = uvicorn_config(app, serving)
    server = DrainingServer(config, service.inflight, serving.drain_s, partial(announce, service.options))
    server.run(sockets=[listen(serving.host, serving.port)])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        UsageError: It can't: another program does already, or the address isn't one of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(f"can't listen at {host}:{port}: {port_reason(error)}") from None
    for level, option, value in _VANISHED_CLIENTS:
        listener.setsockopt(level, option, value)
    return listener


def _connection_table(serving: ServeSettings) -> ConnectionTable:
    most = serving.address_connections
    if most is not None:
        most = max(1, most // serving.workers)
    elif not serving.is_local:
        most = max(1, most_connections() // 4)
    return ConnectionTable(most, parse_networks(serving.trusted_proxies))


def uvicorn_config(
    app: ASGIApp | Callable[[], Starlette],
    serving: ServeSettings,
    *,
    is_factory: bool = False,
    sets_up_logs: bool = True,
) -> uvicorn.Config:
    """Return uvicorn's settings for this server.

    Args:
        app: The application, or what makes it.
        serving: Where to listen, and how.
        is_factory: Whether `app` makes the application.
        sets_up_logs: Whether Python's logging is set up for the whole process.
    """
    return uvicorn.Config(
        app,
        factory=is_factory,
        host=serving.host,
        port=serving.port,
        workers=serving.workers,
        loop="auto",
        http=partial(OlderClientsProtocol, table=_connection_table(serving)),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=log_settings(serving.log_format) if sets_up_logs else None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        # One process drains by itself (see DrainingServer); several leave it to uvicorn.
        timeout_graceful_shutdown=5 if serving.workers == 1 else math.ceil(serving.drain_s),
    )


def build_worker(serving: ServeSettings) -> Starlette:
    """Return the application of a worker; its process inherits no settings of the collector from the first one."""
    reduce_gc()
    return build_app(serving)


def _serve_in_processes(serving: ServeSettings, announce: Callable[[str], None]) -> None:
    config = uvicorn_config(partial(build_worker, serving), serving, is_factory=True)
    listener = listen(serving.host, serving.port)
    listener.set_inheritable(True)
    announce(_url(serving.host, listener))
    Multiprocess(config, sockets=[listener]).run()


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


class DrainingServer(uvicorn.Server):
    """A server that lets streams end before it stops.

    The first signal closes it: `/readyz` says so and new requests are answered with 503, while those under way go on.
    Once all have ended, or the time is over, it stops. A second signal ends those under way, whose clients are told; a
    third one ends the process at once.

    Args:
        config: Uvicorn's settings.
        inflight: Counts runs that are under way.
        drain_s: Seconds for streams to end.
        announce: Called with the address, once the server listens.
    """

    def __init__(
        self, config: uvicorn.Config, inflight: InflightLimiter, drain_s: float, announce: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._inflight, self._drain_s, self._announce = inflight, drain_s, announce
        self._drained_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._announce(_url(self.config.host, (sockets or self.servers[0].sockets)[0]))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self._drained_at == 0.0:
            self.should_exit = self.force_exit = True
        elif self._inflight.is_closed:
            self._drained_at = 0.0  # the next look ends what is under way, and tells its clients
        self._inflight.close()

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether to stop."""
        if self._inflight.is_closed and not self.should_exit:
            now = asyncio.get_running_loop().time()
            if self._drained_at is None:
                self._drained_at = now + self._drain_s
            if now >= self._drained_at:
                self._inflight.cancel_all()
            self.should_exit = not self._inflight.count or now >= self._drained_at
        return await super().on_tick(counter)
