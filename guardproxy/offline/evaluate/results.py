"""From judgements to tables: by source and kind, by episode, and what is kept apart. Needs numpy."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from guardproxy.offline.evaluate.baseline import Opinion
from guardproxy.offline.evaluate.cases import Place, episodes
from guardproxy.offline.evaluate.judging import Judgement
from guardproxy.offline.evaluate.metrics import Estimate, Sample, estimate, macro
from guardproxy.offline.evaluate.rows import Kind


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a row once it is judged. `judgement` is None where no guard judges its kind."""

    source: str
    kind: Kind
    harmful: bool
    read_step: bool
    soft: bool
    place: Place
    judgement: Judgement | None


class Point(NamedTuple):
    """One thing that is counted: a row, or an episode."""

    source: str
    kind: Kind
    case: bytes
    harmful: bool
    flagged: bool
    score: float
    scored: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The points of one source and kind."""

    sample: Sample
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Average:
    """The macro average of one kind, and the sources in it: those with enough points of both labels."""

    sources: tuple[str, ...]
    total: int
    harmful: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Table:
    groups: Mapping[tuple[str, Kind], Group]
    macro: Mapping[Kind, Average]

    def kinds(self) -> list[Kind]:
        present = {kind for _, kind in self.groups}
        return [kind for kind in Kind if kind in present]

    def of(self, kind: Kind) -> list[tuple[str, Group]]:
        return [(source, group) for (source, each), group in self.groups.items() if each is kind]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that judging a row took, its conversation already read."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Report:
    """`read_steps` are rows that are in no other table of rows. `unjudged` counts rows that no guard judges, by source
    and kind: total and harmful. `failures` counts the rows on which a guard gave no verdict, by guard and reason."""

    guards: tuple[str, ...]
    rows: Table
    firm: Mapping[Kind, Average]  # the macro average without sources of soft labels
    episodes: Table
    read_steps: Table
    baseline: Table | None
    soft: tuple[str, ...]
    unjudged: Mapping[tuple[str, Kind], tuple[int, int]]
    failures: Mapping[str, int]
    latency: Mapping[Kind | None, Latency]  # None: of all kinds
    resamples: int

    def kinds(self) -> list[Kind]:
        """Those that have figures, if only the baseline's."""
        with_figures = {*self.rows.kinds(), *self.read_steps.kinds(), *(self.baseline.kinds() if self.baseline else ())}
        return [kind for kind in Kind if kind in with_figures]


@dataclass(frozen=True, slots=True)
class Sampling:
    resamples: int
    seed: int


def report(
    records: Sequence[Record], guards: Sequence[str], sampling: Sampling, opinions: Mapping[Kind, Opinion] | None
) -> Report:
    """`opinions` are the baseline's, in the order of the records of a kind."""
    rows = tabulate((_point(r, r.judgement) for r in records if r.judgement and not r.read_step), sampling)
    soft = {record.source for record in records if record.soft}
    return Report(
        guards=tuple(guards),
        rows=rows,
        firm=_averages({at: group for at, group in rows.groups.items() if at[0] not in soft}),
        episodes=tabulate(_episodes(records), sampling),
        read_steps=tabulate((_point(r, r.judgement) for r in records if r.judgement and r.read_step), sampling),
        baseline=None if opinions is None else tabulate(_opinions(records, opinions), sampling),
        soft=tuple(sorted(soft)),
        unjudged=_unjudged(records),
        failures=Counter(failure for r in records if r.judgement for failure in r.judgement.failures),
        latency=_latencies(records),
        resamples=sampling.resamples,
    )


def tabulate(points: Iterable[Point], sampling: Sampling) -> Table:
    gathered: dict[tuple[str, Kind], list[Point]] = defaultdict(list)
    for point in points:
        gathered[point.source, point.kind].append(point)
    order = list(Kind)
    groups: dict[tuple[str, Kind], Group] = {}
    for at in sorted(gathered, key=lambda at: (at[0], order.index(at[1]))):
        sample = _sample(gathered[at])
        groups[at] = Group(sample, estimate(sample, sampling.resamples, sampling.seed))
    return Table(groups, _averages(groups))


def _averages(groups: Mapping[tuple[str, Kind], Group]) -> dict[Kind, Average]:
    averages: dict[Kind, Average] = {}
    for kind in Kind:
        counted = {at[0]: group for at, group in groups.items() if at[1] is kind and group.sample.counts_in_macro}
        if counted:
            samples = [group.sample for group in counted.values()]
            averages[kind] = Average(
                sources=tuple(counted),
                total=sum(map(len, samples)),
                harmful=sum(sample.positives for sample in samples),
                estimate=macro([group.estimate for group in counted.values()]),
            )
    return averages


def _sample(points: Sequence[Point]) -> Sample:
    cases: dict[bytes, int] = {}
    return Sample(
        harmful=np.array([point.harmful for point in points], dtype=bool),
        flagged=np.array([point.flagged for point in points], dtype=bool),
        scores=np.array([point.score for point in points], dtype=float),
        cases=np.array([cases.setdefault(point.case, len(cases)) for point in points], dtype=np.int64),
        scored=any(point.scored for point in points),
    )


def _point(record: Record, judgement: Judgement) -> Point:
    said = judgement.flagged, judgement.score, judgement.scored
    return Point(record.source, record.kind, record.place.case, record.harmful, *said)


def _episodes(records: Sequence[Record]) -> list[Point]:
    """The calls of one run together: stopped if any of them is. Harmful and benign calls of a run are two episodes, so
    that a false alarm on the user's own call does not count as the attack stopped."""
    calls = [(record, record.judgement) for record in records if record.kind is Kind.TOOL_CALL and record.judgement]
    found: dict[tuple[bytes, bool], Point] = {}
    for (record, judgement), episode in zip(calls, episodes([record.place for record, _ in calls]), strict=True):
        key, point = (episode, record.harmful), _point(record, judgement)
        found[key] = _together(found[key], point) if key in found else point
    return list(found.values())


def _together(one: Point, other: Point) -> Point:
    return one._replace(
        flagged=one.flagged or other.flagged,
        score=max(one.score, other.score),
        scored=one.scored or other.scored,
    )


def _opinions(records: Sequence[Record], opinions: Mapping[Kind, Opinion]) -> Iterable[Point]:
    """As in the table of rows, so that the two compare; rows of a family alone in the world have no opinion."""
    at: dict[Kind, int] = defaultdict(int)
    for record in records:
        index, opinion = at[record.kind], opinions[record.kind]
        at[record.kind] += 1
        if not record.read_step and np.isfinite(opinion.scores[index]):
            said = bool(opinion.flagged[index]), float(opinion.scores[index]), True
            yield Point(record.source, record.kind, record.place.case, record.harmful, *said)


def _unjudged(records: Sequence[Record]) -> dict[tuple[str, Kind], tuple[int, int]]:
    counts: dict[tuple[str, Kind], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for record in records:
        if record.judgement is None:
            total, harmful = counts[record.source, record.kind]
            counts[record.source, record.kind] = total + 1, harmful + record.harmful
    return dict(sorted(counts.items()))


def _latencies(records: Sequence[Record]) -> dict[Kind | None, Latency]:
    seconds = [(record.kind, record.judgement.seconds) for record in records if record.judgement]
    latencies: dict[Kind | None, Latency] = {}
    for kind in (None, *Kind):
        found = [each for at, each in seconds if kind is None or at is kind]
        if found:
            p50, p99 = np.percentile(np.array(found) * 1000, [50, 99])
            latencies[kind] = Latency(float(p50), float(p99))
    return latencies
