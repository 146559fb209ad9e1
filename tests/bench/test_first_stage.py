"""A small run of the benchmark: every figure is there, and is one."""

import asyncio

from bench.first_stage import figures


def test_a_small_run() -> None:
    found = asyncio.run(figures(pairs=1, rounds=1))
    assert found["calls"] > 1
    assert found["results"] > 1
    spreads = [*found["us_of_cpu"].values(), *found["us_of_cpu_per_1000_characters"].values()]
    assert len(spreads) == 5
    assert all(0 < spread["p50"] <= spread["p90"] for spread in spreads)
