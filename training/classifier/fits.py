"""What is fitted on the samples: how results read, the forest, and how the text model's opinion is added. Every margin
that something is fitted on further down comes from a model that saw nothing of that row's family."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.linear_model import LogisticRegression

from guardproxy.classifier.first_stage import WORDING, Blend, Scale, Unordered, features
from guardproxy.classifier.ngrams import NgramModel
from guardproxy.classifier.trees import Forest
from guardproxy.classifier.units import units_of
from guardproxy.provenance import FEATURES
from training.classifier.figures import by_benign_source
from training.classifier.forest import grow
from training.classifier.rows import Array, Mask, Numbers, Rows
from training.classifier.wording import Documents, fit_units, margins

NAMES = (*FEATURES, *WORDING)
UNORDERED = Unordered(wording=-1.5, cue=0.3, most=0.0)
ASKED = 0.3  # of clean results, in the mean over sources: what at most goes on to the text model


class ResultWording:
    """How results read. `model(family)` has not seen the family, nor what is left out with it ("" for nothing left
    out); each is fitted when it is first asked for."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._documents = Documents([units_of(sample.result_text).texts for sample in rows.samples])
        self._made: dict[str, NgramModel] = {}

    def model(self, left_out: str) -> NgramModel:
        groups = self._rows.groups
        group = left_out if left_out in groups else ""
        if group not in self._made:
            chosen = np.flatnonzero(groups != group)
            self._made[group] = fit_units(self._documents, self._rows.harmful, self._rows.weights, chosen)
        return self._made[group]

    @cached_property
    def unseen(self) -> Array:
        """The rows' margins by models that have not seen their families."""
        found = np.zeros(len(self._rows.samples))
        for group in sorted(set(self._rows.groups)):
            inside = self._rows.groups == group
            found[inside] = margins(self.model(group), self._documents)[inside]
        return found


@dataclass(frozen=True)
class Forested:
    """`unseen` are the probabilities of all calls by forests that have not seen their families."""

    forest: Forest
    scale: Scale
    unseen: Array


def fit_calls(rows: Rows, ordering: Sequence[Sequence[float]]) -> Forested:
    """`ordering` is of every call how much each result of its conversation reads like an order."""
    x = np.array([features(s.provenance, said) for s, said in zip(rows.samples, ordering, strict=True)])

    def fit(chosen: Numbers) -> Callable[[Numbers], Array]:
        forest = grow(NAMES, x[chosen], rows.harmful[chosen], rows.weights[chosen].tolist())
        return lambda asked: np.array([UNORDERED.margin(forest.margin(x[i].tolist()), x[i]) for i in asked])

    unseen = rows.unseen(fit)
    scale = fit_scale(unseen, rows.harmful, rows.weights)
    return Forested(grow(NAMES, x, rows.harmful, rows.weights.tolist()), scale, probabilities(scale, unseen))


def ordering(rows: Rows, wording: ResultWording) -> list[list[float]]:
    """How much each result of each call's conversation reads like an order, by a model that has not seen its family."""
    texts = sorted({result.text for sample in rows.samples for result in sample.request.results})
    documents = Documents([units_of(text).texts for text in texts])
    place = {text: i for i, text in enumerate(texts)}
    by_model: dict[int, Array] = {}
    found = []
    for sample in rows.samples:
        model = wording.model(sample.family)
        if id(model) not in by_model:
            by_model[id(model)] = margins(model, documents)
        found.append([float(by_model[id(model)][place[result.text]]) for result in sample.request.results])
    return found


def fit_scale(margins: Array, harmful: Mask, weights: Array) -> Scale:
    """Platt's, both labels counting alike."""
    model = LogisticRegression(C=1e6).fit(margins[:, None], harmful, weights)
    return Scale(float(model.coef_[0, 0]), float(model.intercept_[0]))


def probabilities(scale: Scale, margins: Array) -> Array:
    return np.array([scale.probability(float(margin)) for margin in margins])


@dataclass(frozen=True)
class Cascade:
    """`unseen` are the probabilities of both stages together, by fits that have not seen the row's family."""

    scale: Scale
    blend: Blend
    unseen: Array


def fit_results(rows: Rows, first: Array, text: Array) -> Cascade:
    """`first` and `text` are the margins of the two stages. Only rows that the text model was not taught are learned
    from, or its word would count for more than it is worth."""
    scale = fit_scale(first, rows.harmful, rows.weights)
    alone = probabilities(scale, first)
    low = _asks_from(rows, alone)

    def fit(chosen: Numbers) -> Callable[[Numbers], Array]:
        blend = _blend(rows, first, text, chosen, low)
        return lambda asked: np.array([blend.worse(float(alone[i]), float(first[i]), float(text[i])) for i in asked])

    blend = _blend(rows, first, text, np.flatnonzero(~rows.taught), low)
    return Cascade(scale, blend, rows.unseen(fit, ~rows.taught))


def _blend(rows: Rows, first: Array, text: Array, chosen: Numbers, low: float) -> Blend:
    both = np.column_stack([first, text])[chosen]
    model = LogisticRegression(C=1e6).fit(both, rows.harmful[chosen], rows.weights[chosen])
    slopes = model.coef_[0]
    return Blend(float(slopes[0]), float(slopes[1]), float(model.intercept_[0]), low, 1.0)


def _asks_from(rows: Rows, alone: Array) -> float:
    """The lowest probability from which on at most `ASKED` of clean results are asked about."""
    candidates = np.unique(np.floor(alone * 1e3) / 1e3)
    shares = [np.mean(list(by_benign_source(rows.samples, rows.harmful, alone >= low).values())) for low in candidates]
    return float(candidates[np.argmax(np.array(shares) <= ASKED)])


@dataclass(frozen=True)
class Requests:
    """The text model judges requests alone. `unseen` as of `Cascade`."""

    scale: Scale
    unseen: Array


def fit_requests(rows: Rows, text: Array) -> Requests:
    def scale(chosen: Numbers) -> Scale:
        return fit_scale(text[chosen], rows.harmful[chosen], rows.weights[chosen])

    def fit(chosen: Numbers) -> Callable[[Numbers], Array]:
        found = scale(chosen)
        return lambda asked: probabilities(found, text[asked])

    return Requests(scale(np.flatnonzero(~rows.taught)), rows.unseen(fit, ~rows.taught))
