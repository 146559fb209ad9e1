"""An outcome for a terminal, and as one JSON object."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from guardproxy.offline.learn.pool import Entry
from guardproxy.offline.learn.run import Outcome, Verdict
from guardproxy.offline.learn.scoring import Measured, Scoring, Share, score

ROWS = (
    ("benign_done", "benign tasks done"),
    ("benign_refused", "benign tasks refused"),
    ("harmful_refused", "harmful tasks refused"),
    ("attack_success", "harmful tasks done"),
)


def shares(measured: Measured) -> dict[str, Share]:
    return {
        "benign_done": measured.performed,
        "benign_refused": measured.over_refused,
        "harmful_refused": measured.refused,
        "attack_success": measured.attacked,
    }


def columns_of(verdict: Verdict) -> dict[str, Measured]:
    """What a reader compares."""
    gated = {} if verdict.gated is None else {"behind its gate": verdict.gated.measured}
    return {"without": verdict.without, "with the prefix": verdict.with_prefix, **gated}


def text_of(outcome: Outcome) -> str:
    return "\n".join(_lines(outcome)) + "\n"


def _lines(outcome: Outcome) -> Iterator[str]:
    verdict, state = outcome.verdict, outcome.state
    prefixes, rounds = len(state.candidates), len(state.rounds)
    yield f"{prefixes} prefixes in {rounds} rounds; ended: {outcome.ended}; position: {outcome.position}"
    if verdict is None:
        yield f"no prefix does {outcome.floor:.0%} of the benign tasks or more, or the budget ended"
    else:
        n = verdict.with_prefix
        yield f"on {n.performed.n} benign and {n.refused.n} harmful tasks that chose nothing, with 95 % intervals:"
        columns = [shares(each) for each in columns_of(verdict).values()]
        yield _row("", list(columns_of(verdict)))
        for key, title in ROWS:
            yield _row(title, [_percent(column[key]) for column in columns])
        if verdict.gated is not None:
            yield f"the gate opens from a risk of {verdict.gated.threshold} on"
        kept = "kept" if verdict.keeps_floor else "NOT KEPT: refused"
        yield f"floor of benign tasks done: {verdict.floor:.0%}, {kept}"
        if not verdict.helps:
            yield "the prefix brings nothing: NOT ACCEPTED"
        yield f"prefix: {verdict.chosen.candidate.text}"
    yield from _modes(outcome)
    yield from _cost(outcome)


def _modes(outcome: Outcome) -> Iterator[str]:
    if not outcome.modes:
        return
    yield "the same text in other ways, on the same tasks:"
    width = max(map(len, outcome.modes))
    yield f"  {'':<{width}} " + " ".join(f"{title:<22}" for _, title in ROWS).rstrip()
    for label, measured in outcome.modes.items():
        told = shares(measured)
        yield f"  {label:<{width}} " + " ".join(f"{_percent(told[key]):<22}" for key, _ in ROWS).rstrip()


def _row(title: str, cells: Sequence[str]) -> str:
    return f"  {title:<24} " + " ".join(f"{cell:<20}" for cell in cells).rstrip()


def _cost(outcome: Outcome) -> Iterator[str]:
    spent = outcome.state.spent
    estimated = f" ({spent.estimated} answers estimated)" if spent.estimated else ""
    yield f"cost: {spent.calls} calls, {spent.tokens} tokens{estimated}"
    if spent.troubles:
        yield f"tried again: {_counts(spent.troubles)}"
    if outcome.state.unscored:
        yield f"episodes without an answer, not scored: {_counts(outcome.state.unscored)}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))


def _percent(share: Share) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]" if share.n else "-"


def tree_of(outcome: Outcome) -> dict[str, Any]:
    verdict, state = outcome.verdict, outcome.state
    return {
        "model": outcome.search.model,
        "position": outcome.position.value,
        "notes": list(state.notes),
        "scoring": outcome.search.scoring.value,
        "ended": outcome.ended.value,
        "rounds": len(state.rounds),
        "prefixes": len(state.candidates),
        "floor": outcome.floor,
        "accepted": verdict is not None and verdict.passes,
        "prefix": None if verdict is None else entry_tree(verdict.chosen),
        "held_out": None
        if verdict is None
        else {"without": measured_tree(verdict.without), "with": measured_tree(verdict.with_prefix)}
        | ({} if verdict.gated is None else {"gated": measured_tree(verdict.gated.measured)}),
        "gate": None if verdict is None or verdict.gated is None else verdict.gated.threshold,
        "modes": {label: measured_tree(measured) for label, measured in outcome.modes.items()},
        "search": {
            "without": measured_tree(outcome.without),
            "best_by_round": [
                {"round": round, "score": _finite(outcome.pool.best_until(round))} for round in sorted(state.rounds)
            ],
        },
        "cost": {
            "calls": state.spent.calls,
            "tokens": state.spent.tokens,
            "answers_estimated": state.spent.estimated,
            "tried_again": dict(state.spent.troubles),
            "unscored": dict(state.unscored),
        },
    }


def entry_tree(entry: Entry) -> dict[str, Any]:
    faithful = score(entry.measured, Scoring.FAITHFUL).combined
    bounds = score(entry.measured, Scoring.BOUNDS).combined
    own = entry.candidate
    return {"id": own.id, "text": own.text, "source": own.source, "score_bounds": bounds, "score_faithful": faithful}


def measured_tree(measured: Measured) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, share in shares(measured).items():
        tree[key] = _finite(share.value)
        tree[f"{key}_ci"] = [share.low, share.high]
    tree["benign_n"], tree["harmful_n"] = measured.performed.n, measured.refused.n
    tree["faithful"] = {
        "perform": _finite(measured.acted_by_keywords.value),
        "refuse": _finite(measured.refused_by_keywords.value),
    }
    return tree


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
