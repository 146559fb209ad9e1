import asyncio
import gzip
import json
import logging
import ssl
import time
import zlib

import pytest
import trustme

from guardproxy.errors import (
    ConfigurationError,
    MalformedRequest,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefusal,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from guardproxy.model import Credential
from guardproxy.upstream.openai_http import HttpUpstream
from guardproxy.upstream.upstream import Upstream, UpstreamRequest

CHAT = UpstreamRequest("/chat/completions", tree={"model": "m", "messages": []})
KEY = "sk-proxy-own-key"


async def read_into(got: bytearray, upstream: Upstream) -> None:
    async with upstream.open(CHAT) as reply:
        async for chunk in reply.chunks():
            got += chunk


async def fetch(upstream: Upstream, request: UpstreamRequest = CHAT) -> tuple[int, bytes, dict[str, str]]:
    async with upstream.open(request) as reply:
        body = b"".join([chunk async for chunk in reply.chunks()])
        return reply.status, body, dict(reply.headers)


def answering(raw_server, wire, scenario, **options):
    """Run `scenario(upstream, server)` against a server that answers every request with `wire` (bytes or callable)."""

    async def answer(request, writer):
        if callable(wire):
            await wire(request, writer)
        else:
            writer.write(wire)
            await writer.drain()

    async def run():
        async with raw_server(answer) as server:
            upstream = HttpUpstream(name="main", base_url=server.base_url, **options)
            await upstream.start()
            try:
                return await scenario(upstream, server)
            finally:
                await upstream.close()

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_body_and_own_path_reach_the_server_and_the_answer_comes_back(raw_server, http_response):
    async def scenario(upstream, server):
        status, body, _ = await fetch(upstream)
        return status, body, server.requests[0]

    status, body, request = answering(raw_server, http_response(b'{"ok":true}'), scenario)
    assert (status, body) == (200, b'{"ok":true}')
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert json.loads(request.body) == {"model": "m", "messages": []}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"


def test_get_has_no_body_and_raw_bodies_keep_their_type(raw_server, http_response):
    async def scenario(upstream, server):
        await fetch(upstream, UpstreamRequest("/models", method="GET"))
        raw = UpstreamRequest("/audio/transcriptions", raw=b"\x00\xff", content_type="multipart/form-data; boundary=x")
        await fetch(upstream, raw)
        return server.requests

    get, post = answering(raw_server, http_response(b"{}"), scenario)
    assert get.line == "GET /v1/models HTTP/1.1"
    assert (get.body, "content-type" in get.headers) == (b"", False)
    assert (post.body, post.headers["content-type"]) == (b"\x00\xff", "multipart/form-data; boundary=x")


def test_only_allow_listed_request_headers_pass(raw_server, http_response):
    client = (
        ("User-Agent", "agent/1"),
        ("OpenAI-Organization", "org"),
        ("X-Request-Id", "r1"),
        ("Cookie", "session=1"),
        ("Host", "evil.example"),
        ("Connection", "x-secret"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("Content-Length", "9999"),
        ("Accept-Encoding", "gzip"),
    )

    async def scenario(upstream, server):
        await fetch(upstream, UpstreamRequest("/chat/completions", tree={}, headers=client))
        return server.requests[0].headers, server.port

    headers, port = answering(raw_server, http_response(b"{}"), scenario)
    assert headers == {
        "host": f"127.0.0.1:{port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "agent/1",
        "openai-organization": "org",
        "x-request-id": "r1",
        "content-type": "application/json",
        "content-length": "2",
    }


@pytest.mark.parametrize(
    ("own", "clients", "sent"),
    [
        (KEY, "Bearer client", f"Bearer {KEY}"),
        (None, "Bearer client", "Bearer client"),
        (None, None, None),
    ],
)
def test_own_key_wins_over_the_clients(raw_server, http_response, own, clients, sent):
    async def scenario(upstream, server):
        await fetch(
            upstream,
            UpstreamRequest("/chat/completions", tree={}, credential=clients and Credential("authorization", clients)),
        )
        return server.requests[0].headers.get("authorization")

    assert answering(raw_server, http_response(b"{}"), scenario, api_key=own) == sent


@pytest.mark.parametrize(
    "request_",
    [
        UpstreamRequest("/chat/completions", tree={}, headers=(("user-agent", "a\r\nx-evil: 1"),)),
        UpstreamRequest("/chat/completions", tree={}, credential=Credential("authorization", "Bearer a\nx-evil: 1")),
        UpstreamRequest("/chat/completions", raw=b"", content_type="text/plain\r\n\r\nGET /"),
        UpstreamRequest("/chat/completions", tree={}, headers=(("openai-beta", "a\x00b"),)),
        UpstreamRequest("/chat/completions", tree={}, headers=(("x-request-id", "x" * 5000),)),
    ],
)
def test_header_injection_is_refused_before_a_byte_is_sent(raw_server, http_response, request_):
    async def scenario(upstream, server):
        with pytest.raises(MalformedRequest) as caught:
            await fetch(upstream, request_)
        assert "evil" not in str(caught.value)
        return server.requests

    assert answering(raw_server, http_response(b"{}"), scenario) == []


@pytest.mark.parametrize(
    "path", ["/../admin", "//evil.example/x", "/chat/%2e%2e", "chat", "/a?b=c", "/a b", "/./a", ""]
)
def test_a_path_that_is_no_constant_of_plain_segments_is_a_bug(raw_server, http_response, path):
    async def scenario(upstream, server):
        with pytest.raises(ValueError, match="constant"):
            await fetch(upstream, UpstreamRequest(path, tree={}))
        return server.requests

    assert answering(raw_server, http_response(b"{}"), scenario) == []


def test_response_headers_pass_by_allow_list(raw_server, http_response):
    wire = http_response(
        b"{}",
        retry_after="3",
        x_ratelimit_remaining_tokens="12",
        x_request_id="up-1",
        openai_processing_ms="5",
        set_cookie="a=b",
        server="vllm",
        x_failed_generation='{"name": "bash"}',
        access_control_allow_origin="*",
    )

    async def scenario(upstream, server):
        return await fetch(upstream)

    _, _, headers = answering(raw_server, wire, scenario)
    assert headers == {
        "retry-after": "3",
        "x-ratelimit-remaining-tokens": "12",
        "x-request-id": "up-1",
        "openai-processing-ms": "5",
    }


def test_connections_are_reused(raw_server, http_response):
    async def scenario(upstream, server):
        for _ in range(5):
            await fetch(upstream)
        return server.connections

    assert answering(raw_server, http_response(b"{}"), scenario) == 1


def test_stream_arrives_piece_by_piece(raw_server):
    async def wire(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")

    async def scenario(upstream, server):
        async with upstream.open(UpstreamRequest("/chat/completions", tree={}, stream=True)) as reply:
            assert reply.content_type == "text/event-stream"
            assert server.requests[0].headers["accept"] == "text/event-stream"
            return [chunk async for chunk in reply.chunks()]

    assert answering(raw_server, wire, scenario) == [b"data: 1\n\n", b"data: 2\n\n"]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "304 Not Modified", "307 Temporary Redirect"])
def test_redirects_are_not_followed(raw_server, http_response, status):
    async def scenario(upstream, server):
        with pytest.raises(UpstreamProtocolError, match="redirect"):
            await fetch(upstream)
        return len(server.requests)

    wire = http_response(b"", status, location="http://127.0.0.1:1/v1/chat/completions")
    assert answering(raw_server, wire, scenario) == 1


BROKEN = {
    "garbage": b"\x16\x03\x01\x02\x00\x01 this is not HTTP\r\n\r\n",
    "nothing at all": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-ty",
    "shorter than its length": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
    "chunks without an end": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "a chunk size that is none": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
    "a head without an end": b"HTTP/1.1 200 OK\r\n" + b"x: " + b"a" * 100_000 + b"\r\n\r\n",
    "a status of no use": b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
    "broken gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
    "an unknown coding": b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("wire", BROKEN.values(), ids=BROKEN.keys())
def test_broken_answers_are_protocol_errors(raw_server, wire):
    async def broken(request, writer):
        writer.write(wire)
        await writer.drain()
        writer.close()

    async def scenario(upstream, server):
        with pytest.raises(UpstreamProtocolError) as caught:
            await fetch(upstream)
        assert caught.value.status == 502
        assert "127.0.0.1" not in str(caught.value)

    answering(raw_server, broken, scenario)


def test_reset_in_the_middle_of_a_body(raw_server):
    async def wire(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()

    async def scenario(upstream, server):
        got = bytearray()
        with pytest.raises(UpstreamProtocolError):
            await read_into(got, upstream)
        return got

    assert answering(raw_server, wire, scenario) == b"hello"


def test_refused_connection_and_unknown_host_are_unavailable():
    async def run(base_url):
        upstream = HttpUpstream(name="main", base_url=base_url)
        try:
            with pytest.raises(UpstreamUnavailable) as caught:
                await fetch(upstream)
            return str(caught.value)
        finally:
            await upstream.close()

    for base_url in ("http://127.0.0.1:1/v1", "http://no-such-host.invalid/v1"):
        message = asyncio.run(run(base_url))
        assert message == "the model server cannot be reached"


@pytest.mark.parametrize("started", [False, True])
def test_a_hanging_server_meets_the_idle_timeout(raw_server, started):
    async def hang(request, writer):
        if started:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await asyncio.sleep(30)

    async def scenario(upstream, server):
        with pytest.raises(UpstreamTimeout):
            await fetch(upstream)

    before = time.monotonic()
    answering(raw_server, hang, scenario, idle_timeout_s=0.1)
    assert time.monotonic() - before < 5


def test_a_server_that_drips_meets_the_deadline(raw_server):
    async def drip(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.02)

    async def scenario(upstream, server):
        with pytest.raises(UpstreamTimeout):
            await fetch(upstream, UpstreamRequest("/chat/completions", tree={}, deadline=time.monotonic() + 0.2))

    answering(raw_server, drip, scenario)


def test_a_deadline_in_the_past_asks_nobody(raw_server, http_response):
    async def scenario(upstream, server):
        with pytest.raises(UpstreamTimeout):
            await fetch(upstream, UpstreamRequest("/chat/completions", tree={}, deadline=time.monotonic() - 1))
        return server.requests

    assert answering(raw_server, http_response(b"{}"), scenario) == []


def test_a_full_pool_meets_the_connect_timeout(raw_server):
    async def hang(request, writer):
        await asyncio.sleep(30)

    async def scenario(upstream, server):
        first = asyncio.ensure_future(fetch(upstream))
        await asyncio.sleep(0.05)
        with pytest.raises(UpstreamTimeout):
            await fetch(upstream)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    answering(raw_server, hang, scenario, max_connections=1, connect_timeout_s=0.1)


def test_cancelling_closes_the_connection(raw_server):
    async def hang(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await asyncio.sleep(30)

    async def scenario(upstream, server):
        task = asyncio.ensure_future(fetch(upstream))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed_by_client.wait(), 5)

    answering(raw_server, hang, scenario)


def test_leaving_early_closes_the_connection(raw_server):
    async def endless(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await asyncio.sleep(30)

    async def scenario(upstream, server):
        async with upstream.open(CHAT) as reply:
            async for _ in reply.chunks():
                break
        await asyncio.wait_for(server.closed_by_client.wait(), 5)

    answering(raw_server, endless, scenario)


@pytest.mark.parametrize("announced", [True, False])
def test_answers_are_bounded(raw_server, announced):
    async def wire(request, writer):
        head = b"content-length: 5000\r\n" if announced else b""
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"x" * 5000)
        await writer.drain()
        writer.close()

    async def scenario(upstream, server):
        with pytest.raises(UpstreamProtocolError) as caught:
            await fetch(upstream)
        return caught.value.code

    assert answering(raw_server, wire, scenario, max_response_bytes=1000) == "upstream_answer_too_large"


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_answers_are_decoded(raw_server, http_response, coding, pack):
    body = json.dumps({"text": "æ" * 100_000}).encode()

    async def scenario(upstream, server):
        return (await fetch(upstream))[1]

    assert answering(raw_server, http_response(pack(body), content_encoding=coding), scenario) == body


def test_a_gzip_bomb_stops_at_the_limit(raw_server, http_response):
    async def scenario(upstream, server):
        got = bytearray()
        with pytest.raises(UpstreamProtocolError) as caught:
            await read_into(got, upstream)
        assert caught.value.code == "upstream_answer_too_large"
        return len(got)

    bomb = gzip.compress(b"\0" * 50_000_000)
    assert (
        answering(raw_server, http_response(bomb, content_encoding="gzip"), scenario, max_response_bytes=100_000)
        <= 100_000
    )


@pytest.mark.parametrize("cut", [-8, -1])
def test_cut_gzip_is_a_protocol_error(raw_server, http_response, cut):
    async def scenario(upstream, server):
        with pytest.raises(UpstreamProtocolError):
            await fetch(upstream)

    answering(raw_server, http_response(gzip.compress(b"{}" * 100)[:cut], content_encoding="gzip"), scenario)


def refusal(raw_server, wire, **options) -> UpstreamRefusal:
    async def scenario(upstream, server):
        with pytest.raises(UpstreamRefusal) as caught:
            await fetch(upstream)
        return caught.value

    return answering(raw_server, wire, scenario, **options)


def test_a_refusal_keeps_status_and_four_fields_and_nothing_else(raw_server, http_response):
    call = '<function=bash>{"command": "rm -rf /"}'
    body = {
        "error": {
            "message": "Failed to call a function. Please adjust your prompt.",
            "type": "invalid_request_error",
            "code": "tool_use_failed",
            "failed_generation": call,
        },
        "choices": [{"message": {"content": call}}],
    }
    wire = http_response(json.dumps(body).encode(), "400 Bad Request", x_request_id="up-2", set_cookie="a=b")
    error = refusal(raw_server, wire)
    assert (error.status, error.message) == (400, "Failed to call a function. Please adjust your prompt.")
    assert (error.type, error.param, error.code) == ("invalid_request_error", None, "tool_use_failed")
    assert error.headers == (("x-request-id", "up-2"),)
    assert "rm -rf" not in repr(vars(error))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529])
def test_a_refusal_keeps_its_status(raw_server, http_response, status):
    error = refusal(raw_server, http_response(b'{"error":{"message":"no"}}', f"{status} No"))
    assert (error.status, error.message) == (status, "no")


def test_a_huge_error_body_is_read_in_part(raw_server, http_response):
    body = b'{"error":{"message":"' + b"x" * 1_000_000 + b'"}}'
    error = refusal(raw_server, http_response(body, "500 No"), max_response_bytes=10_000)
    assert error.message == "the model server answered with status 500"


def test_an_error_body_that_breaks_off_or_cannot_be_decoded_still_has_its_status(raw_server, http_response):
    cut = b"HTTP/1.1 503 No\r\ncontent-length: 100\r\n\r\n{}"

    async def wire(request, writer):
        writer.write(cut)
        await writer.drain()
        writer.close()

    assert refusal(raw_server, wire).status == 503
    assert refusal(raw_server, http_response(b"xx", "503 No", content_encoding="br")).status == 503


def test_a_refusal_shows_neither_key_nor_address(raw_server, http_response):
    async def wire(request, writer):
        text = f"bad key {request.headers['authorization']} at http://{request.headers['host']}/v1 or 127.0.0.1"
        fields = {"message": text, "param": text, "code": text, "type": text}
        writer.write(http_response(json.dumps({"error": fields}).encode(), "401 No"))

    error = refusal(raw_server, wire, api_key=KEY)
    assert error.status == 401
    assert error.message.startswith("bad key Bearer [redacted] at ")
    assert KEY not in repr(vars(error))
    assert "127.0.0.1" not in repr(vars(error))


def test_failures_are_logged_without_address_or_key(caplog):
    async def run():
        upstream = HttpUpstream(name="main", base_url="http://127.0.0.1:1/v1", api_key=KEY)
        with pytest.raises(UpstreamUnavailable):
            await fetch(upstream)
        await upstream.close()

    with caplog.at_level(logging.DEBUG, logger="guardproxy"):
        asyncio.run(run())
    assert "upstream main failed" in caplog.text
    assert "127.0.0.1" not in caplog.text
    assert KEY not in caplog.text


def test_large_bodies_are_sent_whole_and_without_a_warning(raw_server, http_response, recwarn):
    text = "x" * 3_000_000

    async def scenario(upstream, server):
        await fetch(upstream, UpstreamRequest("/chat/completions", tree={"text": text}))
        return json.loads(server.requests[0].body)["text"]

    assert answering(raw_server, http_response(b"{}"), scenario) == text
    assert [w for w in recwarn if issubclass(w.category, ResourceWarning)] == []


def test_cookies_are_not_kept(raw_server, http_response):
    async def scenario(upstream, server):
        await fetch(upstream)
        await fetch(upstream)
        return server.requests[1].headers

    assert "cookie" not in answering(raw_server, http_response(b"{}", set_cookie="a=b; Path=/"), scenario)


def test_starts_again_after_close(raw_server, http_response):
    async def scenario(upstream, server):
        await fetch(upstream)
        await upstream.close()
        await upstream.close()
        return (await fetch(upstream))[0]

    assert answering(raw_server, http_response(b"{}"), scenario) == 200


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://user:pw@host/v1",
        "http://host/v1?key=1",
        "http://host/#a",
    ],
)
def test_a_base_url_that_cannot_be_used_is_a_configuration_fault(base_url):
    with pytest.raises(ConfigurationError) as caught:
        HttpUpstream(name="main", base_url=base_url)
    assert "main.base_url" in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.fixture
def authority():
    return trustme.CA()


def over_tls(authority, **options):
    async def run():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)

        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        upstream = HttpUpstream(name="main", base_url=f"https://localhost:{port}/v1", **options)
        try:
            return await fetch(upstream, UpstreamRequest("/models", method="GET"))
        finally:
            await upstream.close()
            server.close()

    return asyncio.run(run())


def test_a_custom_authority_is_honoured(authority, tmp_path):
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    assert over_tls(authority, ca_file=ca_file)[:2] == (200, b"{}")


def test_an_unknown_authority_is_refused(authority, tmp_path):
    stranger = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    for options in ({}, {"ca_file": stranger}):
        with pytest.raises(UpstreamUnavailable) as caught:
            over_tls(authority, **options)
        assert caught.value.code == "upstream_tls_failed"


def test_plain_http_goes_through_the_environments_proxy(raw_server, http_response, monkeypatch):
    async def run():
        async def proxied(request, writer):
            writer.write(http_response(b'{"via":"proxy"}'))

        async with raw_server(proxied) as proxy:
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
            upstream = HttpUpstream(name="main", base_url="http://model.example/v1", api_key=KEY)
            try:
                return (await fetch(upstream))[1], proxy.requests[0]
            finally:
                await upstream.close()

    body, request = asyncio.run(run())
    assert body == b'{"via":"proxy"}'
    assert request.line == "POST http://model.example/v1/chat/completions HTTP/1.1"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_https_goes_through_the_proxys_tunnel_and_a_refusing_proxy_is_unavailable(
    raw_server, http_response, monkeypatch
):
    async def run():
        async def refusing(request, writer):
            writer.write(http_response(b"no", "407 Proxy Authentication Required"))

        async with raw_server(refusing) as proxy:
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            upstream = HttpUpstream(name="main", base_url="https://model.example/v1", api_key=KEY)
            with pytest.raises(UpstreamError) as caught:
                await fetch(upstream)
            await upstream.close()
            return caught.value, proxy.requests[0]

    error, request = asyncio.run(run())
    assert isinstance(error, UpstreamUnavailable)
    assert error.code == "upstream_proxy_failed"
    assert request.line == "CONNECT model.example:443 HTTP/1.1"
    assert KEY not in str(request)


def test_netrc_is_never_read(raw_server, http_response, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def scenario(upstream, server):
        await fetch(upstream)
        return server.requests[0].headers

    assert "authorization" not in answering(raw_server, http_response(b"{}"), scenario)
