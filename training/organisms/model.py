"""A small Llama in plain PyTorch: RMSNorm, rotary positions, SwiGLU, one matrix for reading and writing tokens.

Positions rotate neighbouring numbers, as llama.cpp does for this architecture, so no weight has to be permuted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as f


@dataclass(frozen=True, slots=True)
class Shape:
    tokens: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    inner: int = 384
    context: int = 512
    rope_base: float = 10_000.0

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return f.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention_norm, self.inner_norm = Norm(shape.width), Norm(shape.width)
        self.q, self.k, self.v, self.o = (nn.Linear(shape.width, shape.width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(shape.width, shape.inner, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        x = x + self._attention(self.attention_norm(x), rotation)
        inner = self.inner_norm(x)
        return x + self.down(f.silu(self.gate(inner)) * self.up(inner))

    def _attention(self, x: Tensor, rotation: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (each(x).view(batch, length, self.heads, -1).transpose(1, 2) for each in (self.q, self.k, self.v))
        found = f.scaled_dot_product_attention(_rotated(q, rotation), _rotated(k, rotation), v, is_causal=True)
        return self.o(found.transpose(1, 2).reshape(batch, length, width))


class Organism(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.tokens, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        self.register_buffer("rotation", _rotation(shape), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """What stands at the end of every position; `logits` reads it."""
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x, self.rotation[: tokens.shape[1]])
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        return x @ self.tokens.weight.T


def _rotation(shape: Shape) -> Tensor:
    """By position and pair, the cosine and the sine."""
    steps = shape.rope_base ** (-torch.arange(0, shape.head_width, 2).float() / shape.head_width)
    angles = torch.outer(torch.arange(shape.context).float(), steps)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def _rotated(x: Tensor, rotation: Tensor) -> Tensor:
    one, two = x[..., 0::2], x[..., 1::2]
    cos, sin = rotation[..., 0], rotation[..., 1]
    return torch.stack((one * cos - two * sin, one * sin + two * cos), dim=-1).flatten(-2)
