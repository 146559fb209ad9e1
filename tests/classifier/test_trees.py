from typing import Any

import pytest

from guardproxy.classifier.trees import LEAF, Forest, Tree, forest_of

STUMP = Tree((0, LEAF, LEAF), (0.5, 0.0, 0.0), (1, 0, 0), (2, 0, 0), (0.0, -1.0, 2.0))


@pytest.mark.parametrize(("x", "value"), [(0.0, -1.0), (0.5, -1.0), (0.5000001, 2.0)])
def test_a_node_goes_left_up_to_its_threshold(x: float, value: float) -> None:
    assert STUMP.value([x]) == value


def test_a_forest_is_the_sum_of_its_trees() -> None:
    assert Forest(("a",), 0.25, (STUMP, STUMP)).margin([1.0]) == 4.25


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
