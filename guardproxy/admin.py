"""The admin port: /metrics, /healthz, /readyz, and nothing else. It shows numbers and states, never content."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


class State(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"  # served without it: an audit that cannot be written, say
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Readiness:
    """The parts that have to be there: `model`, `policy`, `audit`… Nothing is ready before there is one."""

    parts: Mapping[str, State]

    @property
    def ready(self) -> bool:
        return bool(self.parts) and State.FAILED not in self.parts.values()


def build_admin(
    registry: CollectorRegistry, readiness: Callable[[], Readiness], allowed_hosts: Collection[str] | None = None
) -> Starlette:
    """`allowed_hosts`, without ports, are those a Host header may name; None checks none (kubelets ask by pod IP).

    Give LOOPBACK_HOSTS on a loopback address, so that no web page reaches it through a name of its own.
    """

    async def metrics(request: Request) -> Response:
        return _metrics(registry, request.headers.get("accept", ""))

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        return _readyz(readiness())

    routes = [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
    middleware = [] if allowed_hosts is None else [Middleware(_HostCheck, allowed=frozenset(allowed_hosts))]
    app = Starlette(routes=routes, middleware=middleware)
    app.router.redirect_slashes = False
    return app


def _metrics(registry: CollectorRegistry, accept: str) -> Response:
    """OpenMetrics where the scraper asks for it, the classic text format otherwise."""
    try:
        encode, content_type = choose_encoder(accept)
        body = encode(registry)
    except (TypeError, ValueError):  # a version that is not a number
        body, content_type = generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
    return Response(body, headers={"content-type": content_type})


def _readyz(readiness: Readiness) -> Response:
    ready = readiness.ready
    parts = {name: state.value for name, state in readiness.parts.items()}
    return JSONResponse({"ready": ready, "parts": parts}, status_code=200 if ready else 503)


class _HostCheck:
    """Starlette's TrustedHostMiddleware takes an IPv6 address apart at its colons, hence one of our own."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_allowed(scope):
            await PlainTextResponse("Unknown host.\n", status_code=421)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and _without_port(hosts[0]) in self._allowed


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
