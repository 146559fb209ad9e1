"""Teaches the encoder, with a head on its pooled vector, from windows of tokens: the network of the text model.

A text is a bag of windows: of a harmful one the worst window must say so (the worst counts in the engine too), of a
benign one none may. The same bags and recipe give the same weights on the same machine.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.classifier.bert import Tensors, kept, padded, pooled
from training.classifier.readings import Bag

MAX_WINDOWS = 6  # of one harmful text; of a benign one two are drawn each time
_REPORT = 50  # steps


@dataclass(frozen=True, slots=True)
class Recipe:
    epochs: int
    rate: float
    tokens_in_batch: int = 3000
    head_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """`weight` (outputs x width) and `bias` are the head's."""

    encoder: Tensors
    weight: Tensor
    bias: Tensor

    def logits(self, windows: Sequence[tuple[int, ...]], *, training: bool = False) -> Tensor:
        vectors = pooled(self.encoder, *padded(list(windows)), training=training)
        return nn.functional.linear(vectors, self.weight, self.bias)


def beginning(published: Tensors, layers: int, outputs: int) -> Network:
    """The checkpoint's first layers, and a head that knows nothing."""
    torch.manual_seed(0)
    encoder = {name: tensor.float() for name, tensor in kept(published, layers).items()}
    head = nn.Linear(encoder["embeddings.LayerNorm.bias"].shape[0], outputs)
    return Network(encoder, head.weight.detach(), head.bias.detach())


def finetune(begun: Network, bags: Sequence[Bag], recipe: Recipe) -> Network:
    """`begun` is not changed. The word table stays as it is."""
    torch.manual_seed(recipe.seed)
    order = random.Random(recipe.seed)
    network = _learner(begun)
    steps = recipe.epochs * len(list(_batches(bags, recipe, random.Random(recipe.seed))))
    optimiser, schedule = _optimiser(network, recipe, steps)
    losses: list[float] = []
    began = time.monotonic()
    for _ in range(recipe.epochs):
        for batch in _batches(bags, recipe, order):
            loss = _loss(network, batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(_learning(network), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if len(losses) % _REPORT == 0:
                mean = sum(losses[-_REPORT:]) / _REPORT
                print(f"step {len(losses)}/{steps}: loss {mean:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    return network


def _learner(begun: Network) -> Network:
    """A copy that can learn."""
    encoder = {name: tensor.detach().clone() for name, tensor in begun.encoder.items()}
    head = [tensor.detach().clone() for tensor in (begun.weight, begun.bias)]
    for name, tensor in encoder.items():
        tensor.requires_grad_(not name.startswith("embeddings."))
    for tensor in head:
        tensor.requires_grad_(True)
    return Network(encoder, *head)


def _learning(network: Network) -> list[Tensor]:
    return [tensor for tensor in (*network.encoder.values(), network.weight, network.bias) if tensor.requires_grad]


def _optimiser(
    network: Network, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    body = [tensor for tensor in network.encoder.values() if tensor.requires_grad]
    groups = [
        {"params": body, "lr": recipe.rate},
        {"params": [network.weight, network.bias], "lr": recipe.head_rate},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    warm = 0.06 * steps

    def rate(step: int) -> float:
        return min((step + 1) / (warm + 1), max(0.0, (steps - step) / (steps - warm)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


_Drawn = list[tuple[Bag, list[tuple[int, ...]]]]


def _batches(bags: Sequence[Bag], recipe: Recipe, order: random.Random) -> Iterator[_Drawn]:
    """Bags of like length together, so that little is padding; the batches come in random order."""
    drawn = [(bag, _drawn(bag, order)) for bag in bags]
    drawn.sort(key=lambda each: (max(map(len, each[1])), order.random()))
    batches: list[_Drawn] = [[]]
    size = 0
    for bag, chosen in drawn:
        cost = max(map(len, chosen)) * len(chosen)
        if batches[-1] and size + cost > recipe.tokens_in_batch:
            batches.append([])
            size = 0
        batches[-1].append((bag, chosen))
        size += cost
    order.shuffle(batches)
    yield from batches


def _drawn(bag: Bag, order: random.Random) -> list[tuple[int, ...]]:
    most = MAX_WINDOWS if bag.label else 2
    return order.sample(bag.windows, min(most, len(bag.windows)))


def _loss(network: Network, batch: _Drawn) -> Tensor:
    logits = network.logits([window for _, chosen in batch for window in chosen], training=True)
    each = logits.log_softmax(dim=-1).split([len(chosen) for _, chosen in batch])
    return torch.stack([_bag_loss(mine, bag.label) for mine, (bag, _) in zip(each, batch, strict=True)]).mean()


def _bag_loss(log_p: Tensor, label: int) -> Tensor:
    """`log_p` is windows x outputs. Of a harmful bag half the loss is for saying that, half for saying what it is."""
    if not label:
        return -log_p[:, 0].mean()
    worst = log_p[torch.argmin(log_p[:, 0].detach())]
    return -0.5 * (torch.logsumexp(worst[1:], dim=0) + worst[label])
