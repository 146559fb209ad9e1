"""A raw loopback server: each test writes the bytes that it answers, so nothing is too broken to be sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

Answer = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class RawServer:
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    closed_by_client: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


async def read_request(reader: asyncio.StreamReader, connection: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(head[0], headers, body, connection)


@asynccontextmanager
async def _serve(answer: Answer) -> AsyncIterator[RawServer]:
    server = RawServer()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        connection = server.connections
        try:
            while True:
                request = await read_request(reader, connection)
                server.requests.append(request)
                answering = asyncio.ensure_future(answer(request, writer))
                leaving = asyncio.ensure_future(_left(reader, answering))
                await answering
                leaving.cancel()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            server.closed_by_client.set()
        finally:
            writer.close()

    async def _left(reader: asyncio.StreamReader, answering: "asyncio.Future[None]") -> None:
        while not reader.at_eof():
            await asyncio.sleep(0.005)
        server.closed_by_client.set()
        answering.cancel()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@pytest.fixture
def raw_server() -> Callable[[Answer], object]:
    """`async with raw_server(answer) as server`: `answer(request, writer)` writes whatever it likes."""
    return _serve


def response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    fields = {"content_type": "application/json", "content_length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@pytest.fixture
def http_response() -> Callable[..., bytes]:
    """`http_response(body, status, content_encoding=...)` is a well-formed response."""
    return response
