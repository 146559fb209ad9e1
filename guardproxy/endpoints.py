"""What answers each route: the guarded surfaces, and the few routes without a turn of a model in them."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from guardproxy import strict_json
from guardproxy.access import check_json, identity, provider_credential
from guardproxy.errors import MalformedRequest, RouteRefused, UpgradeRequired
from guardproxy.exchange import Exchange
from guardproxy.pipeline import Client, answer
from guardproxy.runtime import Runtime
from guardproxy.stream.frame import Frame, frame_of_body
from guardproxy.strict_json import JsonObject, MalformedJson
from guardproxy.surfaces import SURFACES
from guardproxy.surfaces.surface import Surface
from guardproxy.upstream.upstream import UpstreamRequest
from guardproxy.wire import EventStream, Receive, Send, answer_headers, cancelled_when_gone, read_body, send_json

_FORWARDED = (
    "user-agent",
    "openai-organization",
    "openai-project",
    "openai-beta",
    "anthropic-version",
    "anthropic-beta",
    "x-request-id",
)
_MODEL = "/v1/models/"
_BETA = ("beta=true",)


@dataclass(slots=True)
class Call:
    """One HTTP request: its decoded path and headers, the runtime it began with, its notebook, its socket."""

    path: str
    headers: Mapping[str, str]
    runtime: Runtime
    exchange: Exchange
    receive: Receive
    send: Send
    query: str = ""
    stream: EventStream | None = field(default=None)  # once a streamed answer was asked for

    def client(self, queries: Collection[str] = ()) -> Client:
        """`queries` are the query strings that may go on."""
        passed = tuple((name, self.headers[name]) for name in _FORWARDED if name in self.headers)
        credential = provider_credential(self.headers, self.runtime.access)
        return Client(credential, passed, self.query if self.query in queries else "", identity(self.headers))


Endpoint = Callable[[Call], Awaitable[None]]


def find_endpoint(method: str, path: str, raw_path: bytes) -> Endpoint:
    """Raises RouteRefused unless the method and the exact decoded path are on the list."""
    endpoint = _ROUTES.get((method, path))
    if endpoint is not None and b"%" not in raw_path:
        return endpoint
    if method == "GET" and path.startswith(_MODEL) and _is_plain(path):
        return _model
    raise RouteRefused("This proxy does not serve this method and path; what it cannot guard it does not forward.")


def surface_at(path: str) -> Surface:
    """The surface whose form an error at this path takes: the longest that the path begins with, or the first."""
    return next((surface for surface in SURFACES if path.startswith(surface.path)), SURFACES[0])


def _is_plain(path: str) -> bool:
    """Whether every server would read the path in the same way."""
    segments = path.split("/")[1:]
    return not ({"", ".", ".."} & set(segments) or "\\" in path or not path.isprintable())


def _surface(surface: Surface) -> Endpoint:
    async def serve(call: Call) -> None:
        call.exchange.surface = surface.name
        if "beta" in call.query and call.query not in surface.queries:
            raise RouteRefused("This variant of the API is not served: its answers may hold what cannot be guarded.")
        tree = await _read_tree(call)
        async with cancelled_when_gone(call.receive):
            await (_stream if tree.get("stream") is True else _whole)(surface, call, tree)

    return serve


async def _whole(surface: Surface, call: Call, tree: JsonObject) -> None:
    body: JsonObject = {}

    async def keep(frame: Frame) -> None:
        body.update(frame.tree or {})

    await answer(surface, tree, call.client(surface.queries), call.runtime, call.exchange, keep)
    await send_json(call.send, 200, body, answer_headers(call.exchange))


async def _stream(surface: Surface, call: Call, tree: JsonObject) -> None:
    stream = call.stream = EventStream(call.send, call.exchange, call.runtime.limits.keepalive_s, surface.keep_alive)
    try:
        await answer(surface, tree, call.client(surface.queries), call.runtime, call.exchange, stream.send_frame)
        await stream.end()
    finally:
        stream.stop_keepalive()


async def _read_tree(call: Call) -> JsonObject:
    check_json(call.headers)
    body = await read_body(call.receive, call.headers, call.runtime.limits.body_bytes)
    try:
        return strict_json.decode_object(body)
    except MalformedJson as error:
        raise MalformedRequest(f"The body is not strict JSON: {error}.") from None


# --- routes without a turn of a model in them --------------------------------------------------------------------


def _plain(handler: Callable[[Call], Awaitable[JsonObject]]) -> Endpoint:
    async def serve(call: Call) -> None:
        call.exchange.surface = "passthrough"
        tree = await handler(call)
        await send_json(call.send, 200, tree, answer_headers(call.exchange))

    return serve


@_plain
async def _greeting(call: Call) -> JsonObject:
    """Claude Code asks for the root before it begins."""
    return {"service": "guardproxy"}


@_plain
async def _responses_upgrade(call: Call) -> JsonObject:
    raise UpgradeRequired("Responses over WebSocket are not served: use POST /v1/responses over HTTP.")


@_plain
async def _models(call: Call) -> JsonObject:
    return await call.runtime.router.models(_request(call, "/models", "GET"))


@_plain
async def _model(call: Call) -> JsonObject:
    return await call.runtime.router.model(call.path.removeprefix(_MODEL), _request(call, "/models", "GET"))


def _forward(path: str) -> Endpoint:
    @_plain
    async def forward(call: Call) -> JsonObject:
        tree = await _read_tree(call)
        model = tree.get("model")
        call.exchange.model = model if isinstance(model, str) else ""
        upstream = call.runtime.router.route(call.exchange.model)
        call.exchange.upstream = upstream.name
        async with cancelled_when_gone(call.receive), upstream.open(_request(call, path, "POST", tree)) as reply:
            call.exchange.upstream_headers = reply.headers
            return frame_of_body(b"".join([chunk async for chunk in reply.chunks()])).tree or {}

    return forward


def _request(call: Call, path: str, method: str, tree: JsonObject | None = None) -> UpstreamRequest:
    client = call.client(_BETA)
    return UpstreamRequest(path, method, tree, headers=client.headers, query=client.query, credential=client.credential)


_ROUTES: Mapping[tuple[str, str], Endpoint] = {
    **{("POST", surface.path): _surface(surface) for surface in SURFACES},
    ("HEAD", "/"): _greeting,
    ("GET", "/"): _greeting,
    ("GET", "/v1/responses"): _responses_upgrade,
    ("POST", "/v1/responses/input_tokens"): _forward("/responses/input_tokens"),
    ("POST", "/v1/responses/compact"): _forward("/responses/compact"),
    ("POST", "/v1/messages/count_tokens"): _forward("/messages/count_tokens"),
    ("GET", "/v1/models"): _models,
    ("POST", "/v1/embeddings"): _forward("/embeddings"),
    ("POST", "/v1/moderations"): _forward("/moderations"),
}
