"""From segments to figures. Pure: each figure is computed for each round, and the median of the rounds is reported."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from bench.segment import Phase, Segment

_MS = 1e6
_US = 1e6

DIRECT = "direct"
Figures = dict[str, float | None]


def percentile(values: Sequence[int], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, linear between neighbours; ValueError on none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def figures(segments: Sequence[Segment], target: str) -> Figures:
    """Every figure of one server; None where the run did not measure it."""
    mine = _Mine(segments, target)
    return {
        "added_p50_ms": mine.added(Phase.PACED, 0.50),
        "added_p99_ms": mine.added(Phase.PACED, 0.99),
        "added_busy_p50_ms": mine.added(Phase.BUSY, 0.50),
        "added_busy_p99_ms": mine.added(Phase.BUSY, 0.99),
        "requests_per_s": mine.middle(Phase.CLOSED, requests_per_s),
        "added_ttft_ms": mine.added(Phase.STREAM, 0.50, _first),
        "added_held_p50_ms": mine.added(Phase.HELD, 0.50),
        "added_held_fresh_p50_ms": mine.added(Phase.FRESH, 0.50),
        "cpu_us_per_request": mine.middle(Phase.CLOSED, cpu_us_per_request),
        "cpu_us_per_streamed_chunk": mine.cpu_us_per_chunk(),
        "rss_mb": mine.middle(Phase.START, lambda segment: segment.rss_mb),
        "cold_start_s": mine.middle(Phase.START, lambda segment: segment.cold_start_s),
        "paced_requests_per_s": mine.middle(Phase.PACED, requests_per_s),
        "paced_core_share": mine.middle(Phase.PACED, core_share),
        "busy_requests_per_s": mine.middle(Phase.BUSY, requests_per_s),
        "busy_core_share": mine.middle(Phase.BUSY, core_share),
        "others_core_share": mine.middle(Phase.CLOSED, others_share),
        "direct_p50_ms": mine.direct_ms(Phase.PACED, 0.50, _latency),
        "direct_p99_ms": mine.direct_ms(Phase.PACED, 0.99, _latency),
        "generator_late_p99_ms": mine.direct_ms(Phase.PACED, 0.99, lambda segment: segment.late_ns),
    }


# What is a property of the proxy, and not of the load or of the machine.
_COMPARED = (
    "added_p50_ms",
    "added_busy_p50_ms",
    "requests_per_s",
    "added_ttft_ms",
    "added_held_p50_ms",
    "cpu_us_per_request",
    "cpu_us_per_streamed_chunk",
    "rss_mb",
    "cold_start_s",
)


def ratios(mine: Figures, other: Figures) -> dict[str, float]:
    """Figures of `mine` as multiples of `other`'s, where both have one and the other's is not nothing."""
    found = {}
    for name in _COMPARED:
        value, against = mine.get(name), other.get(name)
        if value is not None and against is not None and against > 0:
            found[name] = round(value / against, 3)
    return found


def markdown(columns: Mapping[str, Figures]) -> str:
    """A table for people: a row for each figure, a column for each server."""
    rows = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name in next(iter(columns.values())):
        cells = (_cell(figures[name]) for figures in columns.values())
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def requests_per_s(segment: Segment) -> float:
    return len(segment.latency_ns) / segment.seconds


def cpu_us_per_request(segment: Segment) -> float | None:
    if segment.cpu_s is None or not segment.latency_ns:
        return None
    return segment.cpu_s * _US / len(segment.latency_ns)


def core_share(segment: Segment) -> float | None:
    """The part of one core that the server used."""
    return None if segment.cpu_s is None else segment.cpu_s / segment.seconds


def others_share(segment: Segment) -> float | None:
    """The part of the server's core that went to somebody else: what to distrust a figure for."""
    if segment.cpu_s is None or segment.core_busy_s is None:
        return None
    return max(0.0, segment.core_busy_s - segment.cpu_s) / segment.seconds


def _latency(segment: Segment) -> Sequence[int]:
    return segment.latency_ns


def _first(segment: Segment) -> Sequence[int]:
    return segment.first_ns


class _Mine:
    """The segments of one target, and those of the direct runs beside it."""

    def __init__(self, segments: Sequence[Segment], target: str) -> None:
        self._own = [segment for segment in segments if segment.target == target]
        self._direct = {
            (segment.phase, segment.round): segment
            for segment in segments
            if segment.target == DIRECT and segment.beside == target
        }

    def middle(self, phase: Phase, figure: Callable[[Segment], float | None]) -> float | None:
        return _middle([figure(segment) for segment in self._own if segment.phase is phase])

    def added(self, phase: Phase, share: float, times: Callable[[Segment], Sequence[int]] = _latency) -> float | None:
        """Percentile through the proxy less the same percentile without it, in ms, each round paired with itself."""
        return _middle(
            [
                (percentile(times(segment), share) - percentile(times(self._direct[phase, segment.round]), share)) / _MS
                for segment in self._own
                if segment.phase is phase and (phase, segment.round) in self._direct
            ]
        )

    def direct_ms(self, phase: Phase, share: float, times: Callable[[Segment], Sequence[int]]) -> float | None:
        return _middle(
            [percentile(times(segment), share) / _MS for (of, _), segment in self._direct.items() if of is phase]
        )

    def cpu_us_per_chunk(self) -> float | None:
        """CPU of long streams less CPU of short ones, over the chunks more: what a stream costs whole drops out."""
        by_round: dict[int, dict[Phase, Segment]] = {}
        for segment in self._own:
            by_round.setdefault(segment.round, {})[segment.phase] = segment
        return _middle([_slope_us(phases) for phases in by_round.values()])


def _slope_us(phases: dict[Phase, Segment]) -> float | None:
    few, many = phases.get(Phase.FEW_CHUNKS), phases.get(Phase.MANY_CHUNKS)
    if few is None or many is None or few.cpu_s is None or many.cpu_s is None:
        return None
    each_few, each_many = few.cpu_s / len(few.latency_ns), many.cpu_s / len(many.latency_ns)
    return (each_many - each_few) * _US / (many.chunks - few.chunks)


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None
