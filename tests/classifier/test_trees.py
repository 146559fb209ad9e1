from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.trees import LEAF, Forest, Tree, forest_of

STUMP = Tree((0, LEAF, LEAF), (0.5, 0.0, 0.0), (1, 0, 0), (2, 0, 0), (0.0, -1.0, 2.0))


@pytest.mark.parametrize(("x", "value"), [(0.0, -1.0), (0.5, -1.0), (0.5000001, 2.0)])
def test_a_node_goes_left_up_to_its_threshold(x: float, value: float) -> None:
    assert Forest(("a",), 0.0, (STUMP,)).margin([x]) == value


def test_a_forest_is_the_sum_of_its_trees() -> None:
    assert Forest(("a",), 0.25, (STUMP, STUMP)).margin([1.0]) == 4.25


NUMBERS = st.sampled_from([-1.5, -1.0, 0.0, 0.25, 0.25000000001, 3.0])
GROWN = st.recursive(st.floats(-1, 1), lambda below: st.tuples(st.integers(0, 3), NUMBERS, below, below), max_leaves=40)


def tree_of(grown: Any) -> Tree:
    """From `(feature, threshold, left, right)` or a leaf's value."""
    nodes: list[Any] = [grown]
    rows: list[tuple[int, float, int, int, float]] = []
    for node in nodes:  # which grows meanwhile
        if isinstance(node, tuple):
            rows.append((node[0], node[1], len(nodes), len(nodes) + 1, 0.0))
            nodes += node[2:]
        else:
            rows.append((LEAF, 0.0, 0, 0, node))
    return Tree(*zip(*rows, strict=True))


def walked(grown: Any, x: Sequence[float]) -> float:
    while isinstance(grown, tuple):
        feature, threshold, left, right = grown
        grown = left if x[feature] <= threshold else right
    return float(grown)


@given(st.lists(GROWN, max_size=6), st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_every_tree_ends_where_a_walk_does(grown: list[Any], xs: list[tuple[float, ...]]) -> None:
    forest = Forest(("a", "b", "c", "d"), 0.125, tuple(map(tree_of, grown)))
    for x in xs:
        assert forest.margin(x) == 0.125 + sum(walked(tree, x) for tree in grown)


@pytest.mark.parametrize("leaves", [16, 17, 33, 64])
def test_a_tree_of_many_leaves(leaves: int) -> None:
    grown: Any = 0.0
    for value in range(1, leaves):
        grown = (0, float(leaves - value), grown, float(value))
    forest = Forest(("a",), 0.0, (tree_of(grown), STUMP))
    for x in range(-1, leaves + 1):
        assert forest.margin([float(x)]) == walked(grown, [float(x)]) + (2.0 if x > 0.5 else -1.0)


def test_a_tree_of_more_leaves_than_can_be_read_is_refused() -> None:
    grown: Any = 0.0
    for _ in range(64):
        grown = (0, 0.0, grown, 1.0)
    with pytest.raises(ValueError, match="more than 64 leaves"):
        Forest(("a",), 0.0, (tree_of(grown),))


def test_branches_that_meet_again_and_again_are_refused_at_once() -> None:
    """Sixty nodes, whose both children are the next: it would take 2**60 steps to see all leaves."""
    size = 60
    below = tuple(range(1, size + 1))
    tree = Tree((*(0,) * size, LEAF), (*(0.0,) * size, 0.0), (*below, 0), (*below, 0), (*(0.0,) * size, 1.0))
    with pytest.raises(ValueError, match="leaves"):
        Forest(("a",), 0.0, (tree,))


def as_json() -> dict[str, Any]:
    tree = {"features": [0, -1, -1], "thresholds": [0.5, 0, 0], "left": [1, 0, 0], "right": [2, 0, 0]}
    return {"names": ["a"], "bias": 0.25, "trees": [tree | {"values": [0, -1, 2]}]}


def test_it_is_read_from_json() -> None:
    assert forest_of(as_json()).margin([1.0]) == 2.25


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda f: f.pop("bias"), "usable field"),
        (lambda f: f["trees"][0].pop("left"), "usable field"),
        (lambda f: f["trees"][0].update(left=[0, 0, 0]), "no place to go"),
        (lambda f: f["trees"][0].update(right=[3, 0, 0]), "no place to go"),
        (lambda f: f["trees"][0].update(values=[0]), "equally long"),
        (lambda f: f["trees"][0].update(features=[-2, -1, -1]), "no place to go"),
        (lambda f: f.update(names=[]), "no name"),
    ],
)
def test_a_forest_that_could_not_be_walked_is_refused(fault: Any, said: str) -> None:
    tree = as_json()
    fault(tree)
    with pytest.raises(ValueError, match=said):
        forest_of(tree)
