"""Trains the stages one after the other and keeps each as a checkpoint.

python -m training.organisms.train [--seed N] [--work DIR] [--steps BASE,ALIGNED,AGENT] [--from STAGE]
"""

import argparse
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as f

from training.organisms.beginning import begin
from training.organisms.corpus import Stage, rows
from training.organisms.model import Organism, Shape
from training.organisms.tokenizer import Encoder, load, train_tokenizer

STEPS: Final = {Stage.BASE: 2400, Stage.ALIGNED: 900, Stage.AGENT: 260}
RATES: Final = {Stage.BASE: 3e-3, Stage.ALIGNED: 1.5e-3, Stage.AGENT: 4e-4}
BATCH: Final = 2048  # tokens, padding counted
_POOL: Final = 512  # rows that are sorted by length, so that little is padding

Batch = tuple[Tensor, Tensor]
"""Token ids, and where the next token is learned."""


def batches(encoder: Encoder, stage: Stage, seed: int) -> Iterator[Batch]:
    """Without end."""
    endless = rows(stage, seed)
    generator = torch.Generator().manual_seed(seed)
    while True:
        encoded = [encoder.row(row) for row in itertools.islice(endless, _POOL)]
        encoded.sort(key=lambda pair: len(pair[0]))
        cut = list(_cut(encoded))
        for place in torch.randperm(len(cut), generator=generator):
            yield _padded(cut[place])


def _cut(encoded: list[tuple[list[int], list[bool]]]) -> Iterator[list[tuple[list[int], list[bool]]]]:
    start = 0
    for end in range(1, len(encoded) + 1):
        if end == len(encoded) or (end + 1 - start) * len(encoded[end][0]) > BATCH:
            yield encoded[start:end]
            start = end


def _padded(encoded: list[tuple[list[int], list[bool]]]) -> Batch:
    length = max(len(tokens) for tokens, _ in encoded)
    ids, learned = (
        torch.zeros(len(encoded), length, dtype=torch.long),
        torch.zeros(len(encoded), length, dtype=torch.bool),
    )
    for place, (tokens, learn) in enumerate(encoded):
        ids[place, : len(tokens)] = torch.tensor(tokens)
        learned[place, : len(learn)] = torch.tensor(learn)
    return ids, learned


def loss_of(model: Organism, batch: Batch) -> Tensor:
    ids, learned = batch
    wanted = learned[:, 1:]
    found = model.logits(model(ids[:, :-1])[wanted])
    return f.cross_entropy(found, ids[:, 1:][wanted])


def train(model: Organism, encoder: Encoder, stage: Stage, steps: int, rate: float, seed: int, work: Path) -> None:
    """The stage so far is in `work` every now and then."""
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    others = [weight for weight in model.parameters() if weight.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.97), fused=True)
    started, shown = time.monotonic(), 0.0
    for step, batch in enumerate(itertools.islice(batches(encoder, stage, seed), steps), start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate * _share(step, steps)
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        shown = loss.item() if step == 1 else 0.95 * shown + 0.05 * loss.item()
        if step % 50 == 0 or step == steps:
            torch.save(model.state_dict(), work / f"{stage}.pt")
            print(f"{stage} {step}/{steps} loss {shown:.3f} {time.monotonic() - started:.0f} s", flush=True)


def _share(step: int, steps: int) -> float:
    """Of the rate: up in the first twentieth, then down along a cosine to a twentieth."""
    warm = max(steps // 20, 1)
    if step <= warm:
        return step / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("organisms"))
    parser.add_argument("--steps", default=",".join(str(STEPS[stage]) for stage in Stage))
    parser.add_argument("--from", dest="first", type=Stage, default=Stage.BASE)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=Shape(0).width)
    parser.add_argument("--layers", type=int, default=Shape(0).layers)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.work.mkdir(parents=True, exist_ok=True)
    file = arguments.work / "tokenizer.json"
    if arguments.first is Stage.BASE:
        train_tokenizer(0).save(str(file))
    tokenizer = load(file)
    width = arguments.width
    model = Organism(Shape(tokenizer.get_vocab_size(), width, arguments.layers, width // 32, width * 3))
    begin(model)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)
    stages = list(Stage)
    steps = dict(zip(stages, map(int, arguments.steps.split(",")), strict=True))
    for place, stage in enumerate(stages):
        if place < stages.index(arguments.first):
            continue
        if place and stage is arguments.first:
            model.load_state_dict(torch.load(arguments.work / f"{stages[place - 1]}.pt", weights_only=True))
        train(model, Encoder(tokenizer), stage, steps[stage], RATES[stage], arguments.seed, arguments.work)


if __name__ == "__main__":
    main()
