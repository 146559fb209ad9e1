"""The encoder in PyTorch, as the published checkpoint has it: BERT, of which the first layers are kept."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Tensors = dict[str, Tensor]

HEADS = 12
EPSILON = 1e-12
DROPOUT = 0.1
BEGIN, END, PAD = 101, 102, 0  # [CLS], [SEP], [PAD] of its vocabulary


def kept(tensors: Mapping[str, Tensor], layers: int) -> Tensors:
    """The tensors of the embeddings and of the first `layers` layers."""
    wanted = ("embeddings.", *(f"encoder.layer.{number}." for number in range(layers)))
    return {name: tensor for name, tensor in tensors.items() if name.startswith(wanted) and not name.endswith("_ids")}


def depth(tensors: Tensors) -> int:
    return len({name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")})


def pooled(tensors: Tensors, ids: Tensor, mask: Tensor, *, training: bool) -> Tensor:
    """The mean over the tokens of each sequence. `ids` and `mask` are sequences x tokens; mask is 1 where there is a
    token and 0 where there is padding."""
    states = _embedded(tensors, ids, training)
    blocked = mask[:, None, None, :].bool()
    for number in range(depth(tensors)):
        states = _layer(tensors, f"encoder.layer.{number}.", states, blocked, training)
    wide = mask.unsqueeze(-1)
    return (states * wide).sum(1) / wide.sum(1)


def padded(sequences: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Ids and mask of sequences without their special tokens, which are put around them."""
    longest = max(map(len, sequences)) + 2
    ids = torch.full((len(sequences), longest), PAD)
    mask = torch.zeros((len(sequences), longest))
    for row, tokens in enumerate(sequences):
        ids[row, : len(tokens) + 2] = torch.tensor([BEGIN, *tokens, END])
        mask[row, : len(tokens) + 2] = 1
    return ids, mask


def _embedded(tensors: Tensors, ids: Tensor, training: bool) -> Tensor:
    part = "embeddings."
    words = functional.embedding(ids, tensors[part + "word_embeddings.weight"])
    places = tensors[part + "position_embeddings.weight"][: ids.shape[1]]
    states = words + places + tensors[part + "token_type_embeddings.weight"][0]
    return functional.dropout(_normal(tensors, part + "LayerNorm", states), DROPOUT, training)


def _layer(tensors: Tensors, part: str, states: Tensor, blocked: Tensor, training: bool) -> Tensor:
    query, key, value = (
        _split(_linear(tensors, f"{part}attention.self.{name}", states)) for name in ("query", "key", "value")
    )
    seen = functional.scaled_dot_product_attention(query, key, value, blocked, DROPOUT if training else 0.0)
    mixed = _linear(tensors, part + "attention.output.dense", seen.transpose(1, 2).flatten(2))
    states = _normal(tensors, part + "attention.output.LayerNorm", states + _dropped(mixed, training))
    wide = functional.gelu(_linear(tensors, part + "intermediate.dense", states))
    narrow = _linear(tensors, part + "output.dense", wide)
    return _normal(tensors, part + "output.LayerNorm", states + _dropped(narrow, training))


def _split(states: Tensor) -> Tensor:
    """Sequences x tokens x width to sequences x heads x tokens x width of a head."""
    return states.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def _linear(tensors: Tensors, name: str, states: Tensor) -> Tensor:
    return functional.linear(states, tensors[name + ".weight"], tensors[name + ".bias"])


def _normal(tensors: Tensors, name: str, states: Tensor) -> Tensor:
    return functional.layer_norm(states, states.shape[-1:], tensors[name + ".weight"], tensors[name + ".bias"], EPSILON)


def _dropped(states: Tensor, training: bool) -> Tensor:
    return functional.dropout(states, DROPOUT, training)
