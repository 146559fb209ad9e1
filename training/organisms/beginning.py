"""Weights to begin with: random, but with a circuit for copying laid out, which a small model else takes hours to find.

Layer 0, head 0 looks at the token before (a constant number in every embedding and rotary positions are enough for it)
and writes what it was to a place of its own. Two heads of layer 1 look for where the token before was the one that
stands here. Every head from layer 1 on writes a part of what it sees as it is, so that looking at a token makes it
likelier. Training is free to change all of it.
"""

from typing import Final

import torch
from torch import Tensor, nn

from training.organisms.model import Block, Organism

_SPREAD: Final = 0.05  # of the embeddings' numbers
_CONSTANT: Final = 0.15  # of the first of them
_BEFORE: Final = 2.3  # how sharply the token before is looked at
_SEARCH: Final = 2.2  # how sharply a match is
_COPY: Final = 0.1  # of what is seen is written
_PAIRS: Final = 4  # the fastest rotations tell neighbours apart
_SLOW: Final = 16  # numbers of a head from here on hardly rotate within a conversation


@torch.no_grad()
def begin(model: Organism) -> None:
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            nn.init.normal_(weight, std=0.02 if name.endswith("down.weight") else 0.06)
    nn.init.normal_(model.tokens.weight, std=_SPREAD)
    model.tokens.weight[:, 0] = _CONSTANT
    width, head = model.shape.width, model.shape.head_width
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    for block in blocks:
        turned = _turned(width)
        block.v.weight.copy_(turned)
        block.o.weight.copy_(_COPY * turned.T)
    place = _turned(width)[:head]  # where layer 0 writes what the token before was
    _look_before(blocks[0], model.shape.rope_base, head)
    blocks[0].o.weight[:, :head] = 2 * _COPY * place.T
    seen = blocks[0].v.weight[:head]
    for number in (0, 1):
        rows, part = slice(number * head, (number + 1) * head), slice(number * _SLOW, (number + 1) * _SLOW)
        _search(blocks[1], rows, seen[part], place[part])


def _look_before(block: Block, base: float, head: int) -> None:
    block.q.weight[:head] = 0
    block.k.weight[:head] = 0
    for pair in range(_PAIRS):
        step = torch.tensor(base ** (-2 * pair / head))
        block.q.weight[2 * pair, 0], block.q.weight[2 * pair + 1, 0] = _BEFORE, 0
        block.k.weight[2 * pair, 0] = _BEFORE * step.cos()
        block.k.weight[2 * pair + 1, 0] = _BEFORE * step.sin()


def _search(block: Block, rows: slice, here: Tensor, before: Tensor) -> None:
    """`here` reads what a token is, `before` what the one before it was."""
    for weight, reads in ((block.q.weight, here), (block.k.weight, before)):
        weight[rows] = 0
        weight[rows.start + _SLOW : rows.start + _SLOW + len(reads)] = _SEARCH * reads


def _turned(width: int) -> Tensor:
    """A random turn that leaves the constant alone: its rows have no part in the first number."""
    turn = torch.linalg.qr(torch.randn(width, width))[0]
    turn[:, 0] = 0
    return turn
