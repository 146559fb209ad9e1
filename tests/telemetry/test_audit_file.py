import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.telemetry import audit_file
from guardproxy.telemetry.audit_file import AuditFile, backup, lines_backwards


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o644)
    file = AuditFile(path, 1000, 1)
    assert file.write([b"{}\n"]) == 1
    assert mode_of(path) == 0o600


def test_a_new_file_is_private_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        AuditFile(path, 1000, 1).open()
    finally:
        os.umask(old)
    assert mode_of(path) == 0o600


def test_rotation_keeps_the_newest_backups(path: Path) -> None:
    file = AuditFile(path, 10, 2)
    for number in range(5):
        assert file.write([b'{"n":%d}\n' % number]) == 1
    assert [p.read_bytes() for p in (path, backup(path, 1), backup(path, 2))] == [
        b'{"n":4}\n',
        b'{"n":3}\n',
        b'{"n":2}\n',
    ]
    assert not backup(path, 3).exists()
    assert mode_of(backup(path, 1)) == 0o600


def test_without_backups_the_file_starts_anew(path: Path) -> None:
    file = AuditFile(path, 10, 0)
    for number in range(3):
        file.write([b'{"n":%d}\n' % number])
    assert path.read_bytes() == b'{"n":2}\n'
    assert os.listdir(path.parent) == [path.name]


def test_a_line_longer_than_the_limit_is_written_whole(path: Path) -> None:
    file = AuditFile(path, 10, 1)
    assert file.write([b"x" * 100 + b"\n"]) == 1
    assert path.stat().st_size == 101


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_rotation_by_someone_else_is_noticed(path: Path, how: str) -> None:
    file = AuditFile(path, 1000, 1)
    file.write([b"{}\n"])
    if how == "renamed":
        path.rename(path.with_suffix(".old"))
    else:
        path.unlink()
    file.write([b"[]\n"])
    assert path.read_bytes() == b"[]\n"


def test_a_line_cut_short_by_a_crash_is_ended_first(path: Path) -> None:
    path.write_bytes(b'{"n":1}\n{"n"')
    file = AuditFile(path, 1000, 1)
    file.write([b'{"n":2}\n'])
    assert path.read_bytes() == b'{"n":1}\n{"n"\n{"n":2}\n'


def test_the_last_record_is_found_behind_a_cut_line(path: Path) -> None:
    path.write_bytes(b'{"n":1}\n{"n":2}\n{"n"')
    assert AuditFile(path, 1000, 1).last_line() == b'{"n":2}'


def test_the_last_record_may_be_in_the_backup(path: Path) -> None:
    backup(path, 1).write_bytes(b'{"n":1}\n')
    assert AuditFile(path, 1000, 1).last_line() == b'{"n":1}'


def test_there_may_be_no_last_record(path: Path) -> None:
    assert AuditFile(path, 1000, 1).last_line() == b""
    assert AuditFile(None, 1000, 1).last_line() == b""


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "nowhere", "device"])
def test_what_is_no_ordinary_file_is_refused(path: Path, kind: str) -> None:
    match kind:
        case "link":
            path.symlink_to(path.with_name("elsewhere"))
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "nowhere":
            path = path / "missing" / "audit.jsonl"
        case "device":
            path = Path("/dev/null")
    with pytest.raises(OSError, match=r"."):
        AuditFile(path, 1000, 1).open()
    assert not path.with_name("elsewhere").exists()


@given(st.lists(st.integers(1, 7), max_size=20), st.lists(st.binary(max_size=9), max_size=8))
def test_short_writes_lose_and_repeat_nothing(
    tmp_path_factory: pytest.TempPathFactory, takes: list[int], bodies: list[bytes]
) -> None:
    """A disk that takes a few bytes at a time: what counts as written is whole, and the rest goes on from there."""
    path = tmp_path_factory.mktemp("short") / "audit.jsonl"
    path.write_bytes(b"cut")
    file = AuditFile(path, 10_000, 1)
    file.open()
    lines = [body.replace(b"\n", b"") + b"\n" for body in bodies]
    waiting, written = list(lines), b"cut"
    for take in takes:
        if not waiting:
            break
        # What write() would have got from a disk with room for `take` bytes.
        data = (file._lead + b"".join(waiting))[file._cut :]
        written += data[:take]
        del waiting[: file._account(data[:take])]
    written += (file._lead + b"".join(waiting))[file._cut :]
    assert written == (b"cut\n" + b"".join(lines) if lines else b"cut\n")


@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=12),
    st.booleans(),
    st.integers(1, 16),
)
def test_lines_backwards_is_the_reverse(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ended: bool, block: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "f"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ended else b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_file, "_TAIL", block)
        assert list(lines_backwards(path)) == [line for line in reversed(lines) if line]
