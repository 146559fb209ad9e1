"""Whether an audit log is what was written: each line names the keyed digest of the line before it.

Without the key nobody can mend the chain after changing, removing or inserting a line. What it cannot show is that
the newest lines were cut off, or that the oldest rotated files are gone.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from guardproxy import strict_json
from guardproxy.telemetry.audit_file import backup
from guardproxy.telemetry.record import Content, Renderer


def broken_links(path: Path, key: bytes) -> list[str]:
    """`FILE:LINE` of every line that does not follow the one before it. Raises OSError."""
    renderer = Renderer(Content.DIGEST, key)
    broken: list[str] = []
    expected: str | None = None  # the first line that is still there may have had a predecessor
    for place, line in _lines(path):
        prev = _prev(line)
        if prev is None:
            continue  # cut short by a crash or a full disk
        if expected is not None and prev != expected:
            broken.append(place)
        expected = renderer.chain(line)
    return broken


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Oldest first, rotated files included."""
    backups = [path]
    for number in count(1):
        if not backup(path, number).exists():
            break
        backups.append(backup(path, number))
    for file in reversed(backups):
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield f"{file}:{number}", line


def _prev(line: bytes) -> str | None:
    try:
        return str(strict_json.decode_object(line).get("prev"))
    except strict_json.MalformedJson:
        return None
