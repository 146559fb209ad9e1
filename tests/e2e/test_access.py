"""Who may call the real program, and how it reaches its upstream: keys, origins, TLS, a proxy in between."""

import asyncio
import http.client
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
import trustme
from openai import OpenAI

from guardproxy.testing.dialects import Said
from guardproxy.testing.model_server import ModelServer, model_server
from guardproxy.testing.service import Service, command, environment, serving

ASKED = [{"role": "user", "content": "Hello."}]
KEY = "a-client-key-of-this-test"
FAR = "models.invalid"  # a name that no resolver knows, RFC 6761 section 6.4


def config(base_url: str, upstream: dict[str, object] | None = None, **more: object) -> str:
    upstreams = [{"base_url": base_url, **(upstream or {})}]
    return json.dumps({"guards": {"classifier": {"enabled": False}}, "upstreams": upstreams, **more})


@pytest.fixture(scope="module")
def keyed(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """On every address, with a client key and a key of its own for the upstream."""
    listen = {"host": "0.0.0.0", "client_keys": ["${CLIENT_KEY}"]}
    text = config(server.base_url, {"api_key": "${UPSTREAM_KEY}"}, listen=listen)
    environ = {"CLIENT_KEY": KEY, "UPSTREAM_KEY": "sk-upstream"}
    with serving(tmp_path_factory.mktemp("keyed"), text, environ=environ) as running:
        running.url = running.url.replace("0.0.0.0", "127.0.0.1")
        yield running


def test_a_bind_beyond_loopback_without_keys_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        command("serve", "--host", "0.0.0.0", "--port", "0", "--admin-port", "0"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 64
    assert "client_keys" in done.stderr


def test_a_client_key_is_asked_for(keyed: Service, server: ModelServer) -> None:
    model = server.model(Said(text="Yes."))
    with OpenAI(base_url=keyed.url, api_key="sk-some-other-key", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model=model.name, messages=ASKED)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    assert not model.asked


def test_the_client_key_never_reaches_the_upstream(keyed: Service, server: ModelServer) -> None:
    model = server.model(Said(text="Yes."))
    with OpenAI(base_url=keyed.url, api_key=KEY) as client:
        assert client.chat.completions.create(model=model.name, messages=ASKED).choices[0].message.content == "Yes."
    (asked,) = model.asked
    assert asked.headers["Authorization"] == "Bearer sk-upstream"
    assert KEY not in str(asked.headers)
    assert "sk-upstream" not in keyed.log


def send(url: str, body: object, **headers: str) -> tuple[int, dict[str, object]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    named = {"content-type": "application/json"} | {n.replace("_", "-"): v for n, v in headers.items()}
    try:
        connection.request("POST", f"{parts.path}/chat/completions", json.dumps(body), named)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_web_page_cannot_reach_it(proxy: Service, server: ModelServer, headers: dict[str, str], status: int) -> None:
    model = server.model(Said(text="Yes."))
    answered, tree = send(proxy.url, {"model": model.name, "messages": ASKED}, **headers)
    assert answered == status
    assert set(tree["error"]) == {"message", "type", "param", "code"}  # type: ignore[call-overload]
    assert not model.asked


def test_a_websocket_is_told_to_use_http(proxy: Service) -> None:
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "x"}
    try:
        connection.request("GET", "/v1/responses", headers=upgrade)
        assert connection.getresponse().status == 426
    finally:
        connection.close()


# --- TLS ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tls:
    """A server's certificate, and the authority that its clients must know."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", FAR)
    files = Tls(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
    authority.cert_pem.write_to_path(files.ca_file)
    certificate.cert_chain_pems[0].write_to_path(files.cert_file)
    certificate.private_key_pem.write_to_path(files.key_file)
    return files


@pytest.fixture(scope="module")
def tls_server(tls: Tls) -> Iterator[ModelServer]:
    with model_server(tls.context()) as running:
        yield running


def ask(proxy: Service, server: ModelServer, **options: object) -> str | None:
    model = server.model(Said(text="Yes."))
    with OpenAI(base_url=proxy.url, api_key="sk-client", max_retries=0, timeout=20, **options) as client:
        return client.chat.completions.create(model=model.name, messages=ASKED).choices[0].message.content


def test_an_upstream_with_an_authority_of_its_own(tmp_path: Path, tls: Tls, tls_server: ModelServer) -> None:
    with serving(tmp_path, config(tls_server.base_url, {"ca_file": str(tls.ca_file)})) as proxy:
        assert ask(proxy, tls_server) == "Yes."


def test_an_upstream_that_nobody_vouches_for(tmp_path: Path, tls_server: ModelServer) -> None:
    with serving(tmp_path, config(tls_server.base_url)) as proxy, pytest.raises(openai.InternalServerError) as raised:
        ask(proxy, tls_server)
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_tls_failed")


def test_agents_may_be_served_over_tls(tmp_path: Path, tls: Tls, server: ModelServer) -> None:
    listen = {"tls": {"cert_file": str(tls.cert_file), "key_file": str(tls.key_file)}}
    with serving(tmp_path, config(server.base_url, listen=listen)) as proxy:
        assert proxy.url.startswith("https://")
        client = openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=tls.ca_file))
        assert ask(proxy, server, http_client=client) == "Yes."


# --- a proxy in between --------------------------------------------------------------------------------------------


@dataclass
class Tunnel:
    """An HTTP proxy that knows CONNECT, and takes every name for this machine's."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split()[1].decode()
        self.asked.append(f"{head.split()[0].decode()} {target}")
        onward = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, onward[1]), _pump(onward[0], writer), return_exceptions=True)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()


@contextmanager
def tunnel() -> Iterator[Tunnel]:
    running, started, stop = Tunnel(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        listening = await asyncio.start_server(running.connected, "127.0.0.1", 0)
        running.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        listening.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield running
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.mark.parametrize("no_proxy", ["", FAR], ids=["through it", "past it"])
def test_https_proxy_is_honoured(tmp_path: Path, tls: Tls, tls_server: ModelServer, no_proxy: str) -> None:
    base_url = tls_server.base_url.replace("127.0.0.1", FAR)
    text = config(base_url, {"ca_file": str(tls.ca_file)})
    with tunnel() as between:
        environ = {"HTTPS_PROXY": between.url, "NO_PROXY": no_proxy}
        with serving(tmp_path, text, environ=environ) as proxy:
            if no_proxy:
                with pytest.raises(openai.InternalServerError) as raised:
                    ask(proxy, tls_server)
                assert raised.value.code == "upstream_unavailable"
            else:
                assert ask(proxy, tls_server) == "Yes."
    assert between.asked == ([] if no_proxy else [f"CONNECT {urlsplit(base_url).netloc}"])
