"""The real program in a process of its own, in a folder of its own, with nothing of the caller's environment."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PATIENCE_S = 60.0
ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    process: "subprocess.Popen[str]"
    said: list[str] = field(default_factory=list)

    def address(self, pattern: str) -> str:
        found = re.search(pattern, "".join(self.said))
        assert found, self.said
        return found[1]

    @property
    def base_url(self) -> str:
        return self.address(r"OPENAI_BASE_URL=(\S+)")

    @property
    def admin_url(self) -> str:
        return self.address(r"admin +(http\S+)/metrics")

    def wait(self) -> int:
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        self.said.append(errors)
        return self.process.returncode


@dataclass(frozen=True)
class Program:
    folder: Path

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        own = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state"), "PYTHONPATH": str(ROOT)}
        return {"PATH": os.environ["PATH"], **own, **more}

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(arguments),
            cwd=self.folder,
            env=self.environ(environ or {}),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    @contextmanager
    def serve(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
        """Until it says where it is; on free ports unless told otherwise."""
        command = self.command(["serve", "--port", "0", "--admin-port", "0", *arguments])
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environ(environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            server = Server(process)
            try:
                assert process.stderr is not None
                for line in process.stderr:
                    server.said.append(line)
                    if line.startswith("  admin"):
                        break
                yield server
            finally:
                process.kill()

    @staticmethod
    def command(arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "guardproxy", *arguments]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@dataclass(frozen=True)
class Reply:
    status: int
    body: str
    headers: Mapping[str, str]


def fetch(url: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request(
            "GET" if body is None else "POST", parts.path, body, {"content-type": "application/json", **(headers or {})}
        )
        response = connection.getresponse()
        return Reply(response.status, response.read().decode(), dict(response.getheaders()))
    finally:
        connection.close()


@pytest.fixture(name="fetch")
def _fetch():
    return fetch
