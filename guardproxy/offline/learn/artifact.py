"""The prefix as the file that the proxy reads. Its scores are those on the held-out tasks."""

import re
from datetime import date
from typing import Any

import yaml

from guardproxy import __version__
from guardproxy.offline.learn.injecting import use_of
from guardproxy.offline.learn.run import Outcome, Verdict
from guardproxy.offline.learn.scoring import Measured, Share
from guardproxy.offline.learn.split import Split, digest_of_tasks
from guardproxy.offline.learn.tasks import TaskSet
from guardproxy.prefix.artifact import digest_of, parse_artifact

_HEAD = "# A prefix that `guardproxy learn` found. Its scores are for this text and this model: do not edit it.\n"


def artifact_bytes(outcome: Outcome, verdict: Verdict, tasks: TaskSet, parts: Split, day: date) -> bytes:
    """What `guardproxy.prefix.artifact` reads back."""
    candidate, search = verdict.chosen.candidate, outcome.search
    content: dict[str, Any] = {
        "version": 1,
        "id": _id(search.model, candidate.text),
        "text": candidate.text,
        "instruction": None,
        "learned": {
            "method": f"guardproxy learn {__version__}, {search.generator} generator, {search.scoring} scoring"[:500],
            "date": day.isoformat(),
            "source": f"{len(outcome.state.candidates)} prefixes in {len(outcome.state.rounds)} rounds, position "
            f"{outcome.position}; scores on {verdict.with_prefix.n} tasks that chose nothing",
            "model": search.model,
            "tasks": {
                "set": tasks.digest,
                "search": digest_of_tasks(parts.search),
                **({"gate": digest_of_tasks(parts.gate)} if verdict.gated else {}),
                "held_out": digest_of_tasks(parts.held_out),
            },
        },
        "models": [re.sub(r"([*?[])", r"[\1]", search.model)],
        "position": use_of(outcome.position).value,
        "scores": _scores(verdict.with_prefix),
    }
    if verdict.gated is not None:
        content["gate"] = {"threshold": verdict.gated.threshold, "scores": _scores(verdict.gated.measured)}
    content["digest"] = digest_of(content)
    text = _HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    parse_artifact(text.encode(), "the artifact")  # whatever is wrong with it is our fault, and told before it is used
    return text.encode()


def _scores(measured: Measured) -> dict[str, Any]:
    return {
        "perform": _score(measured.performed),
        "refuse": _score(measured.refused),
        "over_refuse": _score(measured.over_refused),
    }


def _score(share: Share) -> dict[str, float | int]:
    value, low, high = (round(number, 4) for number in (share.value, share.low, share.high))
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": share.n}


def _id(model: str, text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40].strip("-") or "model"
    return f"{slug}-{digest_of(text).removeprefix('sha256:')[:8]}"
