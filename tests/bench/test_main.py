"""One whole run, small, against the mock standing in for the proxy: every phase runs and every figure is there."""

import os
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import by_server, measure, summary
from bench.measure import Scale
from bench.proxy import MOCK, Recipe
from bench.segment import read_segments, write_segments


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the benchmark pins to two cores")
@pytest.mark.timeout(60)
@pytest.mark.e2e
def test_a_whole_run(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    write_segments(samples, measure([Recipe("stand-in", MOCK)], Scale(rounds=1, seconds=0.2, warm_s=0.05), starts=1))
    found: dict[str, Any] = summary(by_server(list(read_segments(samples))), samples)
    assert [name for name, value in found.items() if value is None] == []
    assert found["server"] == "stand-in"
    assert found["requests_per_s"] > 100
    assert found["paced_core_share"] <= 0.5
    assert found["direct_p50_ms"] >= 20  # the upstream's own delay; no upper bound, the machine may be busy
    assert Path(found["samples"]) == samples
