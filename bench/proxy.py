"""Start a server, wait until it is ready, ask /proc what it used, stop it."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from bench.procfs import read_family

_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 15.0
_POLL_S = 0.002
_FOREIGN = ("GUARDPROXY_", "OPENAI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

GUARDPROXY = "{folder}/guardproxy serve --upstream {upstream} --port {port} --admin-port {admin_port}"
PASSTHROUGH = "{python} -m bench.passthrough --upstream {upstream} --port {port}"
MOCK = "{python} -m bench.mock_upstream --port {port}"


class StartError(Exception):
    """A server did not become ready. The message holds the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start a server. `command` and `ready` may use {python} {folder} {upstream} {port} {admin_port}:
    the interpreter in use, its folder, the upstream's base URL, and two free ports."""

    name: str
    command: str
    ready: str = "http://127.0.0.1:{port}/readyz"


@dataclass(slots=True)
class Server:
    recipe: Recipe
    process: subprocess.Popen[bytes]
    port: int
    cold_start_s: float

    def cpu_s(self) -> float:
        return sum(stat.cpu_s for stat in read_family(self.process.pid))

    def rss_mb(self) -> float:
        return sum(stat.rss_mb for stat in read_family(self.process.pid))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(recipe: Recipe, upstream: str, core: int, folder: Path) -> Server:
    """Start `recipe` on one core with `folder` as its working directory; returns at the first 200 of its readiness.

    Raises StartError.
    """
    port, admin_port = free_port(), free_port()
    places = {
        "python": sys.executable,
        "folder": str(Path(sys.executable).parent),
        "upstream": upstream,
        "port": str(port),
        "admin_port": str(admin_port),
    }
    command = [part.format_map(places) for part in shlex.split(recipe.command)]
    log = folder / f"{recipe.name}.log"
    with pinned(core), log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=clean_environment(os.environ, folder), stdout=output, stderr=subprocess.STDOUT
        )
    server = Server(recipe, process, port, 0.0)
    try:
        _await_ready(server, recipe.ready.format_map(places), log)
    except BaseException:
        server.stop()
        raise
    server.cold_start_s = time.perf_counter() - begun
    return server


def _await_ready(server: Server, url: str, log: Path) -> None:
    place = urlsplit(url)
    deadline = time.monotonic() + _START_DEADLINE_S
    while not _is_ready(place.port or 80, place.path):
        if server.process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            raise StartError(f"{server.recipe.name} did not become ready at {url}; it printed:\n{tail}")
        time.sleep(_POLL_S)


def _is_ready(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def clean_environment(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment without what would configure the server unseen; what it writes by default goes to `folder`."""
    kept = {key: value for key, value in environ.items() if not key.upper().startswith(_FOREIGN)}
    return kept | {"PYTHONPATH": str(Path(__file__).parent.parent), "XDG_STATE_HOME": str(folder)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run this thread, and the processes it starts meanwhile, on one core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
