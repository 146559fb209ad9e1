"""The first opinion on a call or a tool result, in microseconds: its wording, and where its values came from. Pure.

A forest is grown on the numbers of `guardproxy.provenance` and on how much the conversation's results read like orders
to the agent. How the call and the task are worded was tried too, and only told sources of data apart
(docs/classifier.md).
"""

import base64
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import Any, Final

from guardproxy.classifier.ngrams import BUCKETS, NgramModel
from guardproxy.classifier.serialise import MAX_BODY
from guardproxy.classifier.trees import Forest, forest_of
from guardproxy.classifier.units import units_of
from guardproxy.provenance import FEATURES, Provenance

VERSION: Final = "3"
WORDING: Final = ("result_wording",)
"""The forest's features beside those of provenance, after them."""

_MOST: Final = 4.0  # a margin beyond it, either way, says no more
_RESULT_WORDING: Final = len(FEATURES)
_STRONGEST_CUE: Final = FEATURES.index("strongest_cue")


@dataclass(frozen=True, slots=True)
class Scale:
    """From a margin to a probability: a logistic curve, fitted on sources not seen in training."""

    slope: float
    offset: float

    def probability(self, margin: float) -> float:
        z = self.slope * margin + self.offset
        return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities from which on a call is blocked, a call once a flagged result or request is in the conversation, a
    result flagged, and a request flagged."""

    call: float
    tainted: float
    result: float
    request: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.tainted <= self.call <= 1 and 0 <= self.result <= 1 and 0 <= self.request <= 1):
            raise ValueError("its thresholds are not 0 <= tainted <= call <= 1 and 0 <= result, request <= 1")


@dataclass(frozen=True, slots=True)
class Blend:
    """How the two stages' margins become one, and which of the first stage's probabilities are unsure enough to ask the
    second: those from `low` up to `high`."""

    first: float
    second: float
    offset: float
    low: float
    high: float

    def asks(self, probability: float) -> bool:
        return self.low <= probability < self.high

    def probability(self, first: float, second: float) -> float:
        return Scale(1.0, self.offset).probability(self.first * first + self.second * second)

    def worse(self, alone: float, first: float, second: float) -> float:
        """The blend of the margins where the second stage is asked, but never less than the first says `alone`."""
        return max(alone, self.probability(first, second)) if self.asks(alone) else alone


@dataclass(frozen=True, slots=True)
class Unordered:
    """Where no result reads like an order to the agent, none can have hijacked the call, wherever its values came from:
    its margin is `most` at most. That holds where the worst result's wording has a margin below `wording` and the
    strongest cue is below `cue`."""

    wording: float
    cue: float
    most: float

    def margin(self, margin: float, features: Sequence[float]) -> float:
        ordered = features[_RESULT_WORDING] >= self.wording or features[_STRONGEST_CUE] >= self.cue
        return margin if ordered else min(margin, self.most)


_SECOND_ALONE: Final = Blend(0.0, 1.0, 0.0, 0.0, math.inf)


@dataclass(frozen=True, slots=True)
class ResultOpinion:
    """`margin` is of the unit that reads most like an order to the agent. `body` is what the second stage reads of the
    result: all of it, or its worst units. `truncated` says that part of the result was not read here."""

    margin: float
    probability: float
    body: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class CallOpinion:
    margin: float
    probability: float


@dataclass(frozen=True, slots=True)
class FirstStage:
    """Loaded by `first_stage_of`. `revision` names the file that it came from. `request_scale` is applied to what the
    second stage says of a request, which only it reads; None where it reads none."""

    results: NgramModel
    forest: Forest
    result_scale: Scale
    call_scale: Scale
    thresholds: Thresholds
    call_blend: Blend | None  # None where the second stage does not read this
    result_blend: Blend | None
    request_scale: Scale | None = None
    unordered: Unordered | None = None  # None where no call's margin is bounded
    revision: str = ""

    @property
    def asks_second(self) -> bool:
        return any(each is not None for each in (self.call_blend, self.result_blend, self.request_scale))

    def replaced_by(self, threshold: float, tainted_threshold: float) -> "FirstStage":
        """For a model of the operator's, with its thresholds: it judges every call by itself, and reads no results and
        no requests."""
        thresholds = Thresholds(threshold, tainted_threshold, self.thresholds.result)
        return replace(self, thresholds=thresholds, call_blend=_SECOND_ALONE, result_blend=None, request_scale=None)

    def judge_result(self, text: str) -> ResultOpinion:
        units = units_of(text)
        margins = [self.results.margin(unit) for unit in units.texts]
        margin = max(margins)
        probability = self.result_scale.probability(margin)
        return ResultOpinion(margin, probability, body_of(units.texts, margins), units.truncated)

    def judge_call(self, features: Sequence[float], *, flagged: bool = False) -> CallOpinion:
        """`flagged`: a guard found something in the results or in what the user asks for."""
        margin = self.forest.margin(features)
        if self.unordered is not None and not flagged:
            margin = self.unordered.margin(margin, features)
        return CallOpinion(margin, self.call_scale.probability(margin))


def body_of(units: Sequence[str], margins: Sequence[float]) -> str:
    """The units as one text. Where they are more than `MAX_BODY` characters the worst of them by their margins, as many
    as have room, in the order in which they stand."""
    whole = " ".join(units)
    if len(whole) <= MAX_BODY:
        return whole
    room = MAX_BODY + 1
    kept: list[int] = []
    for place in sorted(range(len(units)), key=lambda place: (-margins[place], place)):
        room -= len(units[place]) + 1
        if room < 0:
            break
        kept.append(place)
    return " ".join(units[place] for place in sorted(kept))


def features(provenance: Provenance, results: Sequence[float]) -> tuple[float, ...]:
    """The numbers of `FEATURES` and `WORDING`. `results` are the margins of the conversation's results."""
    return (*provenance.features(), min(max((*results, -_MOST)), _MOST))


def first_stage_of(tree: Mapping[str, Any], revision: str) -> FirstStage:
    """From its JSON form. Raises ValueError that says what is wrong with it."""
    try:
        if tree["version"] != VERSION:
            raise ValueError(f"it is of version {tree['version']}, and this program reads {VERSION}")
        stage = FirstStage(
            results=_ngrams(tree["results"]),
            forest=forest_of(tree["forest"]),
            result_scale=Scale(*map(float, tree["scales"]["result_scale"])),
            call_scale=Scale(*map(float, tree["scales"]["call_scale"])),
            thresholds=Thresholds(**{each.name: float(tree["thresholds"][each.name]) for each in fields(Thresholds)}),
            call_blend=_blend(tree["blends"]["call_blend"]),
            result_blend=_blend(tree["blends"]["result_blend"]),
            request_scale=_scale(tree["scales"]["request_scale"]),
            unordered=None if tree["unordered"] is None else Unordered(*map(float, tree["unordered"])),
            revision=revision,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks a usable field: {error}") from error
    if stage.forest.names != (*FEATURES, *WORDING):
        raise ValueError("its forest was grown on other features than this version computes")
    return stage


def tree_of(stage: FirstStage) -> dict[str, Any]:
    """Its JSON form, as `first_stage_of` reads it."""
    forest = stage.forest
    parts = ("features", "thresholds", "left", "right", "values")
    return {
        "version": VERSION,
        "results": _packed(stage.results),
        "scales": {name: _pair(getattr(stage, name)) for name in ("result_scale", "call_scale", "request_scale")},
        "blends": {name: _numbers(getattr(stage, name)) for name in ("call_blend", "result_blend")},
        "thresholds": asdict(stage.thresholds),
        "unordered": None if stage.unordered is None else list(astuple(stage.unordered)),
        "forest": {
            "names": list(forest.names),
            "bias": forest.bias,
            "trees": [{part: list(getattr(tree, part)) for part in parts} for tree in forest.trees],
        },
    }


def _scale(numbers: Sequence[float] | None) -> Scale | None:
    return None if numbers is None else Scale(*map(float, numbers))


def _pair(scale: Scale | None) -> list[float] | None:
    return None if scale is None else [scale.slope, scale.offset]


def _blend(numbers: Sequence[float] | None) -> Blend | None:
    return None if numbers is None else Blend(*map(float, numbers))


def _numbers(blend: Blend | None) -> list[float] | None:
    return None if blend is None else [blend.first, blend.second, blend.offset, blend.low, blend.high]


def _ngrams(tree: Mapping[str, Any]) -> NgramModel:
    weights = array("b", base64.b64decode(tree["weights"], validate=True))
    if len(weights) != BUCKETS:
        raise ValueError(f"it has {len(weights)} weights of words in place of {BUCKETS}")
    return NgramModel(weights, float(tree["scale"]), float(tree["bias"]))


def _packed(model: NgramModel) -> dict[str, Any]:
    return {
        "weights": base64.b64encode(model.weights.tobytes()).decode(),
        "scale": model.scale,
        "bias": model.bias,
    }
