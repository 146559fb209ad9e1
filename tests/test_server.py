"""The listeners: what may not be collected without end, and two servers on one address."""

import socket

import pytest

from guardproxy.config.settings import Listen
from guardproxy.server import MAX_HEAD_BYTES, AddressUnavailable, bind


def test_free_ports_are_told() -> None:
    listeners = bind(Listen(port=0, admin_port=0))
    assert listeners.main_url.startswith("http://127.0.0.1:")
    assert listeners.main_url != listeners.admin_url
    assert not listeners.main_url.endswith(":0")
    listeners.close()


def test_ipv6_addresses_stand_in_brackets() -> None:
    listeners = bind(Listen(host="::1", port=0, admin_host="::1", admin_port=0))
    assert listeners.main_url.startswith("http://[::1]:")
    listeners.close()


def test_a_taken_port_frees_the_other_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
        other.close()
        with pytest.raises(AddressUnavailable, match="Address already in use; choose another with --admin-port"):
            bind(Listen(port=free, admin_port=taken.getsockname()[1]))
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", free))


def test_two_proxies_cannot_share_a_port() -> None:
    """bind() alone would let them, and the second would find out only when it listens."""
    first = bind(Listen(port=0, admin_port=0))
    with pytest.raises(AddressUnavailable):
        bind(Listen(port=first.main.getsockname()[1], admin_port=0))
    first.close()


def test_a_name_that_leads_nowhere() -> None:
    with pytest.raises(AddressUnavailable, match=r"cannot listen on no-such-host\.invalid:0"):
        bind(Listen(host="no-such-host.invalid", port=0, client_keys=("0123456789abcdef",)))


@pytest.mark.parametrize(
    ("head", "refused"),
    [
        ("x: y\r\n" * 10, False),
        ("x: " + "y" * (MAX_HEAD_BYTES * 2), True),
        ("".join(f"x{n}: {'y' * 100}\r\n" for n in range(MAX_HEAD_BYTES // 50)), True),
    ],
)
def test_a_requests_head_is_bounded(head: str, refused: bool) -> None:
    """Without an end, so that only the bound can answer."""
    answer = _answer_to(f"GET /healthz HTTP/1.1\r\nhost: localhost\r\n{head}".encode())
    assert answer.startswith(b"HTTP/1.1 400") is refused


def _answer_to(data: bytes) -> bytes:
    """What BoundedHttp writes, over a transport that keeps it."""
    import asyncio

    import uvicorn
    from uvicorn.server import ServerState

    from guardproxy.server import BoundedHttp

    class Transport(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.written = b""
            self.closing = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.written += bytes(data)

        def close(self) -> None:
            self.closing = True

        def is_closing(self) -> bool:
            return self.closing

        def get_extra_info(self, name: str, default: object = None) -> object:
            return default

    async def feed() -> bytes:
        async def app(scope: object, receive: object, send: object) -> None:
            raise AssertionError("a request without an end reached the application")

        config = uvicorn.Config(app, http=BoundedHttp, log_config=None, lifespan="off", ws="none")
        config.load()
        transport = Transport()
        protocol = BoundedHttp(config, ServerState(), {}, _loop=asyncio.get_running_loop())
        protocol.connection_made(transport)
        for start in range(0, len(data), 8192):
            if not transport.closing:
                protocol.data_received(data[start : start + 8192])
        return transport.written

    return asyncio.run(feed())
