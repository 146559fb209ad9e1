"""Boosted regression trees, evaluated. Pure; grown elsewhere (`training/`).

A forest is not walked tree by tree. Every leaf is a bit of one long number, each tree's in a field of its own, the
leftmost lowest. A node that sends its input to the right puts the leaves on its left out of reach; of one feature the
nodes that do so are those with a threshold below its value, so what is left within reach is looked up by bisection. The
lowest bit that all features leave in a field is the leaf that a walk would have ended at.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from struct import Struct
from typing import Any, Final

LEAF = -1
_FIELDS: Final = {16: "H", 32: "I", 64: "Q"}  # bits of a field, and how `struct` calls it


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


class _Table:
    """The leaves of many trees, and which are out of reach for which value of which feature."""

    __slots__ = ("_all", "_fields", "_leaves", "_reach")

    def __init__(self, trees: Sequence[Tree]) -> None:
        read = [_read(tree) for tree in trees]
        most = max((len(leaves) for leaves, _ in read), default=0)
        width = next((width for width in _FIELDS if width >= most), None)
        if width is None:
            raise ValueError(f"a tree has more than {max(_FIELDS)} leaves")
        self._fields = Struct(f"<{len(read)}{_FIELDS[width]}")
        self._all = (1 << len(read) * width) - 1
        self._leaves = [{1 << i: value for i, value in enumerate(leaves)} for leaves, _ in read]
        lost: dict[int, dict[float, int]] = {}  # by feature and threshold: what is out of reach for a greater value
        for place, (_, splits) in enumerate(read):
            for feature, threshold, bits in splits:
                at = lost.setdefault(feature, {})
                at[threshold] = at.get(threshold, 0) | bits << place * width
        self._reach = [(feature, *_cumulated(at, self._all)) for feature, at in sorted(lost.items())]

    def values(self, x: Sequence[float]) -> list[float]:
        """Of the leaf that each tree ends at."""
        within = self._all
        for feature, thresholds, reach in self._reach:
            within &= reach[bisect_left(thresholds, x[feature])]
        fields = self._fields.unpack(within.to_bytes(self._fields.size, "little"))
        return [leaves[field & -field] for leaves, field in zip(self._leaves, fields, strict=True)]


def _cumulated(lost: Mapping[float, int], reach: int) -> tuple[list[float], list[int]]:
    """Thresholds in order, and what is within reach above the first n of them, for every n."""
    thresholds = sorted(lost)
    return thresholds, list(accumulate((lost[t] for t in thresholds), lambda kept, bits: kept & ~bits, initial=reach))


def _read(tree: Tree) -> tuple[list[float], list[tuple[int, float, int]]]:
    """The values of its leaves from left to right, and of every node its feature, threshold and the leaves on its left
    as bits."""
    leaves: list[float] = []
    splits: list[tuple[int, float, int]] = []
    walk: list[tuple[int, int]] = [(0, -1)]  # nodes, and at which leaf their left side began once it is done
    while walk and len(leaves) <= max(_FIELDS):
        node, began = walk.pop()
        if tree.features[node] == LEAF:
            leaves.append(tree.values[node])
        elif began < 0:
            walk += [(node, len(leaves)), (tree.left[node], -1)]
        else:
            splits.append((tree.features[node], tree.thresholds[node], (1 << len(leaves)) - (1 << began)))
            walk.append((tree.right[node], -1))
    return leaves, splits


@dataclass(frozen=True, slots=True)
class Forest:
    """The sum of its trees is a margin, in log-odds. `names` are the features that it was grown on, in order."""

    names: tuple[str, ...]
    bias: float
    trees: tuple[Tree, ...]
    _table: _Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if any(feature >= len(self.names) for tree in self.trees for feature in tree.features):
            raise ValueError("a tree asks for a feature that has no name")
        object.__setattr__(self, "_table", _Table(self.trees))

    def margin(self, x: Sequence[float]) -> float:
        """Of numbers none of which is NaN."""
        return self.bias + sum(self._table.values(x))


def forest_of(tree: Mapping[str, Any]) -> Forest:
    """From its JSON form, as the model file holds it. Raises ValueError for one that could not be evaluated."""
    try:
        parts = ("features", "thresholds", "left", "right", "values")
        trees = tuple(Tree(*(tuple(each[part]) for part in parts)) for each in tree["trees"])
        return Forest(tuple(map(str, tree["names"])), float(tree["bias"]), trees)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the forest lacks a usable field: {error}") from error
