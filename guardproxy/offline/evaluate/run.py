"""Two readings of the files: one that finds every fault before anything is judged, one that judges."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from guardproxy.errors import Fault, MalformedRequest
from guardproxy.offline.evaluate.baseline import Bags, Opinion, opinions
from guardproxy.offline.evaluate.cases import place_of
from guardproxy.offline.evaluate.conversation import request_of
from guardproxy.offline.evaluate.families import family_of
from guardproxy.offline.evaluate.judging import Judge
from guardproxy.offline.evaluate.results import Record, Report, Sampling, report
from guardproxy.offline.evaluate.rows import BadRow, Kind, Row, faults_of, read
from guardproxy.surfaces.surface import RequestRules


class BadData(Exception):
    """Everything that is wrong with the files, all at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(slots=True)
class Plan:
    """What is judged: every row or, with a limit, of each source the rows whose ids have the lowest digests. That is a
    fixed draw, which does not depend on the order of the files."""

    files: tuple[Path, ...]
    limit: int | None = None
    seen: int = 0
    _lowest: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # heaps, negated

    @property
    def total(self) -> int:
        return self.seen if self.limit is None else sum(map(len, self._lowest.values()))

    def note(self, row: Row) -> None:
        self.seen += 1
        if self.limit is None:
            return
        heap = self._lowest[row.source]
        if len(heap) < self.limit:
            heapq.heappush(heap, -_digest(row))
        else:
            heapq.heappushpop(heap, -_digest(row))

    def holds(self, row: Row) -> bool:
        return self.limit is None or _digest(row) <= -self._lowest[row.source][0]

    def rows(self) -> Iterator[Row]:
        for file in self.files:
            for number, row in read(file):
                if isinstance(row, BadRow):
                    raise BadData(list(faults_of(file, number, row)))
                if self.holds(row):
                    yield row


def _digest(row: Row) -> int:
    return int.from_bytes(blake2b(row.id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def plan(files: Sequence[Path], limit: int | None, rules: RequestRules) -> Plan:
    """Raises BadData, having read everything."""
    made, faults, ids = Plan(tuple(files), limit), list[Fault](), set[int]()
    for file in files:
        try:
            for number, row in read(file):
                faults += _faults(file, number, row, ids, rules)
                if isinstance(row, Row):
                    made.note(row)
        except OSError as error:
            faults.append(Fault(str(file), None, "", f"cannot be read: {error.strerror}"))
    if not faults and not made.seen:
        faults = [Fault(str(file), None, "", "holds no row") for file in files]
    if faults:
        raise BadData(faults)
    return made


def _faults(file: Path, number: int, row: Row | BadRow, ids: set[int], rules: RequestRules) -> Iterator[Fault]:
    if isinstance(row, BadRow):
        yield from faults_of(file, number, row)
        return
    if _digest(row) in ids:
        yield Fault(str(file), number, "id", "the same as that of an earlier row")
    ids.add(_digest(row))
    try:
        request_of(row, rules)
    except MalformedRequest as error:
        yield Fault(str(file), number, "", f"as a request: {error.message}")


async def judge_all(
    plan: Plan, judge: Judge, sampling: Sampling, progress: Callable[[], None], baseline: bool
) -> "Run":
    """Row by row: the memory that this takes grows with their number, not with their size."""
    run = Run(sampling)
    for row in plan.rows():
        judgement = await judge.judge(row)
        run.records.append(Record(row.source, row.kind, row.harmful, row.read_step, row.soft, place_of(row), judgement))
        if baseline:
            run.note_for_baseline(row)
        progress()
    return run


@dataclass(slots=True)
class Run:
    """Everything that was judged."""

    sampling: Sampling
    records: list[Record] = field(default_factory=list)
    _bags: dict[Kind, Bags] = field(default_factory=lambda: defaultdict(Bags))
    _families: dict[Kind, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note_for_baseline(self, row: Row) -> None:
        self._bags[row.kind].add(row)
        self._families[row.kind].append(family_of(row))

    def report(self, guards: Sequence[str]) -> Report:
        return report(self.records, guards, self.sampling, self._opinions() if self._bags else None)

    def _opinions(self) -> dict[Kind, Opinion]:
        harmful = {kind: [record.harmful for record in self.records if record.kind is kind] for kind in self._bags}
        return {kind: opinions(bags, harmful[kind], self._families[kind]) for kind, bags in self._bags.items()}
