from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import DIRECT, figures, markdown, percentile, ratios
from bench.segment import Phase, Segment

MS = 1_000_000


def segment(phase: Phase, target: str, number: int, ms: list[float], **more: Any) -> Segment:
    times = tuple(int(value * MS) for value in ms)
    beside = "proxy" if target == DIRECT else ""
    filled: dict[str, Any] = {"seconds": 1.0, "latency_ns": times, "first_ns": times, "late_ns": (0,)} | more
    return Segment(phase=phase, target=target, beside=beside, round=number, **filled)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5], 0.0, 5),
        ([5], 0.99, 5),
        ([1, 2], 0.5, 1.5),
        ([3, 1, 2], 0.5, 2),
        ([1, 2, 3, 4, 5], 0.25, 2),
        ([0, 10], 0.9, 9),
        (list(range(101)), 0.99, 99),
        (list(range(101)), 1.0, 100),
    ],
)
def test_percentile(values: list[int], share: float, expected: float) -> None:
    assert percentile(values, share) == pytest.approx(expected)


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_grow_with_their_share_and_stay_in_range(values: list[int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert min(values) <= percentile(values, low) <= percentile(values, high) <= max(values)


def test_added_latency_pairs_each_round_with_its_own_direct_run() -> None:
    """The second round ran on a slower machine, direct and proxied alike; the third was disturbed."""
    segments = [
        segment(Phase.PACED, DIRECT, 0, [20.0]),
        segment(Phase.PACED, "proxy", 0, [21.0]),
        segment(Phase.PACED, DIRECT, 1, [40.0]),
        segment(Phase.PACED, "proxy", 1, [41.5]),
        segment(Phase.PACED, DIRECT, 2, [20.0]),
        segment(Phase.PACED, "proxy", 2, [90.0]),
    ]
    assert figures(segments, "proxy")["added_p50_ms"] == pytest.approx(1.5)
    assert figures(segments, "proxy")["direct_p50_ms"] == pytest.approx(20)


def test_first_token_comes_from_the_first_byte() -> None:
    segments = [
        segment(Phase.STREAM, DIRECT, 0, [180.0], first_ns=(20 * MS,)),
        segment(Phase.STREAM, "proxy", 0, [190.0], first_ns=(23 * MS,)),
    ]
    assert figures(segments, "proxy")["added_ttft_ms"] == pytest.approx(3)


def test_cost_rate_and_shares_of_a_closed_loop() -> None:
    found = figures([segment(Phase.CLOSED, "proxy", 0, [1.0] * 4000, seconds=2.0, cpu_s=1.6, core_busy_s=1.9)], "proxy")
    assert found["requests_per_s"] == pytest.approx(2000)
    assert found["cpu_us_per_request"] == pytest.approx(400)
    assert found["others_core_share"] == pytest.approx(0.15)


def test_a_chunk_costs_the_slope_between_short_and_long_streams() -> None:
    """Ten streams each: 1 ms of CPU for a stream and 0.1 ms for each of its chunks."""
    segments = [
        segment(Phase.FEW_CHUNKS, "proxy", 0, [1.0] * 10, cpu_s=10 * (0.001 + 8 * 0.0001), chunks=8),
        segment(Phase.MANY_CHUNKS, "proxy", 0, [1.0] * 10, cpu_s=10 * (0.001 + 72 * 0.0001), chunks=72),
    ]
    assert figures(segments, "proxy")["cpu_us_per_streamed_chunk"] == pytest.approx(100)


def test_memory_and_cold_start_are_medians_of_what_was_measured() -> None:
    starts = [
        segment(Phase.START, "proxy", number, [], cold_start_s=seconds) for number, seconds in enumerate((1, 9, 2))
    ]
    found = figures([*starts, segment(Phase.START, "proxy", 3, [], rss_mb=120.0)], "proxy")
    assert (found["cold_start_s"], found["rss_mb"]) == (2, 120)


def test_a_figure_that_was_not_measured_is_none_and_not_zero() -> None:
    assert set(figures([], "proxy").values()) == {None}


def test_other_targets_do_not_mix_in() -> None:
    mine = segment(Phase.CLOSED, "proxy", 0, [1.0] * 10)
    other = segment(Phase.CLOSED, "passthrough", 0, [1.0] * 99)
    assert figures([mine, other], "proxy")["requests_per_s"] == 10


def test_ratios_leave_out_what_cannot_be_divided() -> None:
    mine = {"added_p50_ms": 1.0, "rss_mb": 90.0, "cold_start_s": None, "added_ttft_ms": 2.0}
    other = {"added_p50_ms": 0.5, "rss_mb": None, "cold_start_s": 1.0, "added_ttft_ms": 0.0}
    assert ratios(mine, other) == {"added_p50_ms": 2.0}


def test_a_table_has_a_column_for_each_server() -> None:
    table = markdown(
        {"proxy": {"rss_mb": 123.4, "cold_start_s": 1.2345}, "other": {"rss_mb": None, "cold_start_s": 0.5}}
    )
    assert table.splitlines() == [
        "| | proxy | other |",
        "|---|---:|---:|",
        "| `rss_mb` | 123 | - |",
        "| `cold_start_s` | 1.23 | 0.5 |",
    ]
