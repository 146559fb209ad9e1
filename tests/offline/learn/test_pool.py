"""Nothing is forgotten, and the best is found in three ways."""

import pytest

from guardproxy.offline.learn.pool import Candidate, Pool
from guardproxy.offline.learn.scoring import Measured, Scoring, Share


def candidate(round: int, place: int = 1) -> Candidate:
    return Candidate(f"r{round:02}-{place}", round, f"text {round}-{place}", "grammar")


def counted(done: int, refused: int, over: int = 0, n: int = 20) -> Measured:
    return Measured(Share(done, n), Share(over, n), Share(refused, n), Share(n - refused, n))


def pool(*entries: tuple[Candidate, Measured]) -> Pool:
    measured = {each.id: found for each, found in entries}
    return Pool.of([each for each, _ in entries], measured, (20, 20), Scoring.BOUNDS)


def test_the_first_round_can_be_an_example_in_the_last() -> None:
    made = pool((candidate(1), counted(20, 20)), *((candidate(round), counted(15, 3)) for round in range(2, 9)))
    views = made.examples(2, tau=1.0)
    assert views is not None
    assert views.texts[0] == "text 1-1"
    assert len(made.entries) == 8


def test_three_views() -> None:
    both, works, refuses = candidate(1, 1), candidate(1, 2), candidate(1, 3)
    made = pool((both, counted(19, 19)), (works, counted(20, 0)), (refuses, counted(0, 20, over=20)))
    views = made.views(1)
    assert [view[0].candidate for view in (views.combined, views.perform, views.refuse)] == [both, works, refuses]
    assert views.texts == (both.text, works.text, refuses.text)


def test_below_tau_there_are_no_examples() -> None:
    made = pool((candidate(1), counted(20, 0)))
    assert made.examples(3, tau=1.0) is None
    assert made.examples(3, tau=0.1) is not None
    assert pool().examples(3, tau=0.0) is None


def test_what_was_asked_on_too_few_tasks_has_no_score() -> None:
    short = Measured(Share(15, 15), Share(0, 15), Share(20, 20), Share(0, 20))
    assert not pool((candidate(1), short)).entries
    assert not Pool.of([candidate(1)], {}, (20, 20), Scoring.BOUNDS).entries


def test_the_best_keeps_the_floor() -> None:
    strict, mild = candidate(1, 1), candidate(1, 2)
    made = pool((strict, counted(15, 20)), (mild, counted(19, 10)))
    assert made.best() is not None
    assert made.best().candidate is strict  # type: ignore[union-attr]
    assert made.best(floor=0.9).candidate is mild  # type: ignore[union-attr]
    assert made.best(floor=0.99) is None


def test_gentler_ones() -> None:
    strict, alike, mild, clumsy = (candidate(1, place) for place in range(1, 5))
    made = pool((strict, counted(19, 20)), (alike, counted(19, 20)), (mild, counted(19, 15)), (clumsy, counted(15, 9)))
    best = made.best()
    assert best is not None
    gentler = made.gentler(best)
    assert gentler is not None
    assert gentler.candidate is mild
    assert made.gentler(gentler) is None


@pytest.mark.parametrize(
    ("refused", "flat"), [([5, 5, 5, 5], True), ([5, 5, 5, 9], False), ([9, 5, 5, 5], True), ([5, 9, 5, 5], False)]
)
def test_three_rounds_without_a_better_one_are_flat(refused: list[int], flat: bool) -> None:
    made = pool(*((candidate(round), counted(20, hits)) for round, hits in enumerate(refused, start=1)))
    assert made.flat(4, patience=3) is flat
    assert not made.flat(3, patience=3)
