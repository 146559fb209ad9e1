"""What the search sees and what it does not."""

from collections.abc import Callable

from guardproxy.offline.learn.split import digest_of_tasks, split
from guardproxy.offline.learn.tasks import Kind, Task, read_tasks, shipped_files

TASKS = read_tasks(shipped_files()).tasks


def test_every_task_is_on_one_side_and_pairs_stay_together() -> None:
    parts = split(TASKS, 0.4, None)
    assert sorted(parts.tasks) == sorted(task.id for task in TASKS)
    assert {task.pair for task in parts.search}.isdisjoint(task.pair for task in parts.held_out)
    assert {task.domain for task in parts.held_out} == {task.domain for task in TASKS}
    assert 0.3 < len(parts.held_out) / len(TASKS) < 0.5


def test_the_order_of_the_files_does_not_matter() -> None:
    one, other = split(TASKS, 0.4, None), split(TASKS[::-1], 0.4, None)
    assert digest_of_tasks(one.search) == digest_of_tasks(other.search) != digest_of_tasks(one.held_out)


def test_a_limit_draws_from_all_domains() -> None:
    parts = split(TASKS, 0.4, 8)
    for kind in Kind:
        assert len({task.domain for task in parts.search if task.kind is kind}) == 8
    assert len(parts.search) == 16
    assert parts.held_out == split(TASKS, 0.4, None).held_out


def test_small_sets_have_something_on_both_sides(task: Callable[..., Task]) -> None:
    pairs = [task(f"{place}-{kind}", kind, pair=str(place)) for place in range(2) for kind in Kind]
    parts = split(pairs, 0.05, None)
    assert len(parts.search) == len(parts.held_out) == 2


def test_the_gate_has_tasks_of_its_own() -> None:
    parts, without = split(TASKS, 0.4, None, 0.25), split(TASKS, 0.4, None)
    assert parts.held_out == without.held_out
    sides = [{task.pair for task in side} for side in (parts.search, parts.gate, parts.held_out)]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert sorted(parts.tasks) == sorted(task.id for task in TASKS)
    assert 0.2 < len(parts.gate) / len(without.search) < 0.3
    assert without.gate == ()
