"""The parts of the benchmarks of learned prefixes that need no model."""

from xml.etree import ElementTree

import numpy as np
import pytest

from bench import linear_probe, ping, prefix
from guardproxy.offline.learn.scoring import Share
from guardproxy.offline.learn.tasks import Kind

PLAN = ping.Plan(search=6, gate=4, held_out=10, rounds=1, candidates=1)


def test_no_task_serves_two_ends() -> None:
    parts = ping.split_of(PLAN, 0)
    sizes = {name: len(getattr(parts, name)) for name in ("search", "gate", "held_out")}
    assert sizes == {"search": 12, "gate": 8, "held_out": 20}
    asked = [task.user for part in (parts.search, parts.gate, parts.held_out) for task in part]
    assert len(set(asked)) == len(asked)
    for part in (parts.search, parts.gate, parts.held_out):
        assert sum(task.kind is Kind.HARMFUL for task in part) * 2 == len(part)


def test_each_seed_has_tasks_of_its_own() -> None:
    first, second = ({task.user for task in ping.split_of(PLAN, seed).held_out} for seed in (0, 1))
    assert first != second
    assert first == {task.user for task in ping.split_of(PLAN, 0).held_out}


def test_shares_of_several_runs_are_one() -> None:
    told = ping._share("x", [Share(9, 10), Share(1, 10)])
    assert told["x"] == 0.5
    assert told["x_ci"][0] < 0.5 < told["x_ci"][1]
    assert ping._share("x", [Share()]) == {"x": None, "x_ci": None}


def reads(shift: float, seed: int = 0) -> list[linear_probe.Read]:
    """Harmful tasks lie `shift` to the right in one of eight numbers, and the prefix moves their last token there."""
    random = np.random.default_rng(seed)
    found = []
    for kind in Kind:
        for prefixed in (False, True):
            for _ in range(40):
                mean, last = random.normal(size=8), random.normal(size=8)
                mean[0] += shift * (kind is Kind.HARMFUL)
                last[0] += shift * (kind is Kind.HARMFUL and prefixed)
                acts = 0.1 if kind is Kind.HARMFUL and prefixed else 0.9
                found.append(linear_probe.Read(kind, prefixed, mean, last, acts))
    return found


def test_a_probe_finds_what_tells_two_kinds_apart() -> None:
    told = linear_probe.report(linear_probe.fit(reads(6)), reads(6), reads(6, seed=1))
    assert told["accuracy"] > 0.95
    assert told["decision_logit_harmful_with_ci"][0] > told["decision_logit_harmful_without_ci"][1]
    assert abs(told["decision_logit_benign_with"] - told["decision_logit_benign_without"]) < 3
    assert (told["begins_a_call_harmful_without"], told["begins_a_call_harmful_with"]) == (0.9, 0.1)


def test_a_probe_finds_nothing_where_nothing_is() -> None:
    assert linear_probe.report(linear_probe.fit(reads(0)), reads(0), reads(0, seed=1))["accuracy"] < 0.65


def test_the_plot_is_an_image_by_itself() -> None:
    panels = linear_probe.panels(linear_probe.fit(reads(6)), reads(6, seed=1))
    image = ElementTree.fromstring(linear_probe.plot(panels))
    assert image.tag.endswith("svg")
    texts = [each.text or "" for each in image.iter() if each.tag.endswith("text")]
    assert texts.count("benign, without") == texts.count("harmful, with the prefix") == len(panels) == 2


@pytest.mark.parametrize("case", prefix.CASES, ids=lambda case: case.name)
def test_what_is_timed_is_what_the_proxy_does(case: prefix.Case) -> None:
    """The prefix is in the request, and its echo is out of the answer."""
    prefixer, request = prefix._prefixer(case), prefix._request()
    plan = prefixer.plan(request, "main", risk=0.9)
    assert getattr(plan, "artifact_id", "") == "bench"
    prefix._pass(prefixer, request, prefix._frames(case.echoed))
