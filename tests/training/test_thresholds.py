"""How the shipped thresholds are chosen."""

import numpy as np

from guardproxy.classifier.first_stage import Scale
from guardproxy.offline.evaluate.rows import parse
from training.classifier.rows import Rows
from training.classifier.samples import Sample
from training.classifier.thresholds import behind_flagged, threshold_of_flags, thresholds_of_calls


def rows_of(*labels: tuple[str, bool]) -> Rows:
    """A call for each, of a source and harmful or not."""
    made = []
    for place, (source, harmful) in enumerate(labels):
        row = {
            "id": str(place),
            "source": source,
            "kind": "tool_call",
            "user_task": "",
            "tool_call": {"name": "ls", "arguments": {}},
            "label": "harmful" if harmful else "benign",
        }
        made.append(Sample(parse(row), source, source))
    return Rows(made)


def test_calls_behind_a_flagged_result_get_a_lower_threshold() -> None:
    """200 benign calls with scores from 0 to .995, of which 1.5 per cent may be flagged, and 2 with the lower one."""
    rows = rows_of(*[("benign", False)] * 200, *[("attacked", True)] * 10, *[("attacked", False)] * 10)
    unseen = np.concatenate([np.arange(200) / 200, np.full(10, 0.6), np.full(10, 0.999)])
    tainted = np.zeros(220, dtype=bool)
    tainted[[100, 120, 198]] = True
    call, behind = thresholds_of_calls(rows, unseen, tainted)
    assert np.sum(unseen[:200] >= call) == 3
    flagged = unseen >= np.where(tainted, behind, call)
    assert np.sum(flagged[:200]) == 4
    assert unseen[100] < behind <= unseen[120]


def test_no_threshold_behind_a_flagged_result_is_higher() -> None:
    rows = rows_of(*[("benign", False)] * 10)
    call, behind = thresholds_of_calls(rows, np.linspace(0.1, 1, 10), np.ones(10, dtype=bool))
    assert behind <= call == 1.0


def test_the_worst_of_the_sources_counts_and_none_that_is_attacked() -> None:
    calm, alarmed = [("calm", False)] * 100, [("alarmed", False)] * 100
    rows = rows_of(*calm, *alarmed, ("attacked", True), *[("attacked", False)] * 20)
    unseen = np.concatenate([np.full(100, 0.1), np.linspace(0.5, 0.9, 100), [0.3], np.full(20, 0.95)])
    call, _ = thresholds_of_calls(rows, unseen, np.zeros(len(unseen), dtype=bool))
    assert np.sum(unseen[100:200] >= call) == 1


def test_flags_are_chosen_by_the_mean_over_sources() -> None:
    rows = rows_of(*[("calm", False)] * 10, *[("alarmed", False)] * 10)
    unseen = np.concatenate([np.zeros(10), np.linspace(0.1, 1.0, 10)])
    threshold = threshold_of_flags(rows, unseen, 0.10)
    assert np.sum(unseen >= threshold) == 2


def test_thresholds_are_rounded_up() -> None:
    rows = rows_of(*[("calm", False)] * 10)
    assert threshold_of_flags(rows, np.append(np.zeros(9), 0.123456), 0.1) == 0.1235


def test_a_conversation_is_tainted_by_its_worst_result() -> None:
    found = behind_flagged([[], [-3.0], [-3.0, 2.0]], Scale(1.0, 0.0), 0.8)
    assert found.tolist() == [False, False, True]
