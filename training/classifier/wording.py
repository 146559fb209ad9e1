"""Fits the models of wording: which words and word pairs make a text harmful. Multiple-instance for results: of a
harmful result at least one unit must say so, of a clean one none may."""

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from guardproxy.classifier.ngrams import BUCKETS, NgramModel, buckets

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ROUNDS = 3  # of choosing each result's worst unit and fitting anew
WORST_OF_CLEAN = 3  # units of a clean result that are learned from


class Documents:
    """Texts in units, counted once: a matrix with a row for each unit."""

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        self.sizes = np.array([len(units) for units in documents])
        self.starts = np.cumsum([0, *self.sizes[:-1]])
        self.matrix = _matrix([buckets(unit) for units in documents for unit in units])

    def whole(self) -> csr_matrix:
        """A row for each document: what any of its units holds."""
        owners = np.repeat(np.arange(len(self.sizes)), self.sizes)
        ones = np.ones(len(owners))
        chooser = csr_matrix((ones, (owners, np.arange(len(owners)))), shape=(len(self.sizes), len(owners)))
        return (chooser @ self.matrix).sign()


def fit_units(documents: Documents, harmful: Mask, weights: Array, chosen: npt.NDArray[np.int64]) -> NgramModel:
    """From the documents numbered in `chosen`."""
    model = _regression(0.1).fit(documents.whole()[chosen], harmful[chosen], weights[chosen])
    owners = np.repeat(np.arange(len(documents.sizes)), documents.sizes)
    learnt = np.isin(owners, chosen)
    taken = np.where(harmful, 1, np.minimum(WORST_OF_CLEAN, documents.sizes))
    for _ in range(ROUNDS):
        order = np.lexsort((-model.decision_function(documents.matrix), owners))  # of each document the worst first
        rank = np.arange(len(owners)) - documents.starts[owners]
        rows = order[(rank < taken[owners]) & learnt]
        mine = owners[rows]
        model = _regression(0.3).fit(documents.matrix[rows], harmful[mine], weights[mine] / taken[mine])
    return _quantised(model)


def margins(model: NgramModel, documents: Documents) -> Array:
    """Of each document its worst unit's."""
    weights = np.frombuffer(model.weights, dtype=np.int8).astype(float) * model.scale
    return np.maximum.reduceat(documents.matrix @ weights + model.bias, documents.starts)


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=300)


def _quantised(model: LogisticRegression) -> NgramModel:
    weights = model.coef_[0]
    scale = float(np.abs(weights).max() / 127)
    return NgramModel(
        array("b", np.round(weights / scale).astype(np.int8).tobytes()), scale, float(model.intercept_[0])
    )


def _matrix(rows: Sequence[set[int]]) -> csr_matrix:
    indices = [bucket for row in rows for bucket in sorted(row)]
    starts = np.cumsum([0, *map(len, rows)])
    return csr_matrix((np.ones(len(indices)), indices, starts), shape=(len(rows), BUCKETS))
