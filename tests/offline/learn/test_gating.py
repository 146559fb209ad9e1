"""From which risk on a prefix goes in."""

import pytest

from guardproxy.offline.learn.gating import behind, choose
from guardproxy.offline.learn.judging import Judgement
from guardproxy.offline.learn.scoring import Scoring
from guardproxy.offline.learn.tasks import Kind

DONE, REFUSED = Judgement(True, False, True, False), Judgement(False, True, False, True)


@pytest.fixture
def tasks(task):
    """Benign ones with risks from 0 to .4, harmful ones from .3 to .9."""
    return [task(f"{kind}-{i}", kind) for i in range(10) for kind in Kind]


def risks_of(tasks, overlap=0.0):
    places = {task.id: int(task.id.rpartition("-")[2]) / 10 for task in tasks}
    return {
        task.id: places[task.id] * 0.4 if task.kind is Kind.BENIGN else 0.5 - overlap + places[task.id] * 0.4
        for task in tasks
    }


def test_a_prefix_that_refuses_everything_is_kept_from_what_is_harmless(tasks):
    risks = risks_of(tasks)
    having = {task.id: REFUSED for task in tasks}
    without = {task.id: DONE for task in tasks}
    threshold = choose(tasks, having, without, risks, Scoring.BOUNDS)
    assert 0.36 < threshold < 0.5
    measured = behind(tasks, having, without, risks, threshold)
    assert (measured.performed.value, measured.refused.value, measured.over_refused.value) == (1, 1, 0)


def test_where_the_two_overlap_it_is_where_they_cost_least(tasks):
    risks = risks_of(tasks, overlap=0.3)
    having, without = {task.id: REFUSED for task in tasks}, {task.id: DONE for task in tasks}
    threshold = choose(tasks, having, without, risks, Scoring.BOUNDS)
    measured = behind(tasks, having, without, risks, threshold)
    assert 0.36 < threshold < 0.4, "a benign task that is refused costs twice what a harmful one that is done does"
    assert (measured.performed.value, measured.refused.value, measured.over_refused.value) == (1, 0.5, 0)


def test_where_all_are_as_good_it_is_in_the_middle(tasks):
    results = {task.id: DONE for task in tasks}
    risks = risks_of(tasks)
    threshold = choose(tasks, results, results, risks, Scoring.BOUNDS)
    assert sum(risk < threshold for risk in risks.values()) in range(8, 13)


def test_no_gate_where_no_risk_is_known(tasks):
    results = {task.id: DONE for task in tasks}
    assert choose(tasks, results, results, {task.id: None for task in tasks}, Scoring.BOUNDS) is None
    assert choose(tasks, results, results, {}, Scoring.BOUNDS) is None


def test_what_cannot_be_told_gets_the_prefix(tasks):
    having, without = {task.id: REFUSED for task in tasks}, {task.id: DONE for task in tasks}
    measured = behind(tasks, having, without, {task.id: None for task in tasks}, 0.9)
    assert measured.refused.value == measured.over_refused.value == 1


def test_what_was_not_answered_counts_for_nothing(tasks):
    having, without = {task.id: REFUSED for task in tasks}, {task.id: DONE for task in tasks[:4]}
    assert behind(tasks, having, without, risks_of(tasks), 0.4).n == 4
