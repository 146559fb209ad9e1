from collections import Counter

from bench.arrivals import poisson


def test_arrivals_are_in_order_and_in_time() -> None:
    arrivals = poisson(200, 5, ("direct", "proxied"), seed=1)
    times = [arrival.at_ns for arrival in arrivals]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 5_000_000_000


def test_every_target_gets_its_rate() -> None:
    counts = Counter(arrival.target for arrival in poisson(200, 50, ("direct", "proxied"), seed=1))
    assert set(counts) == {"direct", "proxied"}
    assert all(abs(count - 10_000) < 500 for count in counts.values())


def test_the_seed_alone_decides() -> None:
    first, again, other = (poisson(50, 2, ("direct", "proxied"), seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
