"""Plain HTTP to any server that speaks the OpenAI API, over aiohttp.

The server is not trusted: it gets our own path and our own choice of headers, no redirect is followed, no cookie is
kept, and what it answers is bounded in size and time. What goes wrong becomes an UpstreamError that names neither
the server nor a key; the log line beside it names the upstream and the kind of failure.

A body that ends with its connection (neither a length nor chunks, RFC 9112 section 6.3) cannot be told from a cut
one here: the surface must see the end that its own format promises.
"""

import logging
import re
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import cast

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from guardproxy import strict_json
from guardproxy.errors import (
    ConfigurationError,
    Fault,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefusal,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from guardproxy.model import Credential
from guardproxy.provider_error import ErrorFields, read_error
from guardproxy.strict_json import Json
from guardproxy.upstream import environment_proxy, headers
from guardproxy.upstream.inflate import Inflate
from guardproxy.upstream.upstream import UpstreamRequest

_log = logging.getLogger(__name__)

MAX_ERROR_BODY = 65536
_SHORTEST_SECRET = 6  # characters: "none" or "x" is a placeholder, and taking it out would only garble messages
_POOL_IDLE_S = 30.0  # load balancers drop an idle connection after 60 s and more
_FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError)
MESSAGES_PATH = "/messages"
_QUERY = re.compile(r"(?:[a-z_]+=[A-Za-z0-9_.-]+)?")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~:@-]+)+")


class HttpUpstream:
    """One OpenAI-compatible server. `base_url` is its API root, with the version: "https://api.openai.com/v1".

    With `api_key` that key is sent, without one the client's own. `ca_file` replaces the system's certificate
    authorities. `connect_timeout_s` bounds the wait for a connection (name look-up, a free place in the pool and TLS
    included), `idle_timeout_s` the silence before and between bytes. `takes_api_key`: the Messages API of this server
    wants the key in x-api-key, as Anthropic's does. `remembers`: see Upstream.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None = None,
        ca_file: Path | None = None,
        connect_timeout_s: float = 10.0,
        idle_timeout_s: float = 300.0,
        max_connections: int = 1024,
        max_response_bytes: int = 64 * 1024 * 1024,
        takes_api_key: bool = False,
        remembers: bool = True,
    ) -> None:
        self.name = name
        self.remembers = remembers
        self.max_response_bytes = max_response_bytes
        self._base = _checked_base(name, base_url)
        self._bearer = Credential("authorization", f"Bearer {api_key}") if api_key else None
        self._api_key = Credential("x-api-key", api_key) if api_key and takes_api_key else self._bearer
        self._secrets = _secrets(self._base, api_key)
        self._ca_file = ca_file
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._max_connections = max_connections
        self._urls: dict[str, URL] = {}
        self._proxy = environment_proxy.find(self._base)
        self._session: aiohttp.ClientSession | None = None

    def open(self, request: UpstreamRequest) -> "_Opening":
        return _Opening(self, request)

    async def start(self) -> None:
        self._running_session()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """The response's head, whatever its status. Raises UpstreamError."""
        timeout = aiohttp.ClientTimeout(
            total=_seconds_left(request.deadline),
            connect=self._connect_timeout_s,
            sock_read=self._idle_timeout_s,
        )
        own = self._api_key if request.path.startswith(MESSAGES_PATH) else self._bearer
        outgoing = headers.to_upstream(request, own)
        try:
            return await self._running_session().request(
                request.method,
                self._url(request.path, request.query),
                data=_body(request),
                headers=outgoing,
                timeout=timeout,
                proxy=self._proxy,
                allow_redirects=False,
            )
        except _FAILURES as error:
            raise self.failure(error) from None

    def failure(self, error: BaseException) -> UpstreamError:
        """`error` as one of ours, logged by its kind alone: the client library's own texts hold addresses."""
        ours = _translated(error)
        number = getattr(error, "errno", None)
        _log.warning("upstream %s failed: %s (%s, errno %s)", self.name, ours.message, type(error).__name__, number)
        return ours

    def redacted(self, text: str | None) -> str | None:
        """`text` without this upstream's address and key, should the server have quoted them."""
        for secret in self._secrets:
            text = text and text.replace(secret, "[redacted]")
        return text

    def _url(self, path: str, query: str) -> URL:
        key = f"{path}?{query}" if query else path
        url = self._urls.get(key)
        if url is None:
            if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query):
                raise ValueError("an upstream path and its query are constants")
            url = self._urls[key] = URL(str(self._base) + key, encoded=True)
        return url

    def _running_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._max_connections,
                    keepalive_timeout=_POOL_IDLE_S,
                    ssl=_ssl_context(self._ca_file) if self._base.scheme == "https" else True,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # the environment's proxy is found once, above; .netrc never
            )
        return self._session


class HttpReply:
    """An answer whose status says that it worked."""

    __slots__ = ("_inflate", "_response", "_upstream", "content_type", "headers", "status")

    def __init__(self, upstream: HttpUpstream, response: aiohttp.ClientResponse) -> None:
        self._upstream = upstream
        self._response = response
        self._inflate = _inflate(response)
        self.status = response.status
        self.headers = headers.to_client(response.headers)
        content_type = response.headers.get("content-type", "")
        self.content_type = content_type if headers.is_clean(content_type) else ""

    async def chunks(self) -> AsyncIterator[bytes]:
        limit = self._upstream.max_response_bytes
        if (self._response.content_length or 0) > limit:
            raise _too_large()
        async for piece in self._pieces():
            limit -= len(piece)
            if limit < 0:
                raise _too_large()
            yield piece

    async def start_of_body(self, size: int) -> bytes:
        """At most `size` bytes, fewer where the body breaks off: an error answer is worth reading in part."""
        body = bytearray()
        try:
            async for piece in self._pieces():
                body += piece
                if len(body) >= size:
                    break
        except UpstreamError:
            pass
        return bytes(body[:size])

    async def _pieces(self) -> AsyncIterator[bytes]:
        read, inflate = self._response.content.readany, self._inflate
        try:
            if inflate is None:
                while data := await read():
                    yield data
                return
            while data := await read():
                for piece in inflate.feed(data):
                    yield piece
            inflate.finish()
        except _FAILURES as error:
            raise self._upstream.failure(error) from None


class _Opening:
    """The context of one exchange. Leaving it closes the connection, unless the body was read to its end."""

    __slots__ = ("_request", "_response", "_upstream")

    def __init__(self, upstream: HttpUpstream, request: UpstreamRequest) -> None:
        self._upstream = upstream
        self._request = request
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> HttpReply:
        response = self._response = await self._upstream.send(self._request)
        try:
            if not 200 <= response.status < 300:
                raise await _not_an_answer(self._upstream, response)
            return HttpReply(self._upstream, response)
        except BaseException:
            response.close()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._response is not None:
            self._response.close()


async def _not_an_answer(upstream: HttpUpstream, response: aiohttp.ClientResponse) -> UpstreamError:
    if 300 <= response.status < 400:
        return UpstreamProtocolError("the model server answered with a redirect, which is not followed")
    if not 400 <= response.status < 600:
        return UpstreamProtocolError("the model server answered with a status that has no meaning here")
    fields, passed = await _read_refusal(response, upstream)
    return UpstreamRefusal(
        response.status,
        upstream.redacted(fields.message) or "",
        type=upstream.redacted(fields.type),
        param=upstream.redacted(fields.param),
        code=upstream.redacted(fields.code),
        headers=passed,
    )


async def _read_refusal(
    response: aiohttp.ClientResponse, upstream: HttpUpstream
) -> tuple[ErrorFields, tuple[tuple[str, str], ...]]:
    try:
        reply = HttpReply(upstream, response)
    except UpstreamProtocolError:  # an unknown content coding: the status still counts
        return read_error(b"", "", response.status), headers.to_client(response.headers)
    body = await reply.start_of_body(MAX_ERROR_BODY)
    return read_error(body, reply.content_type, response.status), reply.headers


def _translated(error: BaseException) -> UpstreamError:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return UpstreamTimeout("no connection to the model server in time")
        case aiohttp.ClientSSLError():
            return UpstreamUnavailable("no TLS connection to the model server was made", code="upstream_tls_failed")
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            return UpstreamUnavailable("the proxy to the model server failed", code="upstream_proxy_failed")
        case aiohttp.ClientConnectorError():
            return UpstreamUnavailable("the model server cannot be reached")
        case TimeoutError():
            return UpstreamTimeout("the model server did not answer in time")
        case aiohttp.ClientConnectionError() | ConnectionError():
            return UpstreamProtocolError("the model server closed the connection before its answer was complete")
        case _:
            return UpstreamProtocolError("the model server's answer is broken or incomplete")


def _body(request: UpstreamRequest) -> "_Body | None":
    if request.raw is not None:
        return _Body(request.raw)
    if request.tree is not None:
        return _Body(strict_json.encode(cast(Json, request.tree)))
    return None


class _Body(aiohttp.BytesPayload):
    """Bytes of any size in one write. The base class warns above 1 MiB; bodies are bounded before they come here."""

    def __init__(self, value: bytes) -> None:
        aiohttp.Payload.__init__(self, value)
        self._size = len(value)


def _inflate(response: aiohttp.ClientResponse) -> Inflate | None:
    coding = response.headers.get("content-encoding", "").strip().lower()
    return None if coding in ("", "identity") else Inflate(coding)


def _too_large() -> UpstreamProtocolError:
    return UpstreamProtocolError("the model server's answer is larger than the limit", code="upstream_answer_too_large")


def _seconds_left(deadline: float) -> float | None:
    if deadline == float("inf"):
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise UpstreamTimeout("the deadline passed before the model server was asked")
    return left


def _ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def _checked_base(name: str, base_url: str) -> URL:
    def fault(problem: str) -> ConfigurationError:
        return ConfigurationError([Fault("upstreams", None, f"{name}.base_url", problem)])

    try:
        url = URL(base_url.rstrip("/"))
    except ValueError:
        raise fault("not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise fault("must begin with http:// or https:// and name a host")
    if url.user is not None or url.password is not None:
        raise fault("must hold no user name or password; set api_key instead")
    if url.query_string or url.fragment:
        raise fault("must hold no query and no fragment")
    return url


def _secrets(base: URL, api_key: str | None) -> tuple[str, ...]:
    """What a server's error message must not show; a bare word such as "vllm" would be a common word, so it stays."""
    host = base.host or ""
    telling = [str(base), base.authority, host] if "." in host or ":" in host else [str(base)]
    return (*telling, api_key) if api_key and len(api_key) >= _SHORTEST_SECRET else tuple(telling)
