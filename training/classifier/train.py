"""Trains both stages, measures them on families they have not seen, and writes the files that ship, with their figures.

    python -m training.classifier [--data DIR] [--checkpoint DIR] [--models DIR] [--work DIR]

Without --data only the project's own corpora are used. The text model is taught on those in any case.
"""

import argparse
import datetime
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guardproxy.classifier.first_stage import FirstStage, Thresholds, tree_of
from guardproxy.classifier.llama import Model
from guardproxy.classifier.model_file import FIRST_STAGE, SHIPPED
from guardproxy.classifier.ngrams import NgramModel
from guardproxy.classifier.serialise import VERSION
from training.classifier import text_model
from training.classifier.figures import by_episode, figures
from training.classifier.fits import (
    UNORDERED,
    Cascade,
    Forested,
    Requests,
    ResultWording,
    fit_calls,
    fit_requests,
    fit_results,
    ordering,
)
from training.classifier.margins import text_margins
from training.classifier.readings import LABELS, Bag, Tokenize, bag_of, reading_of
from training.classifier.rows import Array, Mask, Rows, read_rows
from training.classifier.samples import SOURCES, Sample
from training.classifier.thresholds import (
    FALSE_POSITIVES_OF_REQUESTS,
    FALSE_POSITIVES_OF_RESULTS,
    behind_flagged,
    threshold_of_flags,
    thresholds_of_calls,
)


@dataclass(frozen=True)
class _Kinds:
    calls: Rows
    results: Rows
    requests: Rows


@dataclass(frozen=True)
class _Fits:
    calls: Forested
    results: Cascade
    requests: Requests


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    kinds = _Kinds(*(read_rows(options.data, kind) for kind in ("tool_call", "tool_result", "user_request")))
    wording = ResultWording(kinds.results)
    text = options.work / SHIPPED.name
    _teach(options.checkpoint, kinds, wording.model(""), options.work, text)
    said = {rows: _said(text, rows, wording.model("")) for rows in (kinds.results, kinds.requests)}
    read = ordering(kinds.calls, wording)
    fits = _Fits(
        calls=fit_calls(kinds.calls, read),
        results=fit_results(kinds.results, wording.unseen, said[kinds.results]),
        requests=fit_requests(kinds.requests, said[kinds.requests]),
    )
    result_threshold = threshold_of_flags(kinds.results, fits.results.unseen, FALSE_POSITIVES_OF_RESULTS)
    tainted = behind_flagged(read, fits.results.scale, result_threshold)
    call_threshold, tainted_threshold = thresholds_of_calls(kinds.calls, fits.calls.unseen, tainted)
    stage = FirstStage(
        results=wording.model(""),
        forest=fits.calls.forest,
        result_scale=fits.results.scale,
        call_scale=fits.calls.scale,
        thresholds=Thresholds(
            call_threshold,
            tainted_threshold,
            result_threshold,
            threshold_of_flags(kinds.requests, fits.requests.unseen, FALSE_POSITIVES_OF_REQUESTS),
        ),
        call_blend=None,
        result_blend=fits.results.blend,
        request_scale=fits.requests.scale,
        unordered=UNORDERED,
    )
    metrics = _metrics(kinds, fits, tainted, stage.thresholds)
    alone = {"first_stage": wording.unseen, "text_model": said[kinds.results]}
    metrics["tool_result"]["auroc_of_one_stage"] = {name: _aurocs(kinds.results, m) for name, m in alone.items()}
    _write(options, kinds, stage, text, metrics)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of JSONL files, one a source")
    parser.add_argument("--checkpoint", type=Path, help="folder of all-MiniLM-L6-v2; default: the installed package's")
    parser.add_argument("--models", type=Path, default=SHIPPED.parent, help="where the files go")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "guardproxy-train")
    options = parser.parse_args()
    options.checkpoint = options.checkpoint or text_model.installed_checkpoint()
    return options


def _teach(checkpoint: Path, kinds: _Kinds, wording: NgramModel, work: Path, target: Path) -> None:
    vocabulary = work / "vocabulary.gguf"
    text_model.write_published(checkpoint, vocabulary)
    tokenizer = Model(vocabulary)
    bags = [bag for rows in (kinds.results, kinds.requests) for bag in _bags(rows, wording, tokenizer.tokenize)]
    tokenizer.close()
    print(f"{len(bags)} texts to teach", flush=True)
    text_model.write(checkpoint, text_model.teach(checkpoint, bags, work), target)


def _bags(rows: Rows, wording: NgramModel, tokenize: Tokenize) -> list[Bag]:
    taught = zip(rows.samples, rows.taught, strict=True)
    return [bag_of(sample, wording, tokenize) for sample, mine in taught if mine]


def _said(model: Path, rows: Rows, wording: NgramModel) -> Array:
    print(f"asking the text model about {len(rows.samples)}", flush=True)
    return text_margins(model, [reading_of(sample, wording) for sample in rows.samples])


def _metrics(kinds: _Kinds, fits: _Fits, tainted: Mask, thresholds: Thresholds) -> dict[str, Any]:
    calls, results, requests = fits.calls.unseen, fits.results.unseen, fits.requests.unseen
    flagged = calls >= np.where(tainted, thresholds.tainted, thresholds.call)
    of_calls = _figures(kinds.calls, calls, flagged)
    return {
        "tool_call": of_calls | {"episodes": by_episode(kinds.calls.samples, kinds.calls.harmful, flagged)},
        "tool_result": _figures(kinds.results, results, results >= thresholds.result),
        "user_request": _figures(kinds.requests, requests, requests >= thresholds.request),
    }


def _figures(rows: Rows, unseen: Array, flagged: Mask) -> dict[str, Any]:
    return figures(rows.fresh_samples, rows.harmful[rows.fresh], unseen[rows.fresh], flagged[rows.fresh])


def _aurocs(rows: Rows, margins: Array) -> dict[str, float]:
    found = _figures(rows, margins, margins >= 0)
    return {name: each["auroc"] for name, each in found.items() if each.get("auroc") is not None}


def _write(options: argparse.Namespace, kinds: _Kinds, stage: FirstStage, text: Path, metrics: dict[str, Any]) -> None:
    command = "make train DATA=DIR" if options.data else "make train"
    about = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "command": command}
    texts = (kinds.results, kinds.requests)
    taught = [s for rows in texts for s, mine in zip(rows.samples, rows.taught, strict=True) if mine]
    fields = about | {
        "labels": list(LABELS),
        "serialisation": VERSION,
        "temperature": 1.0,
        "threshold": stage.thresholds.call,
        "tainted_threshold": stage.thresholds.tainted,
        "base": text_model.base(options.checkpoint),
        "sources": _sources(taught),
    }
    _write_one(options.models / SHIPPED.name, text.read_bytes(), fields, ".json")
    samples = [sample for rows in (kinds.calls, *texts) for sample in rows.samples]
    data = json.dumps(tree_of(stage), separators=(",", ":")).encode() + b"\n"
    fields = about | {"sources": _sources(samples), "leave_one_family_out": metrics}
    _write_one(options.models / FIRST_STAGE.name, data, fields, ".manifest.json")
    print(json.dumps(metrics, indent=2))


def _write_one(target: Path, data: bytes, about: dict[str, Any], suffix: str) -> None:
    manifest = {"model": target.name, "sha256": hashlib.sha256(data).hexdigest()} | about
    target.write_bytes(data)
    target.with_suffix(suffix).write_text(json.dumps(manifest, indent=2) + "\n")


def _sources(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    rows = Counter(sample.source for sample in samples)
    own = [
        {"name": name, "repository": f"training/corpus/{name.removeprefix('corpus-')}", "licence": "Apache-2.0"}
        for name in sorted(rows)
        if name.startswith("corpus-")
    ]
    named = [{key: getattr(s, key) for key in ("name", "repository", "commit", "licence")} for s in SOURCES]
    return [source | {"rows": rows[source["name"]]} for source in [*own, *named] if rows[source["name"]]]
