"""The file that audit lines go to: append only, mode 0600, rotated by size, reopened when someone else rotates it.

Every method raises OSError; what to do about a full disk is the caller's business.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from guardproxy import strict_json

_TAIL = 65_536


class AuditFile:
    """`path` None is standard output, which is neither rotated nor reopened. For one thread."""

    def __init__(self, path: Path | None, max_bytes: int, backups: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._fd: int | None = None
        self._size = 0
        self._lead = b""  # ends the line that a crash cut short
        self._cut = 0  # how much of the next line is in the file already: a full disk took no more

    def open(self) -> None:
        """Idempotent; also reopens when the path no longer names the file that is open."""
        if self._path is None:
            self._fd = 1
            return
        if self._fd is not None and not self._replaced(self._path):
            return
        self.close()
        fd = _open_private(self._path)
        self._fd, self._size, self._cut = fd, os.fstat(fd).st_size, 0
        self._lead = b"\n" if self._size and _last_byte(self._path) != b"\n" else b""

    def write(self, lines: list[bytes]) -> int:
        """How many of `lines` are in the file whole. The others are to be given again, in the same order."""
        self.open()
        if not self._cut:
            self._rotate_if_full(sum(map(len, lines)))
        assert self._fd is not None
        data = (self._lead + b"".join(lines))[self._cut :]
        written = os.write(self._fd, data)
        self._size += written
        return self._account(data[:written])

    def _account(self, written: bytes) -> int:
        if self._lead and written:
            written, self._lead = written[1:], b""
        whole, newline, rest = written.rpartition(b"\n")
        self._cut = len(rest) if newline else self._cut + len(rest)
        return whole.count(b"\n") + 1 if newline else 0

    def last_line(self) -> bytes:
        """The newest line that is a record, without newline; empty where there is none or none can be read."""
        if self._path is None:
            return b""
        for path in (self._path, backup(self._path, 1)):
            with suppress(OSError, StopIteration):
                return next(line for line in lines_backwards(path) if _is_record(line))
        return b""

    def sync(self) -> None:
        if self._fd is not None and self._path is not None:
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd is not None and self._path is not None:
            os.close(self._fd)
        self._fd = None

    def _replaced(self, path: Path) -> bool:
        assert self._fd is not None
        ours = os.fstat(self._fd)
        try:
            there = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)

    def _rotate_if_full(self, more: int) -> None:
        if self._path is None or not self._size or self._size + more <= self._max_bytes:
            return
        self.sync()
        self.close()
        for older, newer in _shifts(self._path, self._backups):
            with suppress(FileNotFoundError):
                os.replace(newer, older)
        if not self._backups:
            os.unlink(self._path)
        self.open()


def backup(path: Path, number: int) -> Path:
    """The `number`th newest rotated file: audit.jsonl.1, audit.jsonl.2, …"""
    return path.with_name(f"{path.name}.{number}")


def lines_backwards(path: Path) -> Iterator[bytes]:
    """The file's lines without newlines, last first, without reading it whole."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        pieces: list[bytes] = []  # of the line that the blocks read so far begin with, last piece first
        while position > 0:
            start = max(0, position - _TAIL)
            file.seek(start)
            block = file.read(position - start)
            position = start
            head, *rest = block.split(b"\n")
            if rest:
                pieces.append(rest.pop())
                yield from _joined(pieces)
                yield from (line for line in reversed(rest) if line)
                pieces = []
            pieces.append(head)
        yield from _joined(pieces)


def _joined(pieces: list[bytes]) -> Iterator[bytes]:
    line = b"".join(reversed(pieces))
    if line:
        yield line


def _shifts(path: Path, backups: int) -> list[tuple[Path, Path]]:
    """(older, newer) in the order of renaming: .4 to .5, …, .1 to .2, the file itself to .1."""
    names = [path, *(backup(path, number) for number in range(1, backups + 1))]
    return [(names[i], names[i - 1]) for i in range(backups, 0, -1)]


def _open_private(path: Path) -> int:
    """No symbolic link is followed, and a pipe that nobody reads does not block: both are for others to plant."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(path, flags, 0o600)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(fd, 0o600)
    except OSError:
        os.close(fd)
        raise
    return fd


def _is_record(line: bytes) -> bool:
    try:
        strict_json.decode_object(line)
    except strict_json.MalformedJson:
        return False
    return True


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
