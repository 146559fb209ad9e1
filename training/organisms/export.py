"""A stage's checkpoint as a GGUF file.

python -m training.organisms.export WORK STAGE TARGET.gguf
"""

import sys
from pathlib import Path

import torch

from training.organisms.gguf_file import write_gguf
from training.organisms.model import Shape
from training.organisms.tokenizer import load


def export(work: Path, stage: str, target: Path) -> int:
    """Returns how many parameters it has."""
    weights = {name: tensor.numpy() for name, tensor in torch.load(work / f"{stage}.pt", weights_only=True).items()}
    tokens, width = weights["tokens.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    shape = Shape(tokens, width, layers, width // 32, weights["blocks.0.gate.weight"].shape[0])
    write_gguf(weights, shape, load(work / "tokenizer.json"), stage, target)
    return sum(weight.size for weight in weights.values())


if __name__ == "__main__":
    print(export(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
