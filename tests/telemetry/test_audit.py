import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardproxy.errors import ConfigurationError
from guardproxy.telemetry import audit
from guardproxy.telemetry.audit import AuditLog, read_key
from guardproxy.telemetry.chain import broken_links
from guardproxy.telemetry.record import Content

KEY = b"k" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def drops() -> list[int]:
    return []


@pytest.fixture
def make(path: Path, drops: list[int]) -> Callable[..., AuditLog]:
    def log(path: Path | None = path, queue: int = 1000, max_bytes: int = 10**9, backups: int = 3) -> AuditLog:
        return AuditLog(path, Content.REDACTED, KEY, max_bytes, backups, queue, drops.append)

    return log


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_each_exchange_is_one_line_in_order(make: Callable[..., AuditLog], build: Any, path: Path) -> None:
    async def run() -> None:
        log = make()
        await log.start()
        for number in range(700):
            log.record(build(build.attempt(build.call(), findings=(build.block(),)), id=f"d-{number}"))
        await log.close()
        assert log.dropped == 0
        assert log.degraded == ""

    asyncio.run(run())
    assert [record["id"] for record in read(path)] == [f"d-{number}" for number in range(700)]
    assert broken_links(path, KEY) == []


def test_a_cancelled_exchange_is_recorded(make: Callable[..., AuditLog], build: Any, path: Path) -> None:
    async def run() -> None:
        log = make()
        await log.start()
        log.record(build(outcome="cancelled", status=0))
        await log.close()

    asyncio.run(run())
    assert [record["outcome"] for record in read(path)] == ["cancelled"]


def test_what_came_before_start_is_written_after_it(make: Callable[..., AuditLog], build: Any, path: Path) -> None:
    async def run() -> None:
        log = make()
        log.record(build())
        await log.start()
        await log.close()

    asyncio.run(run())
    assert len(read(path)) == 1


def test_a_full_queue_drops_and_counts(make: Callable[..., AuditLog], build: Any, path: Path, drops: list[int]) -> None:
    async def run() -> None:
        log = make(queue=3)
        for _ in range(10):
            log.record(build())
        assert log.dropped == sum(drops) == 7
        await log.start()
        await until(lambda: path.exists() and len(read(path)) == 3)
        log.record(build())
        await log.close()

    asyncio.run(run())
    assert [record["dropped"] for record in read(path)] == [7, 0, 0, 0]


def test_the_queue_is_bounded_in_bytes_too(
    make: Callable[..., AuditLog], build: Any, monkeypatch: pytest.MonkeyPatch, drops: list[int]
) -> None:
    monkeypatch.setattr(audit, "MAX_WAITING_BYTES", 100)
    log = make()
    for _ in range(4):
        log.record(build(build.attempt(build.call(arguments="x" * 40))))
    assert drops == [1, 1]


def test_after_close_nothing_is_taken(make: Callable[..., AuditLog], build: Any, drops: list[int]) -> None:
    async def run() -> None:
        log = make()
        await log.start()
        await log.close()
        log.record(build())

    asyncio.run(run())
    assert drops == [1]


def test_close_without_start_ends(make: Callable[..., AuditLog]) -> None:
    asyncio.run(make().close())


def test_record_never_raises(build: Any, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def angry(count: int) -> None:
        raise RuntimeError("no")

    log = AuditLog(path, Content.REDACTED, KEY, 1000, 1, 0, angry)
    log.record(build())
    assert log.dropped == 1
    assert "RuntimeError" in caplog.text


def test_an_exchange_that_cannot_be_rendered_costs_only_itself(
    make: Callable[..., AuditLog], build: Any, path: Path, drops: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        log = make()
        await log.start()
        for exchange in (build(id="a"), build(status="not a number"), build(id="b")):
            log.record(exchange)
        await log.close()

    asyncio.run(run())
    assert [record["id"] for record in read(path)] == ["a", "b"]
    assert drops == [1]
    assert "ValueError" in caplog.text
    assert "not a number" not in caplog.text


def test_a_missing_folder_degrades_loudly_and_heals(
    make: Callable[..., AuditLog],
    build: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "RETRY_S", 0.02)
    path = tmp_path / "later" / "audit.jsonl"

    async def run() -> None:
        log = make(path)
        await log.start()
        await until(lambda: log.degraded == "ENOENT")
        log.record(build(id="kept"))
        await asyncio.sleep(0.1)
        path.parent.mkdir()
        await until(lambda: log.degraded == "")
        log.record(build(id="next"))
        await log.close()
        assert log.dropped == 0

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert [record["id"] for record in read(path)] == ["kept", "next"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]  # once each, not once a retry


def test_it_heals_before_anything_is_to_be_written(
    make: Callable[..., AuditLog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "RETRY_S", 0.02)
    path = tmp_path / "later" / "audit.jsonl"

    async def run() -> None:
        log = make(path)
        await log.start()
        await until(lambda: log.degraded == "ENOENT")
        path.parent.mkdir()
        await until(lambda: log.degraded == "")
        await log.close()

    asyncio.run(run())


def test_a_dead_disk_does_not_hold_up_the_end(
    make: Callable[..., AuditLog], build: Any, tmp_path: Path, drops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CLOSE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(audit, "RETRY_S", 0.02)

    async def run() -> None:
        log = make(tmp_path / "missing" / "audit.jsonl")
        await log.start()
        for _ in range(300):
            log.record(build())
        async with asyncio.timeout(5):
            await log.close()

    asyncio.run(run())
    assert sum(drops) == 300
    assert not any(thread.name == "guardproxy-audit" for thread in threading.enumerate())


def test_the_chain_goes_on_over_rotation_and_restart(make: Callable[..., AuditLog], build: Any, path: Path) -> None:
    async def run(number: int) -> None:
        log = make(max_bytes=4000, backups=20)
        await log.start()
        log.record(build(id=f"d-{number}"))
        await log.close()

    for number in range(15):
        asyncio.run(run(number))
    assert path.with_name("audit.jsonl.1").exists()
    assert broken_links(path, KEY) == []


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from guardproxy.exchange import Exchange
from guardproxy.telemetry import audit
from guardproxy.telemetry.record import Content

audit.RETRY_S = 0.02
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    log = audit.AuditLog(path, Content.REDACTED, b"k" * 32, 10**9, 1, 1000, lambda count: None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    await log.start()
    for number in range(20):
        log.record(Exchange(f"d-{number}", "chat_completions", "r"))
    async with asyncio.timeout(10):
        while not log.degraded:
            await asyncio.sleep(0.01)
    print(log.degraded, path.stat().st_size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await log.close()
    print(repr(log.degraded), log.dropped)

asyncio.run(main())
"""


def test_a_file_that_may_not_grow_loses_nothing_once_it_may(path: Path) -> None:
    """A limit on the file's size acts like a full disk: a write takes a part of a line, and the next takes nothing."""
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines() == ["EFBIG 2000", "'' 0"], run.stderr
    assert [record["id"] for record in read(path)] == [f"d-{number}" for number in range(20)]
    assert broken_links(path, KEY) == []


STDOUT = """
import asyncio
from guardproxy.exchange import Exchange
from guardproxy.telemetry.audit import AuditLog
from guardproxy.telemetry.record import Content

async def main():
    log = AuditLog(None, Content.REDACTED, b"k" * 32, 10**9, 1, 10, lambda count: None)
    await log.start()
    log.record(Exchange("d-1", "chat_completions", "r"))
    log.record(Exchange("d-2", "chat_completions", "r"))
    await log.close()
    print("still open")

asyncio.run(main())
"""


def test_no_path_is_standard_output() -> None:
    run = subprocess.run([sys.executable, "-c", STDOUT], capture_output=True, text=True, timeout=60)
    *lines, last = run.stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["d-1", "d-2"]
    assert last == "still open"


def test_a_key_comes_from_its_file_or_is_fresh(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef0123456789abcdef\n")
    assert read_key(tmp_path / "key") == b"0123456789abcdef0123456789abcdef"
    assert read_key(None) != read_key(None)


@pytest.mark.parametrize("content", [None, b"", b"short\n"])
def test_a_bad_key_file_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"audit\.key_file"):
        read_key(tmp_path / "key")
