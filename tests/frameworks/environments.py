"""Each client in an environment of its own, outside the tree, made anew when its requirements change."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements"
BUILD_S = 900.0


class NoEnvironment(Exception):
    """The environment cannot be made here; its text says why."""


def environment(name: str) -> Path:
    """The folder of this client's environment, complete. Processes that ask at once wait for one another."""
    files = _files(name)
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = _cache() / f"{name}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build_python(folder, files[0]) if files[0].suffix == ".txt" else _build_node(folder, files)
            (folder / ".complete").touch()
    return folder


def _files(name: str) -> list[Path]:
    lock = REQUIREMENTS / f"{name}.txt"
    if lock.exists():
        return [lock]
    return [REQUIREMENTS / name / "package.json", REQUIREMENTS / name / "package-lock.json"]


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "guardproxy" / "frameworks"


def _build_python(folder: Path, lock: Path) -> None:
    """With uv where there is one. The lock names everything, so nothing is resolved."""
    uv = shutil.which("uv")
    if uv is not None:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", str(python_of(folder)), "--no-deps", "-r", str(lock))
        return
    pip = (str(python_of(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(sys.executable, "-m", "venv", str(folder))
    _run(*pip, "--no-deps", "--requirement", str(lock))


def _build_node(folder: Path, files: list[Path]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NoEnvironment("npm is not installed")
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    # Packages that need no script of their own to run need none to be installed.
    _run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoEnvironment(f"{Path(command[0]).name}: {error}") from error
    if done.returncode != 0:
        raise NoEnvironment(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr[-1500:]}")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
