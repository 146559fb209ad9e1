"""Trains the first stage, measures it on families it has not seen, and writes the file that ships, with its figures.

    python -m training.classifier.first_stage [--data DIR] [--out FILE]

Without --data only the project's own corpora are used. Every margin that something is fitted on further down
(forest, scales, thresholds) comes from a model that saw nothing of that row's family.
"""

import argparse
import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from guardproxy.classifier.first_stage import (
    WORDING,
    FirstStage,
    Scale,
    Thresholds,
    features,
    tree_of,
)
from guardproxy.classifier.model_file import FIRST_STAGE
from guardproxy.classifier.ngrams import NgramModel
from guardproxy.classifier.units import units_of
from guardproxy.provenance import FEATURES
from training.classifier.figures import figures, threshold_for
from training.classifier.forest import grow
from training.classifier.samples import SOURCES, Sample, balanced, benchmark_samples, own_samples
from training.classifier.wording import Documents, fit_units, margins

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

FALSE_POSITIVES = 0.01  # mean over benign sources not seen
FALSE_POSITIVES_TAINTED = 0.05
FALSE_POSITIVES_OF_RESULTS = 0.05  # a flagged result blocks nothing by itself
NAMES = (*FEATURES, *WORDING)
OWN_CALLS = 0.3  # what a call of the own corpus weighs beside one of a benchmark: there are so many more of them
OWN_GROUPS = 5  # the own corpora's domains are left out in so many groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of JSONL files, one a source")
    parser.add_argument("--out", type=Path, default=FIRST_STAGE)
    options = parser.parse_args()
    results = _Set(_samples(options.data, "tool_result"))
    result_model, unseen_results = _results(results)
    calls = _Set(_samples(options.data, "tool_call"))
    stage, unseen_calls = _calls(calls, results, result_model, unseen_results)
    data = json.dumps(tree_of(stage), separators=(",", ":")).encode() + b"\n"
    metrics = {
        "tool_result": figures(
            results.samples, results.harmful, stage.result_scale, unseen_results, stage.thresholds.result
        ),
        "tool_call": figures(calls.samples, calls.harmful, stage.call_scale, unseen_calls, stage.thresholds.call),
    }
    manifest = {
        "model": options.out.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "make train DATA=DIR" if options.data else "make train",
        "sources": _sources([*results.samples, *calls.samples]),
        "leave_one_family_out": metrics,
    }
    options.out.write_bytes(data)
    options.out.with_suffix(".manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


def _sources(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    rows = Counter(sample.source for sample in samples)
    own = [
        {"name": name, "repository": f"training/corpus/{name.removeprefix('corpus-')}", "licence": "Apache-2.0"}
        for name in sorted(rows)
        if name.startswith("corpus-")
    ]
    named = [{key: getattr(s, key) for key in ("name", "repository", "commit", "licence")} for s in SOURCES]
    return [source | {"rows": rows[source["name"]]} for source in [*own, *named] if rows[source["name"]]]


@dataclass(frozen=True)
class _Set:
    """Samples of one kind, with what is the same in every fit."""

    samples: list[Sample]

    def __post_init__(self) -> None:
        print(f"{len(self.samples)} samples of {self.samples[0].row.kind}", flush=True)

    @cached_property
    def harmful(self) -> npt.NDArray[np.bool_]:
        return np.array([sample.harmful for sample in self.samples])

    @cached_property
    def weights(self) -> Array:
        own = [sample.row.kind == "tool_call" and sample.family.startswith("own ") for sample in self.samples]
        return np.array(balanced(self.samples)) * np.where(own, OWN_CALLS, 1.0)

    @cached_property
    def groups(self) -> npt.NDArray[np.str_]:
        """What is left out together: a benchmark's family, or some of the own corpora's domains."""
        own = sorted({sample.family for sample in self.samples if sample.family.startswith("own ")})
        group_of = {family: f"own {place % OWN_GROUPS}" for place, family in enumerate(own)}
        return np.array([group_of.get(sample.family, sample.family) for sample in self.samples])

    def unseen(self, fit: Callable[[Numbers], Callable[[Numbers], Array]]) -> Array:
        """For every sample, what a model says that was fitted without its group."""
        found = np.zeros(len(self.samples))
        for group in sorted(set(self.groups)):
            inside = self.groups == group
            found[inside] = fit(np.flatnonzero(~inside))(np.flatnonzero(inside))
            print(f"  without {group}", flush=True)
        return found


def _samples(data: Path | None, kind: str) -> list[Sample]:
    return [*own_samples(kind), *(benchmark_samples(data, kind) if data else ())]


def _results(results: _Set) -> tuple[Callable[[str], NgramModel], Array]:
    """The model of how results read, by the family that it must not have seen ("" for none), and unseen margins."""
    documents = Documents([units_of(sample.result_text).texts for sample in results.samples])
    made: dict[str, NgramModel] = {}
    known = set(results.groups.tolist())

    def model(left_out: str) -> NgramModel:
        group = left_out if left_out in known else ""
        if group not in made:
            chosen = np.flatnonzero(results.groups != group)
            made[group] = fit_units(documents, results.harmful, results.weights, chosen)
        return made[group]

    found = np.zeros(len(results.samples))
    for group in sorted(set(results.groups)):
        inside = results.groups == group
        found[inside] = margins(model(group), documents)[inside]
        print(f"  without {group}", flush=True)
    return model, found


def _calls(
    calls: _Set, results: _Set, result_model: Callable[[str], NgramModel], unseen_results: Array
) -> tuple[FirstStage, Array]:
    ordering = _ordering(calls, result_model)
    x = np.array([features(s.provenance, said) for s, said in zip(calls.samples, ordering, strict=True)])

    def fit(chosen: Numbers) -> Callable[[Numbers], Array]:
        forest = grow(NAMES, x[chosen], calls.harmful[chosen], calls.weights[chosen].tolist())
        return lambda asked: np.array([forest.margin(x[i].tolist()) for i in asked])

    unseen = calls.unseen(fit)
    call_scale, result_scale = _scale(calls, unseen), _scale(results, unseen_results)
    stage = FirstStage(
        results=result_model(""),
        forest=grow(NAMES, x, calls.harmful, calls.weights.tolist()),
        result_scale=result_scale,
        call_scale=call_scale,
        thresholds=_thresholds(calls, unseen, call_scale, results, unseen_results, result_scale),
        call_blend=None,
        result_blend=None,
    )
    return stage, unseen


def _ordering(calls: _Set, result_model: Callable[[str], NgramModel]) -> list[list[float]]:
    """How much each result of each call's conversation reads like an order, by a model that has not seen its family."""
    texts = sorted({result.text for sample in calls.samples for result in sample.request.results})
    documents = Documents([units_of(text).texts for text in texts])
    place = {text: i for i, text in enumerate(texts)}
    by_model: dict[int, Array] = {}
    found = []
    for sample in calls.samples:
        model = result_model(sample.family)
        if id(model) not in by_model:
            by_model[id(model)] = margins(model, documents)
        found.append([float(by_model[id(model)][place[result.text]]) for result in sample.request.results])
    return found


def _scale(found: _Set, unseen: Array) -> Scale:
    """Platt's, both labels counting alike."""
    model = LogisticRegression(C=1e6).fit(unseen[:, None], found.harmful, found.weights)
    return Scale(float(model.coef_[0, 0]), float(model.intercept_[0]))


def _thresholds(
    calls: _Set, unseen: Array, scale: Scale, results: _Set, unseen_results: Array, result_scale: Scale
) -> Thresholds:
    def at(found: _Set, scale: Scale, margins: Array, rate: float) -> float:
        probabilities = np.array([scale.probability(float(margin)) for margin in margins])
        return threshold_for(found.samples, found.harmful, probabilities, rate)

    call = at(calls, scale, unseen, FALSE_POSITIVES)
    tainted = min(call, at(calls, scale, unseen, FALSE_POSITIVES_TAINTED))
    return Thresholds(call, tainted, at(results, result_scale, unseen_results, FALSE_POSITIVES_OF_RESULTS))


if __name__ == "__main__":
    main()
