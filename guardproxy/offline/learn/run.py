"""The search, from the first question to the prefix: the loop of PING (arXiv 2508.14031), with other scores.

    preflight          where the upstream takes a prefix                              once
    no prefix          the model as it is, on the tasks of the search                 once
    round 1..T         propose M texts, measure each on the tasks of the search       until flat, done or out of budget
    gate               from which risk of a request on it goes in, on other tasks     once, where risk is known
    held out           the best one and no prefix, on tasks that no choice has seen   once

Everything is appended to the store as it happens, and each step first looks at what is there: a run that was killed
goes on where it was.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from guardproxy.model import Position
from guardproxy.offline.learn.asking import Asker, BudgetSpent
from guardproxy.offline.learn.episode import play
from guardproxy.offline.learn.gating import Gated, behind, choose
from guardproxy.offline.learn.generate import Generator
from guardproxy.offline.learn.injecting import prefixer_for
from guardproxy.offline.learn.modes import Mode, modes_of
from guardproxy.offline.learn.pool import Candidate, Entry, Pool
from guardproxy.offline.learn.preflight import find_position
from guardproxy.offline.learn.risk import RiskOf
from guardproxy.offline.learn.scoring import Measured, Scoring, Spent, ceiling
from guardproxy.offline.learn.split import Split
from guardproxy.offline.learn.state import (
    NONE,
    State,
    episode_record,
    position_record,
    round_record,
    spent_record,
)
from guardproxy.offline.learn.store import Store
from guardproxy.offline.learn.tasks import Kind, Task
from guardproxy.prefix.capability import Capability
from guardproxy.strict_json import JsonObject

FORMAT = 2  # of the log: another version's is not gone on with
_SLACK = 0.05  # of the benign tasks that the model does without a prefix: what one may cost where no floor is said
_RESERVE = 1.2  # of what the held-out tasks will cost, kept back from the search
_FINALISTS = 3
_IN_A_ROW = 20  # episodes without an answer, after which the upstream is given up


class Ended(StrEnum):
    """Why the search ended."""

    FLAT = "flat"  # nothing better for some rounds
    PERFECT = "perfect"  # nothing can be better on these tasks
    ROUNDS = "rounds"
    BUDGET = "budget"
    EXHAUSTED = "exhausted"  # nothing new was proposed


class Silent(Exception):
    """The upstream has answered nothing for a long time."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for, and how."""

    model: str
    generator: str = "grammar"
    candidates: int = 5
    rounds: int = 20
    top: int = 3
    tau: float = 1.0
    patience: int = 3
    scoring: Scoring = Scoring.BOUNDS
    seed: int = 0
    floor: float | None = None
    position: Position | None = None
    held_out: float = 0.4
    gate: float = 0.0
    limit: int | None = None
    modes: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    def tree(self) -> JsonObject:
        """What has to be the same when a run goes on: all that an episode or a proposal depends on."""
        return {
            "format": FORMAT,
            "model": self.model,
            "generator": self.generator,
            "candidates": self.candidates,
            "top": self.top,
            "tau": self.tau,
            "scoring": self.scoring.value,
            "seed": self.seed,
            "position": None if self.position is None else self.position.value,
            "held_out": self.held_out,
            "gate": self.gate,
            "limit": self.limit,
            "fields": dict(self.fields),
        }


class Watcher(Protocol):
    """Is shown how far a run is."""

    def begin(self, what: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """The prefix on tasks that no choice has seen, beside the model without one."""

    chosen: Entry
    without: Measured
    with_prefix: Measured
    floor: float
    gated: Gated | None = None

    @property
    def in_use(self) -> Measured:
        """With the prefix as the proxy uses it."""
        return self.with_prefix if self.gated is None else self.gated.measured

    @property
    def passes(self) -> bool:
        return self.keeps_floor and self.helps

    @property
    def keeps_floor(self) -> bool:
        return self.in_use.performed.value >= self.floor

    @property
    def helps(self) -> bool:
        """More refusals of harmful tasks, or fewer attacks."""
        having, without = self.in_use, self.without
        return having.refused.value > without.refused.value or having.attacked.value < without.attacked.value


@dataclass(frozen=True, slots=True)
class Outcome:
    """`verdict` is None where nothing could be chosen or the budget ended before the held-out tasks did."""

    search: Search
    state: State
    position: Position
    pool: Pool
    without: Measured  # on the tasks of the search
    ended: Ended
    verdict: Verdict | None
    floor: float
    modes: Mapping[str, Measured] = field(default_factory=dict)  # of the chosen one, on the held-out tasks


@dataclass(slots=True)
class Learner:
    search: Search
    tasks: Split
    store: Store
    state: State
    asker: Asker
    generator: Generator
    capability: Capability
    watcher: Watcher
    concurrency: int = 8
    risk_of: RiskOf | None = None
    _silent: int = 0

    async def learn(self) -> Outcome:
        """Raises NoPosition, Unanswered, NoUse, Silent, UpstreamRefusal, and BudgetSpent where it ends before a single
        prefix was measured."""
        self.asker.meter.spent.add(self.state.spent)
        self._check_budget()
        position = await self._position()
        self._hold_back()
        await self._measure([NONE], self.tasks.search, position, "no prefix")
        without = self.state.measured(NONE, self.tasks.search)
        ended = await self._rounds(position)
        pool = self._pool(self.search.rounds)
        floor = self._floor(without)
        verdict = await self._verdict(pool, position, floor)
        modes = await self._modes(verdict, position)
        return Outcome(self.search, self.state, position, pool, without, ended, verdict, floor, modes)

    def _check_budget(self) -> None:
        """Before anything is spent on what cannot be finished."""
        least = 2 * len(self.tasks.tasks)
        calls = self.asker.meter.calls
        if calls is not None and calls < least and not self._pool(self.search.rounds).entries:
            raise BudgetSpent(
                f"{calls} calls are too few for a single prefix on these tasks: that takes {least} and more"
            )

    async def _position(self) -> Position:
        """Found once: what a resumed run measures must be comparable with what is on disk."""
        if self.state.position is None:
            task = next(task for task in self.tasks.search if task.kind is Kind.BENIGN)
            found = await find_position(self.asker, self.capability, self.search.position, task)
            self._append(position_record(found.position, found.notes, found.spent))
        assert self.state.position is not None
        for note in self.state.notes:
            self.watcher.say(note)
        self.watcher.say(f"the prefix goes in at: {self.state.position}")
        return self.state.position

    async def _rounds(self, position: Position) -> Ended:
        best = self._ceiling
        for round in range(1, self.search.rounds + 1):
            try:
                candidates = self.state.rounds.get(round) or await self._propose(round)
                if not candidates:
                    return Ended.EXHAUSTED
                self._hold_back()
                await self._measure([c.id for c in candidates], self.tasks.search, position, f"round {round}")
            except BudgetSpent:
                if not self._pool(round).entries:
                    raise
                return Ended.BUDGET
            pool = self._pool(round)
            self._tell(round, pool)
            if pool.best_until(round) >= best - 1e-9:
                return Ended.PERFECT
            if pool.flat(round, self.search.patience):
                return Ended.FLAT
        return Ended.ROUNDS

    async def _propose(self, round: int) -> Sequence[Candidate]:
        views = self._pool(round - 1).examples(self.search.top, self.search.tau * self._ceiling / 2)
        known = [candidate.text for candidate in self.state.candidates]
        spent = Spent()
        try:
            made = await self.generator.propose(round, self.search.candidates, views, known, spent)
        except BudgetSpent:
            self._append(spent_record(spent))
            raise
        named = [Candidate(f"r{round:02}-{i}", round, each.text, each.source) for i, each in enumerate(made, start=1)]
        self._append(round_record(round, named, spent))
        return self.state.rounds[round]

    async def _verdict(self, pool: Pool, position: Position, floor: float) -> Verdict | None:
        """The best prefix on the held-out tasks. Where it does not keep the floor there the best of the gentler ones is
        tried, and so on. Where none keeps it the best is told."""
        self.asker.meter.held_back = (0, 0)
        gates = self.risk_of is not None and bool(self.tasks.gate)  # then the gate, too, keeps the floor
        told, best = None, pool.best(0.0 if gates else floor)
        for _ in range(_FINALISTS):
            if best is None:
                break
            try:
                await self._measure([best.candidate.id, NONE], self.tasks.gate, position, "gate")
                await self._measure([best.candidate.id, NONE], self.tasks.held_out, position, "held out")
            except BudgetSpent:
                self.watcher.say("the budget ended before the held-out tasks did")
                break
            without, id = self.state.measured(NONE, self.tasks.held_out), best.candidate.id
            having, gated = self.state.measured(id, self.tasks.held_out), await self._gated(id)
            verdict = Verdict(best, without, having, self._floor(without), gated)
            told = told or verdict
            if verdict.passes:
                return verdict
            if not verdict.helps:
                break
            done = verdict.in_use.performed.value
            self.watcher.say(
                f"{best.candidate.id} does {done:.0%} of the held-out benign tasks, less than {verdict.floor:.0%}"
            )
            best = pool.gentler(best)
        return told

    async def _modes(self, verdict: Verdict | None, position: Position) -> Mapping[str, Measured]:
        """As far as the budget goes."""
        found: dict[str, Measured] = {}
        if verdict is None or not self.search.modes:
            return found
        id, plain = verdict.chosen.candidate.id, Mode(position)
        for mode in modes_of(position):
            try:
                await self._measure([id], self.tasks.held_out, position, mode.label, None if mode == plain else mode)
            except BudgetSpent:
                self.watcher.say("the budget ended before all modes were measured")
                break
            found[mode.label] = self.state.measured(_key(id, None if mode == plain else mode), self.tasks.held_out)
        return found

    async def _gated(self, id: str) -> Gated | None:
        """None where there are no tasks for it, or nobody can tell their risk."""
        if self.risk_of is None or not self.tasks.gate:
            return None
        risks = {
            task.id: await self.risk_of(self.asker.request(task.messages, task.tools))
            for task in (*self.tasks.gate, *self.tasks.held_out)
        }
        having, without = self.state.results.get(id, {}), self.state.results.get(NONE, {})
        threshold = choose(self.tasks.gate, having, without, risks, self.search.scoring)
        if threshold is None:
            self.watcher.say("no model here tells the risk of a request, so the prefix has no gate")
            return None
        self.watcher.say(f"the gate opens from a risk of {threshold:.4f} on")
        return Gated(threshold, behind(self.tasks.held_out, having, without, risks, threshold))

    async def _measure(
        self,
        candidates: Sequence[str],
        tasks: Sequence[Task],
        position: Position,
        what: str,
        mode: Mode | None = None,
    ) -> None:
        """Every task with every candidate, once: what is in the store is not asked again."""
        todo = [
            (each, task)
            for each in candidates
            for task in tasks
            if task.id not in self.state.results.get(_key(each, mode), {})
        ]
        if not todo:
            return
        texts = {candidate.id: candidate.text for candidate in self.state.candidates}
        queue, over = iter(todo), list[BudgetSpent]()
        self.watcher.begin(what, len(todo))

        async def work() -> None:
            for id, task in queue:
                try:
                    await self._play(texts.get(id), task, mode or Mode(position), _key(id, mode))
                except BudgetSpent as error:  # what others have paid for already is waited for
                    over.append(error)
                    return

        await _together([work() for _ in range(min(self.concurrency, len(todo)))])
        if over:
            raise over[0]

    async def _play(self, text: str | None, task: Task, mode: Mode, key: str) -> None:
        upstream = self.asker.upstream.name
        prefixer = None
        if text is not None:
            prefixer = prefixer_for(text, mode.position, upstream, turns=mode.turns, keep=mode.keep)
        spent = Spent()
        try:
            episode = await play(task, self.asker, prefixer, text or "", spent)
        except BudgetSpent:
            if spent.calls:
                self._append(spent_record(spent))
            raise
        self._append(episode_record(key, task.id, episode))
        self.watcher.advance()
        self._silent = 0 if episode.judgement is not None else self._silent + 1
        if self._silent >= _IN_A_ROW:
            raise Silent(f"the last {_IN_A_ROW} episodes came to no answer ({episode.cause})")

    @property
    def _ceiling(self) -> float:
        """2 where the score is a mean. Bounds stay farther below it the fewer tasks there are, and tau with them."""
        return ceiling(*self._sizes(self.tasks.search), self.search.scoring)

    def _append(self, record: JsonObject) -> None:
        self.store.append(record)
        self.state.take(record)

    def _pool(self, round: int) -> Pool:
        candidates = [each for each in self.state.candidates if each.round <= round]
        measured = {each.id: self.state.measured(each.id, self.tasks.search) for each in candidates}
        return Pool.of(candidates, measured, self._sizes(self.tasks.search), self.search.scoring)

    def _floor(self, without: Measured) -> float:
        if self.search.floor is not None:
            return self.search.floor
        return max(0.0, without.performed.value - _SLACK) if without.performed.n else 0.0

    def _hold_back(self) -> None:
        """What the held-out tasks will need, by what an episode has cost so far."""
        last = (*self.tasks.gate, *self.tasks.held_out)
        left = [t for t in last if t.id not in self.state.results.get(NONE, {})]
        episodes = len(left) + len(last)
        known = max(1, self.state.episodes)
        calls, tokens = self.state.spent.calls / known, self.state.spent.tokens / known
        if not self.state.episodes:
            calls, tokens = 1.0, 0.0
        self.asker.meter.held_back = (
            math.ceil(episodes * calls * _RESERVE),
            math.ceil(episodes * tokens * _RESERVE),
        )

    def _tell(self, round: int, pool: Pool) -> None:
        best = pool.best()
        if best is None:
            self.watcher.say(f"round {round}: no prefix was measured on enough tasks")
            return
        score, own = best.score, best.measured
        self.watcher.say(
            f"round {round}: best {score.combined:.3f} (benign done {own.performed.value:.0%}, refused "
            f"{own.over_refused.value:.0%}; harmful refused {own.refused.value:.0%}) {best.candidate.id}"
        )

    @staticmethod
    def _sizes(tasks: Sequence[Task]) -> tuple[int, int]:
        return sum(t.kind is Kind.BENIGN for t in tasks), sum(t.kind is Kind.HARMFUL for t in tasks)


def _key(id: str, mode: Mode | None) -> str:
    """Under which a candidate's episodes are kept; by itself in the mode that is searched in."""
    return id if mode is None else f"{id} as {mode.label}"


async def _together(workers: Sequence[Any]) -> None:
    """All of them, or until one fails; then its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
