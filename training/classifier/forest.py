"""Grows the forest of the first stage."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from guardproxy.classifier.trees import LEAF, Forest, Tree

TREES = 160
PARAMETERS = {
    "objective": "binary",
    "num_leaves": 16,
    "learning_rate": 0.05,
    "min_data_in_leaf": 20,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}


def grow(
    names: Sequence[str], x: npt.NDArray[np.float64], y: npt.NDArray[np.bool_], weights: Sequence[float]
) -> Forest:
    """The same data give the same forest."""
    booster = lightgbm.train(PARAMETERS, lightgbm.Dataset(x, y, weight=weights), TREES)
    dump = booster.dump_model()
    return Forest(tuple(names), 0.0, tuple(_tree(each["tree_structure"]) for each in dump["tree_info"]))


def _tree(root: Mapping[str, Any]) -> Tree:
    """LightGBM goes left where a feature is at most the threshold, as we do."""
    nodes = list(_nodes(root))
    number = {id(node): place for place, node in enumerate(nodes)}
    inner = ["split_feature" in node for node in nodes]
    pairs = list(zip(nodes, inner, strict=True))
    return Tree(
        features=tuple(int(n["split_feature"]) if i else LEAF for n, i in pairs),
        thresholds=tuple(float(n["threshold"]) if i else 0.0 for n, i in pairs),
        left=tuple(number[id(n["left_child"])] if i else 0 for n, i in pairs),
        right=tuple(number[id(n["right_child"])] if i else 0 for n, i in pairs),
        values=tuple(0.0 if i else round(float(n["leaf_value"]), 5) for n, i in pairs),
    )


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    if "split_feature" in node:
        yield from _nodes(node["left_child"])
        yield from _nodes(node["right_child"])
