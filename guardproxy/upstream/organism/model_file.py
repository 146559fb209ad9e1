"""The shipped model's file, checked against its manifest."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guardproxy.llamacpp import LoadFailure

SHIPPED: Final = Path(__file__).parent.parent / "models" / "organism-agent.gguf"
LEARNED_PREFIX: Final = SHIPPED.with_name("organism-prefix.yaml")
"""What `guardproxy learn` found for it."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """`parameters` is how many numbers the model has."""

    path: Path
    parameters: int
    bytes: int
    sha256: str


def find_model(path: Path = SHIPPED) -> ModelFile:
    """Raises LoadFailure for a file that is missing or not what its manifest says."""
    manifest = path.with_suffix(".json")
    try:
        data = path.read_bytes()
        fields: Any = json.loads(manifest.read_bytes())
        expected, parameters = str(fields["sha256"]), int(fields["parameters"])
    except OSError as error:
        raise LoadFailure(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LoadFailure(f"{manifest}: the manifest lacks a usable field: {error}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != expected:
        raise LoadFailure(f"{path}: altered or truncated: its sha256 is {sha256}, its manifest says {expected}")
    return ModelFile(path, parameters, len(data), sha256)
