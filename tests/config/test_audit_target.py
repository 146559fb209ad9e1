"""Where the audit goes when nobody says, and where it is looked for again."""

import os
from pathlib import Path

import pytest

from guardproxy.config.audit_target import audit_files, audit_target, default_directory
from guardproxy.config.settings import Audit


def test_the_default_is_the_state_directory_and_one_file_a_port(tmp_path: Path) -> None:
    target = audit_target(Audit(), 8080, {"XDG_STATE_HOME": str(tmp_path)})
    assert target.path == tmp_path / "guardproxy" / "audit-8080.jsonl"
    assert target.notice == ""
    assert (tmp_path / "guardproxy").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"HOME": "/home/a"}, "/home/a/.local/state/guardproxy"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "relative"}, "/home/a/.local/state/guardproxy"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/var/state"}, "/var/state/guardproxy"),
        ({}, "/.local/state/guardproxy"),
    ],
)
def test_the_state_directory(environ: dict[str, str], directory: str) -> None:
    assert default_directory(environ) == Path(directory)


def test_without_a_place_to_write_it_goes_to_standard_output_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "guardproxy").write_text("a file where the directory should be")
    target = audit_target(Audit(), 8080, {"XDG_STATE_HOME": str(tmp_path)})
    assert target.path is None
    assert "cannot be written, so the audit goes to standard output" in target.notice
    assert str(target) == "standard output"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_home(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert audit_target(Audit(), 8080, {"XDG_STATE_HOME": str(tmp_path)}).path is None


def test_what_is_asked_for_is_taken(tmp_path: Path) -> None:
    assert audit_target(Audit(path="-"), 1, {}).path is None
    assert audit_target(Audit(path=str(tmp_path / "a.jsonl")), 1, {}).path == tmp_path / "a.jsonl"


def test_where_a_decision_may_be_found(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    directory = tmp_path / "guardproxy"
    directory.mkdir()
    for age, name in enumerate(["audit-1.jsonl", "audit-2.jsonl", "audit-1.jsonl.1", "other"]):
        (directory / name).write_text("")
        os.utime(directory / name, (1000 + age, 1000 + age))
    assert [path.name for path in audit_files(Audit(), environ)] == ["audit-2.jsonl", "audit-1.jsonl"]
    assert list(audit_files(Audit(path="-"), environ)) == []
    assert list(audit_files(Audit(path="/a.jsonl"), environ)) == [Path("/a.jsonl")]
