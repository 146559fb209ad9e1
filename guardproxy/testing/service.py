"""The real `guardproxy serve`, in a process of its own, on free ports, in a directory of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

T = TypeVar("T")

START_S = 90.0  # litellm alone takes ten and more on a busy machine
STOP_S = 20.0
_SOURCE = Path(__file__).resolve().parents[2]  # the program under test is the one that the tests import
_FOREIGN = re.compile(r"GUARDPROXY_|OPENAI_|XDG_|(?:http|https|all|no)_proxy$", re.IGNORECASE)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without what would steer the proxy, and with `home` as its home."""
    own = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    fixed = {"HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(_SOURCE)}
    return {**own, **fixed, **(more or {})}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "guardproxy", *arguments]


def eventually(look: Callable[[], T | None], what: str, within_s: float = 10.0) -> T:
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + within_s
    while (found := look()) is None:
        if time.monotonic() > end:
            raise AssertionError(f"not seen within {within_s} s: {what}")
        time.sleep(0.02)
    return found


@dataclass
class Service:
    """A running proxy. `url` ends with /v1 and is what an agent's base URL is set to."""

    process: "subprocess.Popen[str]"
    directory: Path
    url: str = ""
    admin_url: str = ""
    audit: Path = Path()
    said: list[str] = field(default_factory=list)  # lines of its standard error

    @property
    def log(self) -> str:
        return "".join(self.said)

    def records(self) -> list[dict[str, Any]]:
        """All audit records so far."""
        if not self.audit.exists():
            return []
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    def record(self, id: str) -> dict[str, Any]:
        """The record of one decision, once it is written."""
        return eventually(lambda: next((r for r in self.records() if r["id"] == id), None), f"audit record {id}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that carry these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.admin("/metrics"))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def admin(self, path: str) -> str:
        with _DIRECT.open(self.admin_url + path, timeout=5) as response:
            text: str = response.read().decode()
        return text

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the proxy did not stop:\n" + self.log) from None


@contextmanager
def serving(
    directory: Path, config: str | None = None, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Runs the proxy with `config` as its file, and expects that it ends well."""
    options = ["--port", "0", "--admin-port", "0", *arguments]
    if config is not None:
        file = directory / "guardproxy.yaml"
        file.write_text(config)
        options += ["--config", str(file)]
    process = subprocess.Popen(
        command("serve", *options),
        cwd=directory,
        env=environment(directory, environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    service = Service(process, directory)
    reader = threading.Thread(target=_listen, args=(service,))
    reader.start()
    try:
        _await_ready(service)
        yield service
        status = service.stop()
        assert status == 0, f"exit status {status}:\n{service.log}"
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()


def _listen(service: Service) -> None:
    assert service.process.stderr is not None
    with service.process.stderr as stream:
        service.said.extend(iter(stream.readline, ""))


def _await_ready(service: Service) -> None:
    """By what the program itself says of its addresses, and then by its readiness."""

    def addresses() -> "re.Match[str] | None":
        assert service.process.poll() is None, "the proxy did not start:\n" + service.log
        return re.search(r"OPENAI_BASE_URL=(\S+).*?audit +(\S[^\n]*)\n.*?admin +(\S+)/metrics", service.log, re.DOTALL)

    found = eventually(addresses, "the proxy's addresses", START_S)
    service.url, service.admin_url, service.audit = found[1], found[3], Path(found[2])
    eventually(lambda: service.admin("/readyz") or None, "readiness")
