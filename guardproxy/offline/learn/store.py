"""A run on disk: `run.json` says what is run, `log.jsonl` all that has happened. Only ever appended to.

A process that is killed leaves at most one line without its end, which is cut off when the run goes on. Nothing else is
kept anywhere, so that what a resumed run knows is what it would have known.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from guardproxy import strict_json
from guardproxy.strict_json import Json, JsonObject

RUN = "run.json"
LOG = "log.jsonl"


class StoreError(Exception):
    """The run's folder cannot be used. The message says why."""


class Store:
    """One folder, held by one process. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log: IO[bytes] | None = None

    def __enter__(self) -> "Store":
        """Raises StoreError where the folder cannot be written to, or another process is at it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._log = (self.folder / LOG).open("a+b")
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.__exit__(None, None, None)
            raise StoreError(f"{self.folder}: another process works on this run") from None
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def begin(self, what: JsonObject) -> bool:
        """Whether there is a run to go on with. Raises StoreError where the folder holds a run of something else."""
        file = self.folder / RUN
        if not file.exists():
            write_whole(file, strict_json.encode(what) + b"\n")
            return False
        try:
            found = strict_json.decode_object(file.read_bytes())
        except strict_json.MalformedJson as error:
            raise StoreError(f"{file}: {error}") from None
        if changed := sorted(key for key in {*found, *what} if found.get(key) != what.get(key)):
            raise StoreError(
                f"{self.folder} holds a run with another {', '.join(changed)}; name another folder with --run, "
                "or repeat that run's options to go on with it"
            )
        return True

    def records(self) -> Iterator[JsonObject]:
        """All so far. A last line without an end was never acknowledged, and is cut off. Raises StoreError."""
        assert self._log is not None
        self._log.seek(0)
        whole = 0
        for number, line in enumerate(self._log, start=1):
            if not line.endswith(b"\n"):
                self._log.truncate(whole)
                return
            whole += len(line)
            try:
                yield strict_json.decode_object(line)
            except strict_json.MalformedJson as error:
                raise StoreError(f"{self.folder / LOG}:{number}: {error}") from None

    def append(self, record: Mapping[str, Json]) -> None:
        """On disk when it returns."""
        assert self._log is not None
        self._log.seek(0, os.SEEK_END)
        self._log.write(strict_json.encode(dict(record)) + b"\n")
        self._log.flush()
        os.fdatasync(self._log.fileno())


def write_whole(file: Path, data: bytes) -> None:
    """All of it or nothing, whenever the process is killed. Raises OSError."""
    with _beside(file) as (stream, name):
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        os.replace(name, file)


@contextmanager
def _beside(file: Path) -> Iterator[tuple[IO[bytes], str]]:
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as stream:
        try:
            os.fchmod(stream.fileno(), 0o644 & ~_umask())
            yield stream, stream.name
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
