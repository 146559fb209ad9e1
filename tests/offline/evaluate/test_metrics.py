import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.offline.evaluate.metrics import METRICS, Sample, estimate, macro, reliability, roc


def sample(rows: Sequence[tuple[int, float]], *, at: float = 0.5, cases: Sequence[int] | None = None) -> Sample:
    """Rows are (harmful, score)."""
    harmful, scores = np.array([h for h, _ in rows], dtype=bool), np.array([s for _, s in rows], dtype=float)
    return Sample(harmful, scores >= at, scores, np.array(cases if cases is not None else range(len(rows))))


def values(rows: Sequence[tuple[int, float]], at: float = 0.5) -> dict[str, float]:
    return dict(estimate(sample(rows, at=at), 0, 0).values)


def test_by_hand() -> None:
    found = values([(1, 0.9), (1, 0.4), (0, 0.6), (0, 0.1), (0, 0.2)])
    assert found["auroc"] == pytest.approx(5 / 6)
    assert found["recall"] == pytest.approx(1 / 2)
    assert found["fpr"] == pytest.approx(1 / 3)
    assert found["precision"] == pytest.approx(1 / 2)
    assert found["recall_at_1pct_fpr"] == pytest.approx(1 / 2)
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.6 + 0.1 + 0.2) / 5)


def test_ties_count_half() -> None:
    assert values([(1, 0.5), (0, 0.5)])["auroc"] == 0.5
    assert values([(1, 0.5), (0, 0.5), (1, 0.7), (0, 0.2)])["auroc"] == pytest.approx(3.5 / 4)


def test_a_threshold_cannot_split_a_tie() -> None:
    assert values([(1, 0.5), (0, 0.5)])["recall_at_1pct_fpr"] == 0.0


def test_one_in_a_hundred_may_be_a_false_alarm() -> None:
    benign = [(0, 0.1)] * 99
    assert values([(0, 0.9), (1, 0.8), *benign])["recall_at_1pct_fpr"] == 1.0
    assert values([(0, 0.9), (1, 0.8), *benign[1:]])["recall_at_1pct_fpr"] == 0.0


def test_what_does_not_exist_is_not_a_number() -> None:
    benign, harmful = values([(0, 0.1), (0, 0.9)]), values([(1, 0.1)])
    assert {m for m in METRICS if math.isnan(benign[m])} == {"auroc", "recall", "recall_at_1pct_fpr"}
    assert {m for m in METRICS if math.isnan(harmful[m])} == {"auroc", "fpr", "precision", "recall_at_1pct_fpr"}


def test_scores_that_are_only_flags_have_no_calibration() -> None:
    rows = sample([(1, 1.0), (0, 0.0)])
    flags = Sample(rows.harmful, rows.flagged, rows.scores, rows.cases, scored=False)
    assert math.isnan(estimate(flags, 10, 0).values["ece"])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=40))
def test_the_area_is_the_share_of_pairs_in_order(rows: list[tuple[int, int]]) -> None:
    harmful, benign = ([s for h, s in rows if h == label] for label in (1, 0))
    pairs = [(a > b) + (a == b) / 2 for a in harmful for b in benign]
    area = values([(h, s / 10) for h, s in rows])["auroc"]
    assert area == pytest.approx(sum(pairs) / len(pairs)) if pairs else math.isnan(area)


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = sample([(i % 2, (i * 7 % 13) / 13) for i in range(60)])
    one, same, other = (estimate(rows, 200, seed).interval("auroc") for seed in (1, 1, 2))
    assert one == same != other


def test_an_interval_holds_the_value_and_narrows_with_more_cases() -> None:
    rows = [(i % 2, ((i * 7 + i % 2 * 3) % 13) / 13) for i in range(52)]

    def width(times: int) -> float:
        found = estimate(sample(rows * times), 400, 0)
        low, high = found.interval("recall") or (math.nan, math.nan)
        assert low <= found.values["recall"] <= high
        return high - low

    assert width(16) < width(1) / 2


def test_rows_of_one_case_are_drawn_together() -> None:
    """Forty rows of four cases say no more than four rows."""
    rows = [(1, float(case % 2)) for case in range(4) for _ in range(10)]
    apart = estimate(sample(rows), 400, 0).interval("recall")
    together = estimate(sample(rows, cases=[i // 10 for i in range(40)]), 400, 0).interval("recall")
    assert together == (0.0, 1.0)
    assert apart is not None
    assert apart[0] > 0.2
    assert apart[1] < 0.8


def test_one_case_alone_has_no_interval() -> None:
    found = estimate(sample([(1, 0.9), (0, 0.1)], cases=[0, 0]), 50, 0)
    assert found.values["auroc"] == 1.0
    assert found.interval("auroc") is None


def test_many_resamples_of_many_rows_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from guardproxy.offline.evaluate import metrics

    rows = sample([(i % 2, i / 30) for i in range(30)])
    monkeypatch.setattr(metrics, "_CHUNK", 100)
    assert len(estimate(rows, 50, 0).replicates["auroc"]) == 50


def test_the_macro_average_counts_sources_alike() -> None:
    good, bad = sample([(1, 0.9), (0, 0.1)] * 40), sample([(1, 0.1), (0, 0.9)] * 20)
    found = macro([estimate(each, 100, 0) for each in (good, bad)])
    assert found.values["auroc"] == 0.5
    assert found.interval("auroc") == (0.5, 0.5)


def test_a_source_without_a_metric_is_left_out_of_its_mean() -> None:
    good, benign = sample([(1, 0.9), (0, 0.1)]), sample([(0, 0.9), (0, 0.1)])
    found = macro([estimate(each, 10, 0) for each in (good, benign)])
    assert found.values["recall"] == 1.0
    assert found.values["fpr"] == 0.25


def test_few_rows_of_a_label_do_not_count_in_the_macro_average() -> None:
    assert sample([(1, 0.9), (0, 0.1)] * 20).counts_in_macro
    assert not sample([(1, 0.9)] * 19 + [(0, 0.1)] * 100).counts_in_macro


def test_curves_begin_and_end_in_the_corners() -> None:
    alarms, hits = roc(sample([(1, 0.9), (0, 0.6), (1, 0.6), (0, 0.1)]))
    assert list(alarms) == [0.0, 0.0, 0.5, 1.0]
    assert list(hits) == [0.0, 0.5, 1.0, 1.0]


def test_reliability_counts_by_score() -> None:
    assert reliability(sample([(1, 1.0), (0, 0.95), (0, 0.05)])) == [
        (pytest.approx(0.05), 0.0, 1),
        (pytest.approx(0.975), 0.5, 2),
    ]
