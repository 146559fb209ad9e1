"""Boosted regression trees, evaluated. Pure; grown elsewhere (`training/`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAF = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes by number, the root first. A node with feature `LEAF` holds `values`; any other goes left if its feature is
    at most its threshold. Children have higher numbers than their parent, so a walk ends."""

    features: tuple[int, ...]
    thresholds: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = {len(part) for part in (self.features, self.thresholds, self.left, self.right, self.values)}
        if len(sizes) != 1 or not self.features:
            raise ValueError("a tree's lists are empty or not equally long")
        for node, feature in enumerate(self.features):
            below = (self.left[node], self.right[node])
            if feature != LEAF and not (feature >= 0 and all(node < child < len(self.features) for child in below)):
                raise ValueError(f"node {node} of a tree has no place to go")

    def value(self, x: Sequence[float]) -> float:
        features, thresholds, left, right = self.features, self.thresholds, self.left, self.right
        node = 0
        while (feature := features[node]) != LEAF:
            node = left[node] if x[feature] <= thresholds[node] else right[node]
        return self.values[node]


@dataclass(frozen=True, slots=True)
class Forest:
    """The sum of its trees is a margin, in log-odds. `names` are the features that it was grown on, in order."""

    names: tuple[str, ...]
    bias: float
    trees: tuple[Tree, ...]

    def __post_init__(self) -> None:
        if any(feature >= len(self.names) for tree in self.trees for feature in tree.features):
            raise ValueError("a tree asks for a feature that has no name")

    def margin(self, x: Sequence[float]) -> float:
        return self.bias + sum(tree.value(x) for tree in self.trees)


def forest_of(tree: Mapping[str, Any]) -> Forest:
    """From its JSON form, as the model file holds it. Raises ValueError for one that could not be evaluated."""
    try:
        parts = ("features", "thresholds", "left", "right", "values")
        trees = tuple(Tree(*(tuple(each[part]) for part in parts)) for each in tree["trees"])
        return Forest(tuple(map(str, tree["names"])), float(tree["bias"]), trees)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the forest lacks a usable field: {error}") from error
