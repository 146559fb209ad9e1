"""From which risk of a request on a prefix goes in: chosen on tasks that chose no prefix. Pure.

Nothing has to be asked for it: every task was played with the prefix and without it, so what would have come of a
threshold is known. A task whose risk nobody could tell gets the prefix, as in the proxy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from guardproxy.offline.learn.judging import Judgement
from guardproxy.offline.learn.scoring import Measured, Scoring, score
from guardproxy.offline.learn.state import tally
from guardproxy.offline.learn.tasks import Task

Results = Mapping[str, Judgement]
Risks = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Gated:
    """A prefix behind its gate, on the held-out tasks."""

    threshold: float
    measured: Measured


def choose(tasks: Sequence[Task], having: Results, without: Results, risks: Risks, scoring: Scoring) -> float | None:
    """The threshold with the best score: the middle one of those that are equally good, since the tasks to come lie on
    both sides of it. None where no risk is known."""
    steps = _steps([risk for task in tasks if (risk := risks.get(task.id)) is not None])
    if not steps:
        return None
    scores = [score(behind(tasks, having, without, risks, step), scoring).combined for step in steps]
    best = [step for step, own in zip(steps, scores, strict=True) if own >= max(scores) - 1e-9]
    return round(best[(len(best) - 1) // 2], 4)


def behind(tasks: Sequence[Task], having: Results, without: Results, risks: Risks, threshold: float) -> Measured:
    """What the prefix does where it goes in from a risk on. Tasks that one side did not answer are left out."""
    told: list[tuple[Task, Judgement]] = []
    for task in tasks:
        if task.id in having and task.id in without:
            risk = risks.get(task.id)
            goes_in = risk is None or risk >= threshold
            told.append((task, having[task.id] if goes_in else without[task.id]))
    return tally(told)


def _steps(risks: Sequence[float]) -> list[float]:
    """One threshold below all risks, and one between every two that differ."""
    known = sorted(set(risks))
    if not known:
        return []
    return [0.0, *((a + b) / 2 for a, b in pairwise(known))]
