"""Two listeners in one event loop, for agents and for operators, and their life: bind, start, reload, drain, stop."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from guardproxy.admin import LOOPBACK_HOSTS, Readiness, State, build_admin
from guardproxy.app import Load, build_app
from guardproxy.config.address import is_loopback, url_host
from guardproxy.config.audit_target import audit_target
from guardproxy.config.reload import Reading, Reloader, RuntimeHolder, Source, adopt
from guardproxy.config.runtime import Build, Foundation, build, lay_foundation
from guardproxy.config.settings import Listen, Settings, is_pack_file

KEEP_ALIVE_S = 75  # longer than the pools of common clients keep a connection, so that they close it and not we
MAX_HEAD_BYTES = 65_536
CANCEL_S = 3.0  # what cancelled streams get to be recorded
SWITCH_INTERVAL_S = (
    0.0005  # how long the audit's thread may keep the event loop waiting; Python's default is ten times that
)
_ADMIN_DRAIN_S = 1

_log = logging.getLogger(__name__)


class AddressUnavailable(Exception):
    """A listener cannot be had. The message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Bound sockets. Nobody can connect before a server listens on them."""

    main: socket.socket
    admin: socket.socket
    main_url: str
    admin_url: str

    def close(self) -> None:
        self.main.close()
        self.admin.close()


def bind(listen: Listen) -> Listeners:
    """Raises AddressUnavailable."""
    main = _bind(listen.host, listen.port, "--port")
    try:
        admin = _bind(listen.admin_host, listen.admin_port, "--admin-port")
    except AddressUnavailable:
        main.close()
        raise
    scheme = "https" if listen.tls else "http"
    return Listeners(main, admin, _url(scheme, listen.host, main), _url("http", listen.admin_host, admin))


def _bind(host: str, port: int, option: str) -> socket.socket:
    place = f"{url_host(host)}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressUnavailable(f"cannot listen on {place}: {error.strerror}") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # bind() alone lets a second process bind too, until one of them listens
        bound.listen(2048)
    except OSError as error:
        bound.close()
        raise AddressUnavailable(f"cannot listen on {place}: {error.strerror}; choose another with {option}") from None
    bound.setblocking(False)
    return bound


def _url(scheme: str, host: str, bound: socket.socket) -> str:
    return f"{scheme}://{url_host(host)}:{bound.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that is there before the event loop runs."""

    listeners: Listeners
    foundation: Foundation
    build: Build
    source: Source
    seen: str  # the digest of what it was built from

    @property
    def settings(self) -> Settings:
        return self.build.settings


def prepare(source: Source, reading: Reading, environ: Mapping[str, str]) -> Service:
    """Raises ConfigurationError and AddressUnavailable."""
    settings = reading.settings
    listeners = bind(settings.listen)
    try:
        port = listeners.main.getsockname()[1]
        foundation = lay_foundation(settings, audit_target(settings.audit, port, environ))
        own_packs = any(map(is_pack_file, settings.policy))  # what ships was tested before it shipped
        built = build(settings, foundation, test_packs=own_packs)
        return Service(listeners, foundation, built, source, reading.seen)
    except BaseException:
        listeners.close()
        raise


def run(service: Service, ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is called once requests are answered."""
    import uvloop

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # what was made until here stays: no collection need walk it
    gc.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Life(service).run(ready))


class _Life:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._foundation = service.foundation
        self._holder = RuntimeHolder(service.build)
        self._stop = asyncio.Event()
        self._serving = False
        listen = service.settings.listen
        self._load = Load()
        self._main = _server(build_app(self._holder, self._load), drain_s=listen.drain_s, listen=listen)
        hosts = LOOPBACK_HOSTS if is_loopback(listen.admin_host) else None
        admin = build_admin(self._foundation.metrics.registry, self._readiness, hosts)
        self._admin = _server(admin, drain_s=_ADMIN_DRAIN_S)

    async def run(self, ready: Callable[[], None]) -> None:
        reloader = Reloader(self._holder, self._foundation, self._service.source, self._service.seen)
        self._watch_signals(reloader)
        await self._foundation.start()
        await self._holder.build.start()
        self._adopt()
        listeners = self._service.listeners
        admin = asyncio.create_task(self._admin.serve([listeners.admin]))
        main = asyncio.create_task(self._main.serve([listeners.main]))
        try:
            await self._until_started(main, admin)
            ready()
            reloading = asyncio.create_task(
                reloader.run()
            )  # now, since the watcher's import would delay the first answer
            await self._stopped(main, admin)
            reloading.cancel()
        finally:
            await self._end(main, admin, reloader)

    def _adopt(self) -> None:
        adopt(self._holder.build, self._foundation)
        self._foundation.metrics.watch(
            queue_depth=self._queue_depth,
            breaker_open=self._breaker_open,
            cache=lambda: self._holder.build.cache_lookups(),
            inflight=lambda: self._load.in_flight,
        )

    async def _until_started(self, *servers: "asyncio.Task[None]") -> None:
        while not (self._main.started and self._admin.started):
            if any(server.done() for server in servers):
                break
            await asyncio.sleep(0)
        self._serving = True

    async def _stopped(self, *servers: "asyncio.Task[None]") -> None:
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stop, *servers], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()

    async def _end(self, main: "asyncio.Task[None]", admin: "asyncio.Task[None]", reloader: Reloader) -> None:
        """Agents' streams first; the admin port tells of them until the last one has ended."""
        self._serving = False
        self._main.should_exit = True
        await asyncio.wait([main])
        if rest := self._main.server_state.tasks:
            await asyncio.wait(rest, timeout=CANCEL_S)
        self._admin.should_exit = True
        await asyncio.wait([admin])
        await reloader.close()
        await self._holder.build.close()
        await self._foundation.close()

    def _watch_signals(self, reloader: Reloader) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, reloader.request)

    def _on_stop(self) -> None:
        """The second one ends the draining."""
        if self._stop.is_set():
            self._main.force_exit = True
        else:
            _log.info("stopping: no new connections, streams under way may end")
        self._stop.set()

    # What the admin port shows

    def _readiness(self) -> Readiness:
        parts = {
            "serving": State.OK if self._serving else State.FAILED,
            "policy": State.OK,  # without a compiled one there is no build to serve
            "audit": State.DEGRADED if self._foundation.audit.degraded else State.OK,
        }
        if self._holder.build.settings.guards.classifier.enabled:
            missing = self._holder.build.classifier.faults
            parts["model"] = State.DEGRADED if missing or self._breaker_open() else State.OK
        return Readiness(parts)

    def _queue_depth(self) -> float:
        return sum(model.queue_depth for model in self._holder.build.models)

    def _breaker_open(self) -> float:
        return float(any(model.breaker_state != "closed" for model in self._holder.build.models))


def _server(app: ASGIApp, *, drain_s: float, listen: Listen | None = None) -> "_Server":
    tls = listen.tls if listen else None
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody in front is trusted to say who calls
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        ssl_certfile=str(tls.cert_file) if tls else None,
        ssl_keyfile=str(tls.key_file) if tls else None,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for both servers together, and a drained stop is no death by signal."""
        yield


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the request's head, which it and its parser collect without end."""

    _head_bytes = 0
    _in_head = True

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def _unsupported_upgrade_warning(self) -> None:
        """The application answers upgrades; there is nothing to install."""
