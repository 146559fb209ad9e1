"""Where the audit goes: what was asked for, or the first place that can be written."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from guardproxy.config.settings import STDOUT, Audit


@dataclass(frozen=True, slots=True)
class AuditTarget:
    """`path` None is standard output. `notice` says what an operator should know of the choice."""

    path: Path | None
    notice: str = ""

    def __str__(self) -> str:
        return "standard output" if self.path is None else str(self.path)


def audit_target(audit: Audit, port: int, environ: Mapping[str, str]) -> AuditTarget:
    """Never the working directory by itself: it is often the agent's, which must not write its own record.

    The default has one file for each port, since each file's chain of digests is one process's.
    """
    if audit.path == STDOUT:
        return AuditTarget(None)
    if audit.path is not None:
        return AuditTarget(Path(audit.path))
    path = default_directory(environ) / f"audit-{port}.jsonl"
    if _can_hold(path):
        return AuditTarget(path)
    return AuditTarget(None, f"{path} cannot be written, so the audit goes to standard output; set audit.path")


def default_directory(environ: Mapping[str, str]) -> Path:
    """As the XDG Base Directory Specification says; a relative $XDG_STATE_HOME counts as none."""
    state = Path(environ.get("XDG_STATE_HOME") or "")
    if not state.is_absolute():
        state = Path(environ.get("HOME") or "/", ".local", "state")
    return state / "guardproxy"


def audit_files(audit: Audit, environ: Mapping[str, str]) -> Iterator[Path]:
    """The files that a decision may be found in, rotated ones aside. None for standard output."""
    if audit.path is None:
        yield from sorted(default_directory(environ).glob("audit-*.jsonl"), key=_age)
    elif audit.path != STDOUT:
        yield Path(audit.path)


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _can_hold(path: Path) -> bool:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path if path.exists() else path.parent, os.W_OK)
