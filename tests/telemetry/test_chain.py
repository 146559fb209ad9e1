from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardproxy.telemetry.chain import broken_links
from guardproxy.telemetry.record import Content, Renderer

KEY = b"k" * 32


@pytest.fixture
def path(tmp_path: Path, build: Any) -> Path:
    """An audit file of five lines."""
    renderer = Renderer(Content.REDACTED, KEY)
    prev, lines = "", []
    for number in range(5):
        lines.append(renderer.line(build(id=f"d-{number}"), prev=prev))
        prev = renderer.chain(lines[-1])
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def edit(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_an_untouched_log_is_whole(path: Path) -> None:
    assert broken_links(path, KEY) == []


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"completed", b"cancelled"), *lines[2:]], [3]),
        (lambda lines: [*lines[:2], *lines[3:]], [3]),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], [3]),
        (lambda lines: [lines[1], lines[0], *lines[2:]], [2, 3]),
    ],
    ids=["changed", "removed", "repeated", "swapped"],
)
def test_tampering_shows_at_the_next_line(
    path: Path, change: Callable[[list[bytes]], list[bytes]], broken: list[int]
) -> None:
    edit(path, change)
    assert broken_links(path, KEY) == [f"{path}:{number}" for number in broken]


def test_a_forger_without_the_key_cannot_mend_it(path: Path, build: Any) -> None:
    other = Renderer(Content.REDACTED, b"another key, 32 bytes of it ....")
    lines = path.read_bytes().splitlines(keepends=True)
    forged = other.line(build(id="forged"), prev=other.chain(lines[-1]))
    path.write_bytes(b"".join([*lines, forged]))
    assert broken_links(path, KEY) == [f"{path}:6"]


def test_a_line_cut_short_is_passed_over(path: Path) -> None:
    edit(path, lambda lines: [*lines[:3], b'{"id":\n', *lines[3:]])
    assert broken_links(path, KEY) == []


def test_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        broken_links(tmp_path / "none", KEY)
