"""CPU time and memory of a process and all its descendants, and how busy a core is (see proc(5))."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True, slots=True)
class Stat:
    """One process. `cpu_s` counts its own time and that of children it has waited for."""

    pid: int
    parent: int
    cpu_s: float
    rss_mb: float


def parse_stat(line: str) -> Stat:
    """A line of /proc/PID/stat. The program's name is in parentheses and may hold spaces and parentheses itself."""
    pid, rest = line.split(" (", 1)
    fields = rest.rsplit(") ", 1)[1].split()
    ticks = sum(map(int, fields[11:15]))  # utime stime cutime cstime
    return Stat(int(pid), int(fields[1]), ticks * _TICK_S, int(fields[21]) * _PAGE_MB)


def family(root: int, stats: Iterable[Stat]) -> list[Stat]:
    """The process `root` and its descendants."""
    known = {stat.pid: stat for stat in stats}
    members, grown = {root} & known.keys(), True
    while grown:
        born = {pid for pid, stat in known.items() if stat.parent in members} - members
        members |= born
        grown = bool(born)
    return [known[pid] for pid in sorted(members)]


def read_family(root: int) -> list[Stat]:
    return family(root, _all_stats())


def _all_stats() -> Iterator[Stat]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            yield parse_stat(line)


def parse_core_busy_s(text: str, core: int) -> float:
    """Seconds that a core was not idle, from the text of /proc/stat; time taken by other guests included."""
    for line in text.splitlines():
        name, *numbers = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, numbers[:8])
            return (user + nice + system + irq + softirq + steal) * _TICK_S
    raise ValueError(f"/proc/stat has no core {core}")


def core_busy_s(core: int) -> float:
    return parse_core_busy_s(Path("/proc/stat").read_text(), core)


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
