"""What a bag of words would have said: the yardstick that any better model has to beat.

Words and pairs of words, hashed, in a logistic regression that saw no row of the judged row's family. Needs numpy.
"""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from guardproxy import strict_json
from guardproxy.offline.evaluate.metrics import Floats
from guardproxy.offline.evaluate.rows import Kind, Row

WIDTH: Final = 1 << 16
MAX_WORDS: Final = 2000  # of a row
FALSE_POSITIVES: Final = 0.01  # of the benign rows of the other families: where its threshold is put
_SPARE: Final = 5  # every fifth row of the other families is for the threshold alone
_PENALTY: Final = 1e-4
_STEPS: Final = 150
_RATE: Final = 0.05
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Opinion:
    """By row: a probability, and whether it is over the threshold. NaN and False where there was nothing to learn."""

    scores: Floats
    flagged: NDArray[np.bool_]


@dataclass(slots=True)
class Bags:
    """Rows of one kind as bags of hashed words, one after the other."""

    features: "array[int]" = field(default_factory=lambda: array("i"))
    ends: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, row: Row) -> None:
        self.features.extend(features_of(row))
        self.ends.append(len(self.features))


def features_of(row: Row) -> list[int]:
    words = [word.casefold() for word in _WORD.findall(_text(row))[:MAX_WORDS]]
    pairs = (f"{a} {b}" for a, b in pairwise(words))
    return sorted({crc32(each.encode("utf-8", "surrogatepass")) % WIDTH for each in (*words, *pairs)})


def _text(row: Row) -> str:
    """Only what is judged: with the rest of the conversation a bag of words learns where a row comes from."""
    match row.kind:
        case Kind.TOOL_CALL:
            assert row.call is not None
            return f"{row.call['name']} {strict_json.encode(row.call['arguments']).decode()}"
        case Kind.TOOL_RESULT:
            return row.result or ""
        case Kind.USER_REQUEST:
            return row.user_task


def opinions(bags: Bags, harmful: Sequence[bool], families: Sequence[str]) -> Opinion:
    """Each family judged by a model of all others."""
    labels, names = np.array(harmful, dtype=bool), np.array(families)
    matrix = _Matrix.of(bags)
    spare = np.arange(len(labels)) % _SPARE == 0  # not trained on, as a model knows its own rows too well
    scores, flagged = np.full(len(labels), np.nan), np.zeros(len(labels), dtype=bool)
    for family in sorted(set(families)):
        held_out = names == family
        seen = ~held_out & ~spare
        if len(set(labels[seen])) < 2:
            continue
        logits = matrix.times(_train(matrix, labels, seen))
        threshold = _threshold(logits[~held_out & spare & ~labels])
        scores[held_out] = _sigmoid(logits[held_out])
        flagged[held_out] = logits[held_out] > threshold
    return Opinion(scores, flagged)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Sparse rows; the values of a row are equal, and its length is 1. The last weight is the intercept."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Floats
    count: int

    @classmethod
    def of(cls, bags: Bags) -> "_Matrix":
        ends = np.array(bags.ends, dtype=np.int64)
        sizes = np.diff(ends, prepend=0)
        rows = np.repeat(np.arange(len(ends)), sizes)
        columns = np.array(bags.features, dtype=np.int64)
        return cls(rows, columns, (1 / np.sqrt(np.maximum(sizes, 1)))[rows], len(ends))

    def times(self, weights: Floats) -> Floats:
        products = self.values * weights[self.columns]
        logits: Floats = np.bincount(self.rows, products, minlength=self.count) + weights[-1]
        return logits

    def transposed_times(self, errors: Floats) -> Floats:
        gradient = np.bincount(self.columns, self.values * errors[self.rows], minlength=WIDTH)
        return np.append(gradient, errors.sum())


def _train(matrix: _Matrix, labels: NDArray[np.bool_], seen: NDArray[np.bool_]) -> Floats:
    """Both labels weigh the same. Adam over the whole set, so that nothing depends on an order."""
    weigh = np.where(labels, 0.5 / max((labels & seen).sum(), 1), 0.5 / max((~labels & seen).sum(), 1)) * seen
    weights, mean, square = np.zeros(WIDTH + 1), np.zeros(WIDTH + 1), np.zeros(WIDTH + 1)
    for step in range(1, _STEPS + 1):
        errors = (_sigmoid(matrix.times(weights)) - labels) * weigh
        gradient = matrix.transposed_times(errors) + _PENALTY * np.append(weights[:-1], 0.0)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        weights -= _RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return weights


def _threshold(benign: Floats) -> float:
    """Above it lie `FALSE_POSITIVES` of these. Without any, it is where both labels are as likely."""
    return float(np.quantile(benign, 1 - FALSE_POSITIVES)) if len(benign) else 0.0


def _sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
