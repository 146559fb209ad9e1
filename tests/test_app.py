"""The application: its routes, its errors, its records. Nothing is reached but what is listed."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from guardproxy.errors import ModelNotFound, Overloaded, UpstreamProtocolError, UpstreamRefusal, UpstreamUnavailable
from guardproxy.exchange import Exchange
from guardproxy.model import Credential
from guardproxy.runtime import Access, Limits
from guardproxy.stream.sse import KEEP_ALIVE
from guardproxy.surfaces.surface import OnBlock
from guardproxy.testing.chat import body, call, chunk, completion, events, finish, request, text, whole_call
from guardproxy.testing.fakes import FakeGuard, FakeObserver
from guardproxy.testing.proxy import ProxyUnderTest, Received, proxy

Guarding = Callable[..., FakeGuard]
JSON = {"content-type": "application/json"}
CALL = events([call("good", "{}"), finish()])
CHAT = "/v1/chat/completions"


def send(under_test: ProxyUnderTest, *args: Any, **more: Any) -> Received:
    return asyncio.run(under_test.send(*args, **more))


# --- routes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", CHAT, 400),  # served: it is the empty body that is refused
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/org/name-1", 200),
        ("GET", "/v1/responses", 426),
        # methods
        ("GET", CHAT, 404),
        ("PUT", CHAT, 404),
        ("DELETE", "/v1/models/m", 404),
        ("POST", "/v1/models", 404),
        ("OPTIONS", CHAT, 404),
        ("TRACE", "/v1/models", 404),
        ("PROPFIND", "/v1/models", 404),
        ("GET", "/v1/embeddings", 404),
        # what can produce calls that the guard would not see, and everything unknown
        ("GET", "/v1/completions", 404),
        ("POST", "/v1/assistants", 404),
        ("POST", "/v1/threads/runs", 404),
        ("POST", "/v1/batches", 404),
        ("GET", "/v1/realtime", 404),
        ("GET", "/v1/chat/completions/id", 404),
        ("HEAD", "/", 200),
        ("GET", "/", 200),
        ("GET", "/metrics", 404),
        ("POST", "/chat/completions", 404),
        # spellings
        ("POST", "/v1/chat/completions/", 404),
        ("POST", "//v1/chat/completions", 404),
        ("POST", "/v1//chat/completions", 404),
        ("POST", "/v1/./chat/completions", 404),
        ("POST", "/v1/x/../chat/completions", 404),
        ("POST", "/v1/chat/completions/..", 404),
        ("POST", "/V1/chat/completions", 404),
        ("POST", "/v1/chat\\completions", 404),
        ("POST", "/v1/chat/completions\x00", 404),
        ("POST", "/v1/chat/completions;a=b", 404),
        ("POST", "v1/chat/completions", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/..", 404),
        ("GET", "/v1/models/../chat/completions", 404),
        ("GET", "/v1/models/a//b", 404),
        ("GET", "*", 404),
        ("GET", "http://127.0.0.1/v1/models", 404),
        ("GET", "", 404),
    ],
)
def test_routes(method: str, path: str, status: int) -> None:
    under_test = proxy()
    received = send(under_test, method, path, b"", JSON)
    assert received.status == status
    assert under_test.exchange.status == status
    assert under_test.upstream.asked == []
    if status == 404:
        assert received.error["code"] == "route_refused"
        assert under_test.exchange.outcome == "refused"


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        (CHAT, b"/v1/chat%2fcompletions"),
        (CHAT, b"/v1/chat/%63ompletions"),
        ("/v1/x/../chat/completions", b"/v1/x/%2e%2e/chat/completions"),
        ("/v1/models/../files", b"/v1/models/%2e%2e/files"),
        ("/v1/models/..\\files", b"/v1/models/..%5cfiles"),
        ("/v1/models//x", b"/v1/models/%2fx"),
    ],
)
def test_a_path_that_was_spelled_in_escapes_is_refused(path: str, raw: bytes) -> None:
    for method in ("GET", "POST"):
        assert send(proxy(), method, path, b"", JSON, raw_path=raw).status == 404


def test_a_models_name_may_need_escapes() -> None:
    received = send(proxy(), "GET", "/v1/models/org/a b", raw_path=b"/v1/models/org%2Fa%20b")
    assert received.tree == {"id": "org/a b", "object": "model"}


def test_an_upgrade_is_answered_with_426() -> None:
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    received = send(proxy(), "GET", "/v1/responses", b"", headers)
    assert (received.status, received.error["code"]) == (426, "upgrade_required")


def test_a_web_socket_is_closed() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def keep(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/responses", "headers": [], "query_string": b"", "subprotocols": []}
    asyncio.run(proxy().app(scope, receive, keep))
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/moderations"])
def test_a_pass_through_asks_for_a_constant_path(path: str) -> None:
    under_test = proxy([body({"data": []})])
    received = under_test.ask({"model": "m", "input": "x"}, path=path)
    assert received.tree == {"data": []}
    (asked,) = under_test.upstream.asked
    assert (asked.path, asked.method, asked.tree) == (path.removeprefix("/v1"), "POST", {"model": "m", "input": "x"})
    assert under_test.exchange.outcome == "completed"


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{", b'{"a":1,"a":2}', events([chunk()])])
def test_a_pass_through_answer_that_is_no_object_is_an_error(garbage: bytes) -> None:
    received = proxy([garbage]).ask({"model": "m"}, path="/v1/embeddings")
    assert (received.status, received.error["code"]) == (502, "upstream_protocol_error")


# --- what is refused before anything is asked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"model":"m","model":"n","messages":[]}', JSON, 400),
        (b'{"model":"m","messages":[],"seed":NaN}', JSON, 400),
        (b'{"model":"m","messages":[],"seed":1e999}', JSON, 400),
        (b"\xef\xbb\xbf" + body(request()), JSON, 400),
        (b'{"model":"\xff","messages":[]}', JSON, 400),
        (b'{"messages":' + b"[" * 500, JSON, 400),
        (body(request()) + b"{}", JSON, 400),
        (body(request()), {}, 415),
        (body(request()), {"content-type": "text/plain"}, 415),
        (body(request()), JSON | {"content-encoding": "br"}, 415),
        (body(request()), JSON | {"content-encoding": "gzip"}, 400),
        (b" " * 2000 + body(request()), JSON, 413),
        (body(request()), JSON | {"content-length": "2000"}, 413),
        (body(request()), JSON | {"origin": "https://evil.test"}, 403),
        (body(request()), JSON | {"host": "evil.test"}, 403),
    ],
)
def test_bad_requests(data: bytes, headers: dict[str, str], status: int) -> None:
    under_test = proxy([CALL], limits=Limits(body_bytes=1000))
    received = send(under_test, "POST", CHAT, data, headers)
    assert received.status == status
    assert set(received.error) == {"message", "type", "param", "code"}
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-guardproxy-decision-id"] == under_test.exchange.id
    assert under_test.upstream.asked == []
    assert (under_test.exchange.outcome, under_test.exchange.status) == ("refused", status)


def test_a_header_that_came_twice_is_refused_and_recorded() -> None:
    under_test = proxy()
    received = send(under_test, "GET", "/v1/models", b"", [("host", "localhost"), ("host", "evil.test")])
    assert received.status == 400
    assert under_test.exchange.outcome == "refused"


def test_a_client_key_is_asked_for_on_every_route_and_never_goes_on(guard: FakeGuard) -> None:
    access = Access(client_keys=frozenset({sha256(b"k1").hexdigest()}))
    for path in (CHAT, "/v1/models", "/v1/nothing"):
        assert send(proxy(access=access), "GET", path).status == 401
    under_test = proxy([CALL], guards=[guard], access=access)
    assert under_test.ask(headers={"authorization": "Bearer k1"}).status == 200
    assert under_test.ask(headers={"authorization": "Bearer sk", "x-guardproxy-key": "k1"}).status == 200
    assert [asked.credential for asked in under_test.upstream.asked] == [None, Credential("authorization", "Bearer sk")]
    assert "k1" not in str([asked.headers for asked in under_test.upstream.asked])


def test_only_listed_headers_go_on(guard: FakeGuard) -> None:
    under_test = proxy([CALL], guards=[guard])
    under_test.ask(headers={"user-agent": "agent", "openai-beta": "b", "cookie": "c", "x-forwarded-for": "1"})
    assert set(under_test.upstream.asked[0].headers) == {("user-agent", "agent"), ("openai-beta", "b")}


def test_the_proxy_serves_only_so_many_at_once(guard: FakeGuard) -> None:
    under_test = proxy([0.05, CALL], guards=[guard], limits=Limits(concurrent_requests=2))

    async def scenario() -> list[int]:
        return [received.status for received in await asyncio.gather(*(under_test.post() for _ in range(4)))]

    assert sorted(asyncio.run(scenario())) == [200, 200, 503, 503]
    assert under_test.ask().status == 200
    assert sorted(exchange.outcome for exchange in under_test.observer.exchanges) == ["completed"] * 3 + ["refused"] * 2


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UpstreamRefusal(429, "slow", type="rate", param="p", code="c", headers=[("retry-after", "3")]), 429, "c"),
        (UpstreamUnavailable("no connection"), 502, "upstream_unavailable"),
        (UpstreamProtocolError("garbage"), 502, "upstream_protocol_error"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_errors_of_the_upstream_keep_status_and_shape(error: Any, status: int, code: str, stream: bool) -> None:
    under_test = proxy(error)
    received = under_test.ask(request(stream=stream))
    assert (received.status, received.error["code"]) == (status, code)
    assert received.headers.get("retry-after") == ("3" if status == 429 else None)
    assert (under_test.exchange.outcome, under_test.exchange.error_code) == ("upstream_error", code)


@pytest.mark.parametrize(
    "play",
    [
        [b""],
        [b"data: {"],
        [b"garbage\n\n"],
        [b"data: garbage\n\n"],
        [events([call("good", "{}")])],
        [events([call("good", "{}")], done=False)],
        [events([call("good", "{}"), finish()]) * 2],
        [CALL + b"data: [DONE]\n\n"],
        [CALL, b"data: {}\n\n"],
        [b"data: [DONE]\n\n" + CALL],
        [CALL.replace(b"\n\n", b'\n\nevent: error\ndata: {"error": {"message": "boom"}}\n\n', 1)],
        [events([call("good", "{}", index=1), finish()])],
        [CALL[:-20], UpstreamUnavailable("gone")],
        [CALL, UpstreamUnavailable("gone")],
        [body(completion({"tool_calls": [whole_call("good", "{}")]}))],
    ],
)
def test_a_stream_that_is_broken_lets_no_call_through(guard: FakeGuard, play: list[Any]) -> None:
    under_test = proxy(play, guards=[guard])
    received = under_test.ask()
    assert received.error["message"]
    assert b"good" not in received.seen
    assert b"[DONE]" not in received.seen
    assert under_test.exchange.outcome == "upstream_error"


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{", b"null", CALL, body(completion({"tool_calls": {}}))])
def test_a_whole_answer_that_is_broken_is_a_502(guard: FakeGuard, garbage: bytes) -> None:
    received = proxy([garbage], guards=[guard]).ask(request(stream=False))
    assert received.status == 502


@pytest.mark.parametrize(
    ("stream", "content_type"),
    [(True, "application/json"), (True, ""), (True, "text/html"), (False, "text/event-stream"), (False, "text/plain")],
)
def test_an_answer_of_another_media_type_is_a_502(guard: FakeGuard, stream: bool, content_type: str) -> None:
    under_test = proxy([CALL if stream else body(completion({"content": "x"}))], guards=[guard])
    under_test.upstream.content_type = content_type
    received = under_test.ask(request(stream=stream))
    assert (received.status, received.error["code"]) == (502, "upstream_protocol_error")


def test_an_error_after_text_is_an_event_and_the_held_call_never_leaves(guard: FakeGuard) -> None:
    play = [events([text("hi"), call("good", "{}")], done=False), UpstreamUnavailable("gone")]
    under_test = proxy(play, guards=[guard])
    received = under_test.ask()
    assert received.status == 200
    assert received.events[0] == text("hi")
    assert received.error["code"] == "upstream_unavailable"
    assert b"good" not in received.seen
    assert not received.done
    assert under_test.exchange.status == 502


def test_an_internal_error_is_a_500_and_shows_nothing(guard: FakeGuard, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def route(self, model: str) -> Any:
            raise RuntimeError("SECRET")

    caplog.set_level(logging.CRITICAL)
    under_test = proxy(router=Broken(), guards=[guard])
    received = under_test.ask()
    assert (received.status, received.error["code"]) == (500, "internal_error")
    assert b"SECRET" not in received.seen
    assert (under_test.exchange.outcome, under_test.exchange.error_code) == ("error", "internal_error")


def test_a_model_that_nobody_serves_is_a_404() -> None:
    class Empty:
        def route(self, model: str) -> Any:
            raise ModelNotFound("no such model")

    assert proxy(router=Empty()).ask().error["code"] == "model_not_found"


def test_an_overloaded_guard_is_a_guard_that_fails() -> None:
    def overloaded(call: object) -> Any:
        raise Overloaded("full")

    assert b"guard_error" in proxy([CALL], guards=[FakeGuard(overloaded)]).ask().seen


def test_a_slow_upstream_meets_the_deadline(guard: FakeGuard) -> None:
    under_test = proxy([5.0, CALL], guards=[guard], limits=Limits(deadline_s=0.05))
    received = under_test.ask()
    assert (received.status, received.error["code"]) == (504, "upstream_timeout")
    assert under_test.upstream.closed == 1


def test_a_slow_body_meets_the_deadline() -> None:
    under_test = proxy([CALL], limits=Limits(deadline_s=0.05))
    received = send(under_test, "POST", CHAT, [], JSON)
    assert received.status == 504
    assert under_test.upstream.asked == []


# --- holding -------------------------------------------------------------------------------------------------------


def test_a_held_stream_gets_comments_while_a_guard_thinks(guarding: Guarding) -> None:
    under_test = proxy([CALL], guards=[guarding(delay_s=0.2)], limits=Limits(keepalive_s=0.05))
    received = under_test.ask()
    assert received.parts[0] == KEEP_ALIVE
    assert received.seen.count(KEEP_ALIVE) in (2, 3, 4)
    assert received.events == [call("good", "{}"), finish()]
    assert received.done
    assert under_test.exchange.hold_seconds >= 0.2


def test_a_blocked_call_is_an_error_event_when_comments_began_the_stream(guarding: Guarding) -> None:
    play = [events([call("bad", "{}"), finish()])]
    under_test = proxy(play, guards=[guarding(delay_s=0.1)], limits=Limits(keepalive_s=0.03), on_block=OnBlock.ERROR)
    received = under_test.ask()
    assert (received.status, received.error["code"]) == (200, "blocked_by_guardrail")
    assert under_test.exchange.outcome == "blocked"


def test_headers_tell_the_decision_of_a_whole_answer(guard: FakeGuard) -> None:
    for name, label in (("good", "allow"), ("fix", "rewrite"), ("bad", "block")):
        under_test = proxy([body(completion({"tool_calls": [whole_call(name, "{}")]}))], guards=[guard])
        received = under_test.ask(request(stream=False))
        assert received.headers["x-guardproxy-decision"] == label
        assert received.headers["x-guardproxy-decision-id"] == under_test.exchange.id


# --- records -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "play"),
    [(True, [5.0, CALL]), (True, [events([text("hi")], done=False), 5.0]), (True, [CALL]), (False, [5.0, b""])],
)
def test_a_client_that_goes_cancels_the_upstream_and_is_recorded(
    guarding: Guarding, stream: bool, play: list[Any]
) -> None:
    under_test = proxy(play, guards=[guarding(delay_s=5.0, deadline_s=9.0)])

    async def scenario() -> Received:
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, gone.set)
        return await asyncio.wait_for(under_test.post(request(stream=stream), gone=gone), 3)

    received = asyncio.run(scenario())
    assert not received.ended
    assert b"good" not in received.seen
    assert (under_test.exchange.outcome, under_test.exchange.status) == ("cancelled", 499)
    assert under_test.upstream.closed == 1


def test_a_shutdown_is_recorded(guard: FakeGuard) -> None:
    under_test = proxy([5.0, CALL], guards=[guard])

    async def scenario() -> None:
        task = asyncio.create_task(under_test.post())
        await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert under_test.exchange.outcome == "cancelled"


def test_an_observer_that_fails_stops_neither_the_answer_nor_the_others(
    guard: FakeGuard, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeObserver):
        def record(self, exchange: Exchange) -> None:
            raise RuntimeError("SECRET")

    caplog.set_level(logging.CRITICAL)
    other = FakeObserver()
    under_test = proxy([CALL], guards=[guard], observers=(Broken(), other))
    assert under_test.ask().done
    assert len(other.exchanges) == 1


def test_times_add_up(guarding: Guarding) -> None:
    under_test = proxy([0.05, CALL, 0.05], guards=[guarding(delay_s=0.05)])
    under_test.ask()
    exchange = under_test.exchange
    assert exchange.upstream_seconds >= 0.05
    assert exchange.guard_seconds >= 0.05
    assert exchange.total_seconds >= exchange.upstream_seconds + exchange.guard_seconds
    assert 0 <= exchange.added_seconds < exchange.total_seconds
