"""The configuration's directories at one moment, as a digest. Two equal ones in a row mean that nobody is writing."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

MAX_READ_BYTES = 1 << 20  # of a larger file (a model, say) its size and time of change stand for it

Ignores = Callable[[str], bool]


def digest(directories: Collection[Path], ignores: Ignores) -> str:
    """Over names and contents of the files directly in `directories`, links followed, as a ConfigMap has them.

    `ignores` is asked about names; hidden files and editors' copies are never looked at. What cannot be read counts
    as such, so that its coming back is a change.
    """
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(_files(directories, ignores)):
        whole.update(str(path).encode("utf-8", "surrogateescape") + b"\0" + _fingerprint(path))
    return whole.hexdigest()


def is_noise(name: str) -> bool:
    return name.startswith(".") or name.endswith(("~", ".swp", ".tmp")) or (name.startswith("#") and name.endswith("#"))


def _files(directories: Collection[Path], ignores: Ignores) -> Iterator[Path]:
    for directory in set(directories):
        try:
            entries = list(directory.iterdir())
        except OSError:
            continue
        for path in entries:
            if not is_noise(path.name) and not ignores(path.name) and path.is_file():
                yield path


def _fingerprint(path: Path) -> bytes:
    try:
        status = path.stat()
        if status.st_size > MAX_READ_BYTES:
            return f"{status.st_size} {status.st_mtime_ns}".encode()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as error:
        return f"unreadable {error.errno}".encode()
