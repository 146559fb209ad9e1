"""What a run leaves: the artifact, the page, the tree."""

import json
from collections.abc import Callable
from datetime import date
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml

from guardproxy.errors import ConfigurationError
from guardproxy.model import Position
from guardproxy.offline.learn.artifact import artifact_bytes
from guardproxy.offline.learn.as_html import page_of
from guardproxy.offline.learn.as_text import text_of, tree_of
from guardproxy.offline.learn.gating import Gated
from guardproxy.offline.learn.judging import Judgement
from guardproxy.offline.learn.pool import Candidate, Pool
from guardproxy.offline.learn.run import Ended, Outcome, Search, Verdict
from guardproxy.offline.learn.scoring import Scoring, Spent
from guardproxy.offline.learn.split import Split
from guardproxy.offline.learn.state import NONE, State
from guardproxy.offline.learn.tasks import Kind, Task, TaskSet
from guardproxy.prefix.artifact import Use, parse_artifact

VILE = "<script>alert(1)</script>&"
DAY = date(2026, 11, 21)


@pytest.fixture
def tasks(task: Callable[..., Task]) -> list[Task]:
    return [task(f"{kind}-{i}", kind, user=f"{VILE} {i}") for i in range(10) for kind in Kind]


@pytest.fixture
def made(tasks: list[Task]) -> Callable[..., Outcome]:
    def make(
        verdict: bool = True,
        position: Position = Position.PREFIX_FLAG,
        model: str = "m",
        floor: float = 0.9,
        gated: bool = False,
    ) -> Outcome:
        candidates = (Candidate("r01-1", 1, f"I check. {VILE}", "grammar"), Candidate("r01-2", 1, "I act.", "crossed"))
        state = State(position, (f"note {VILE}",), {1: candidates}, spent=Spent(60, 1234, 2, {"timeout": 3}))
        for each, refuses in ((NONE, 0), ("r01-1", 9), ("r01-2", 2)):
            for i, task in enumerate(tasks):
                refused = task.kind is Kind.HARMFUL and i // 2 < refuses
                state.results.setdefault(each, {})[task.id] = Judgement(not refused, refused, not refused, refused)
                state.excerpts[each, task.id] = f"said {VILE}"
        state.unscored["timeout"] = 1
        measured = {each.id: state.measured(each.id, tasks) for each in candidates}
        pool = Pool.of(candidates, measured, (10, 10), Scoring.BOUNDS)
        without = state.measured(NONE, tasks)
        chosen = pool.entries[0]
        gate = Gated(0.25, chosen.measured) if gated else None
        told = Verdict(chosen, without, chosen.measured, floor, gate) if verdict else None
        return Outcome(Search(model), state, position, pool, without, Ended.FLAT, told, floor)

    return make


def artifact(outcome: Outcome, tasks: list[Task]) -> bytes:
    assert outcome.verdict is not None
    parts = Split(tuple(tasks[:10]), tuple(tasks[10:]))
    return artifact_bytes(outcome, outcome.verdict, TaskSet(tuple(tasks), {"a": "sha256:1"}), parts, DAY)


def test_the_proxy_reads_the_artifact(made: Any, tasks: list[Task]) -> None:
    read = parse_artifact(artifact(made(model="org/Model-7B [beta]*"), tasks), "x")
    assert read.text == f"I check. {VILE}"
    assert read.id.startswith("org-model-7b-beta-")
    assert read.position is Use.PREFILL
    assert read.fits("org/Model-7B [beta]*")
    assert not read.fits("org/Model-7B [beta]2")
    assert read.learned.date == "2026-11-21"
    assert read.learned.model == "org/Model-7B [beta]*"
    assert read.learned.tasks.keys() == {"set", "search", "held_out"}
    assert read.scores is not None
    assert read.scores.over_refuse is not None
    assert (read.scores.refuse.value, read.scores.refuse.n) == (0.9, 10)
    assert read.scores.refuse.low < 0.9 < read.scores.refuse.high
    assert (read.scores.perform.value, read.scores.over_refuse.value) == (1.0, 0.0)


def test_the_artifact_belongs_to_its_content(made: Any, tasks: list[Task]) -> None:
    data = artifact(made(), tasks)
    with pytest.raises(ConfigurationError, match="does not belong"):
        parse_artifact(data.replace(b"I check", b"I act"), "x")
    assert yaml.safe_load(data)["digest"].startswith("sha256:")


def test_what_was_learned_as_an_instruction_is_one(made: Any, tasks: list[Task]) -> None:
    data = artifact(made(position=Position.INSTRUCTION), tasks)
    assert parse_artifact(data, "x").position is Use.INSTRUCTION


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_gate_is_in_the_artifact_and_in_every_report(made: Any, tasks: list[Task]) -> None:
    outcome = made(position=Position.SUFFIX, gated=True)
    read = parse_artifact(artifact(outcome, tasks), "x")
    assert read.position is Use.SUFFIX
    assert read.gate is not None
    assert read.gate.threshold == 0.25
    assert read.gate.scores == read.scores
    assert "gate" in read.learned.tasks
    assert "behind its gate" in text_of(outcome)
    assert "the gate opens from a risk of 0.25 on" in text_of(outcome)
    assert tree_of(outcome)["gate"] == 0.25
    assert tree_of(outcome)["held_out"]["gated"] == tree_of(outcome)["held_out"]["with"]
    assert "The gate opens from a risk of 0.25 on." in page_of(outcome, tasks)
    assert tree_of(made())["gate"] is None


@pytest.mark.parametrize("verdict", [True, False])
def test_the_page_is_whole_and_needs_nothing(made: Any, tasks: list[Task], verdict: bool) -> None:
    page = page_of(made(verdict), tasks)
    parsed = _Page(page)
    assert not parsed.open
    assert not parsed.links
    assert "script" not in parsed.tags
    assert parsed.tags.count("svg") == 2
    for told in ("Best together", "Best at benign tasks", "Best at refusing", "60 calls, 1234 tokens", "timeout"):
        assert told in page
    assert ("Some held-out tasks" in page) is verdict
    assert "nan" not in page.lower()


def test_the_tree_is_json_and_has_intervals_beside_the_shares(made: Any) -> None:
    tree = json.loads(json.dumps(tree_of(made()), allow_nan=False))
    having = tree["held_out"]["with"]
    assert having["harmful_refused"] == 0.9
    assert having["harmful_refused_ci"][0] < 0.9 < having["harmful_refused_ci"][1]
    assert having["attack_success"] == pytest.approx(0.1)
    assert tree["cost"]["unscored"] == {"timeout": 1}
    assert tree["accepted"]
    assert not json.loads(json.dumps(tree_of(made(False)), allow_nan=False))["accepted"]


def test_the_text_says_whether_the_floor_was_kept(made: Any) -> None:
    assert "kept" in text_of(made())
    assert "harmful tasks refused    0.0% [0.0%, 27.8%]   90.0%" in text_of(made())
    assert "not scored: timeout 1" in text_of(made())
    assert text_of(made(False)).splitlines()[1].startswith("no prefix does 90%")
