"""A directory's digest: it follows contents and links, and ignores what is no configuration."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from guardproxy.config.snapshot import digest


def nothing(name: str) -> bool:
    return False


def look(directory: Path) -> str:
    return digest([directory], nothing)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "guardproxy.yaml").write_text("policy: [default]\n")
    (tmp_path / "own.yaml").write_text("rules: []\n")
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        lambda d: (d / "own.yaml").write_text("rules: {}\n"),
        lambda d: (d / "own.yaml").unlink(),
        lambda d: (d / "third.yaml").write_text(""),
        lambda d: (d / "own.yaml").rename(d / "renamed.yaml"),
    ],
)
def test_a_change_is_seen(change: Callable[[Path], object], directory: Path) -> None:
    before = look(directory)
    change(directory)
    assert look(directory) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda d: os.utime(d / "own.yaml", (1, 1)),
        lambda d: (d / ".guardproxy.yaml.swp").write_text("x"),
        lambda d: (d / "own.yaml~").write_text("x"),
        lambda d: (d / "#own.yaml#").write_text("x"),
        lambda d: (d / "sub").mkdir(),
        lambda d: (d / "dangling").symlink_to("gone"),
    ],
)
def test_what_is_no_change(change: Callable[[Path], object], directory: Path) -> None:
    before = look(directory)
    change(directory)
    assert look(directory) == before


def test_what_is_ignored_is_not_looked_at(directory: Path) -> None:
    def ignores(name: str) -> bool:
        return name.startswith("audit.jsonl")

    before = digest([directory], ignores)
    (directory / "audit.jsonl").write_text("{}\n")
    (directory / "audit.jsonl.1").write_text("{}\n")
    assert digest([directory], ignores) == before


def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    """The layout of a mounted ConfigMap."""
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "guardproxy.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "guardproxy.yaml").symlink_to("..data/guardproxy.yaml")
    before = look(tmp_path)
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert look(tmp_path) != before


def test_contents_cannot_be_moved_between_files_unseen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    before = look(tmp_path)
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").write_text("1")
    assert look(tmp_path) != before


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert digest([tmp_path / "gone"], nothing) == digest([], nothing)
