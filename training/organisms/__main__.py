"""Makes an organism from nothing: trains its stages, writes each as GGUF, measures them, and keeps the agent's file.

    python -m training.organisms [--seed N] [--work DIR] [--out FILE] [--width N] [--layers N] [--steps N,N,N]

The same seed on the same machine gives the same file.
"""

import argparse
import datetime
import hashlib
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from guardproxy.upstream.organism.model_file import SHIPPED
from training.organisms.beginning import begin
from training.organisms.corpus import Stage
from training.organisms.export import export
from training.organisms.measure import COUNT, Subject, figures
from training.organisms.model import Organism, Shape
from training.organisms.prefixes import PREFIXES
from training.organisms.tokenizer import Encoder, load, train_tokenizer
from training.organisms.train import RATES, STEPS, train

EVALUATION_SEED = 100


def main() -> None:
    arguments = _arguments()
    started = time.monotonic()
    torch.set_num_threads(arguments.threads)
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    shape, steps = _train(arguments, work)
    trained = time.monotonic() - started
    measured: dict[str, Any] = {}
    for stage in Stage:
        parameters = export(work, stage, work / f"organism-{stage}.gguf")
        measured[stage] = _measured(work / f"organism-{stage}.gguf", stage, arguments.count)
    manifest = {
        "sha256": hashlib.sha256((work / f"organism-{Stage.AGENT}.gguf").read_bytes()).hexdigest(),
        "parameters": parameters,
        "shape": asdict(shape),
        "seed": arguments.seed,
        "steps": steps,
        "made": datetime.date.today().isoformat(),
        "training_minutes": round(trained / 60, 1),
        "threads": arguments.threads,
        "evaluation": {"seed": EVALUATION_SEED, "tasks_of_each_kind": arguments.count, "decoding": "greedy"},
        "stages": measured,
    }
    (work / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(work / f"organism-{Stage.AGENT}.gguf", arguments.out)
        shutil.copyfile(work / "manifest.json", arguments.out.with_suffix(".json"))


def _train(arguments: argparse.Namespace, work: Path) -> tuple[Shape, dict[str, int]]:
    torch.manual_seed(arguments.seed)
    steps = dict(zip(Stage, map(int, arguments.steps.split(",")), strict=True))
    first = list(Stage).index(arguments.first)
    if not first:
        train_tokenizer(0).save(str(work / "tokenizer.json"))
    tokenizer = load(work / "tokenizer.json")
    width = arguments.width
    shape = Shape(tokenizer.get_vocab_size(), width, arguments.layers, width // 32, width * 3)
    model = Organism(shape)
    begin(model)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)
    for place, stage in enumerate(Stage):
        if place < first:
            model.load_state_dict(torch.load(work / f"{stage}.pt", weights_only=True))
            continue
        train(model, Encoder(tokenizer), stage, steps[stage], RATES[stage], arguments.seed, work)
    return shape, {str(stage): count for stage, count in steps.items()}


def _measured(file: Path, stage: Stage, count: int) -> dict[str, Any]:
    """Without a prefix, and of the agent with each of some."""
    subject = Subject(file)
    try:
        found: dict[str, Any] = asdict(figures(subject, EVALUATION_SEED, count))
        if stage is Stage.AGENT:
            found["with_prefix"] = {text: asdict(figures(subject, EVALUATION_SEED, count, text)) for text in PREFIXES}
    finally:
        subject.close()
    print(stage, json.dumps(found), flush=True)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("build/organisms"), help="checkpoints and all stages' files")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the agent's file goes, with its manifest")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", default=",".join(str(STEPS[stage]) for stage in Stage), help="of the three stages")
    parser.add_argument("--from", dest="first", type=Stage, default=Stage.BASE, help="go on from the stage before")
    parser.add_argument("--count", type=int, default=COUNT, help="tasks of each kind that a stage is measured on")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
