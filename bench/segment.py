"""What one stretch of load against one server left behind: the raw samples from which every figure is made."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import orjson


class Phase(StrEnum):
    CLOSED = "closed"  # 16 connections, as fast as answers come, no upstream delay
    PACED = "paced"  # answers without a call at an agent's pace, direct and proxied mixed
    BUSY = "busy"  # the same at a pace that keeps the proxy's core nearly half busy
    STREAM = "stream"  # streamed answers without a call, direct and proxied mixed
    FEW_CHUNKS = "few_chunks"  # streams that differ from the next ones
    MANY_CHUNKS = "many_chunks"  # by the number of their chunks alone
    HELD = "held"  # the same call in every answer
    FRESH = "fresh"  # a call never seen before in every answer
    START = "start"  # no load: how long the start took, how much memory the server holds


@dataclass(frozen=True, slots=True)
class Segment:
    """`beside` is the proxy that a direct segment was paired with. Times count from when a request was due.

    `cpu_s` is what the server used, `core_busy_s` what its core was busy with in all; both None where not measured.
    """

    phase: Phase
    target: str
    beside: str
    round: int
    seconds: float
    cpu_s: float | None = None
    core_busy_s: float | None = None
    cold_start_s: float | None = None
    rss_mb: float | None = None
    chunks: int = 0  # content events of each streamed answer
    late_ns: tuple[int, ...] = ()
    first_ns: tuple[int, ...] = ()
    latency_ns: tuple[int, ...] = ()


def write_segments(path: Path, segments: Iterable[Segment]) -> None:
    with path.open("wb") as file:
        for segment in segments:
            file.write(orjson.dumps(asdict(segment), option=orjson.OPT_APPEND_NEWLINE))


def read_segments(path: Path) -> Iterator[Segment]:
    with path.open("rb") as file:
        for line in file:
            fields = orjson.loads(line)
            fields["phase"] = Phase(fields["phase"])
            for name in ("late_ns", "first_ns", "latency_ns"):
                fields[name] = tuple(fields[name])
            yield Segment(**fields)
