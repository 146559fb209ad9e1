"""The file the classifier runs: the shipped one, checked against its manifest, or an operator's own."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guardproxy.classifier.first_stage import FirstStage, first_stage_of
from guardproxy.classifier.serialise import VERSION
from guardproxy.errors import ConfigurationError, Fault

SHIPPED: Final = Path(__file__).parent / "models" / "tool-call-minilm.gguf"
FIRST_STAGE: Final = Path(__file__).parent / "models" / "first-stage.json"
_MAGIC: Final = b"GGUF"


@dataclass(frozen=True, slots=True)
class Calibration:
    """How outputs become probabilities, and from which probability on a call is blocked.

    None where the file says nothing: then the model's own metadata, or these defaults of last resort, count.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    tainted_threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that is what its manifest says. `calibration` is None for a file without one. `sha256` in hex."""

    path: Path
    sha256: str
    calibration: Calibration | None

    @property
    def revision(self) -> str:
        digest = hashlib.sha256(f"{self.sha256} {VERSION} {self.calibration}".encode())
        return digest.hexdigest()[:12]


def find_model(path: Path | None) -> ModelFile:
    """The shipped model for None. Raises ConfigurationError with one Fault that says what is wrong with the file."""
    chosen = SHIPPED if path is None else path
    sha256 = _digest(chosen)
    manifest = chosen.with_suffix(".json")
    if path is not None and not manifest.exists():
        return ModelFile(chosen, sha256, None)
    return ModelFile(chosen, sha256, _calibration(manifest, chosen, sha256))


def load_first_stage(path: Path = FIRST_STAGE) -> FirstStage:
    """Raises ConfigurationError with one Fault for a file that is missing, altered or of another version."""
    manifest = path.with_suffix(".manifest.json")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    sha256, expected = hashlib.sha256(data).hexdigest(), _read(manifest).get("sha256")
    if sha256 != expected:
        raise refuse(path, f"altered or truncated: its sha256 is {sha256}, its manifest says {expected}")
    try:
        return first_stage_of(json.loads(data), sha256[:12])
    except ValueError as error:
        raise refuse(path, str(error)) from error


def refuse(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError([Fault(str(path), None, "", f"classifier model: {problem}")])


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise refuse(path, "not a GGUF file")
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error


def _calibration(manifest: Path, model: Path, sha256: str) -> Calibration:
    fields = _read(manifest)
    try:
        expected, serialisation = str(fields["sha256"]), str(fields["serialisation"])
        values = (float(fields[name]) for name in ("temperature", "threshold", "tainted_threshold"))
        calibration = Calibration(*values)
    except (KeyError, TypeError, ValueError) as error:
        raise refuse(manifest, f"the manifest lacks a usable field: {error}") from error
    if expected != sha256:
        raise refuse(model, f"altered or truncated: its sha256 is {sha256}, its manifest says {expected}")
    if serialisation != VERSION:
        raise refuse(manifest, f"trained on serialisation {serialisation}, this version writes {VERSION}")
    if not (calibration.temperature > 0 and 0 <= calibration.tainted_threshold <= calibration.threshold <= 1):
        raise refuse(manifest, "temperature must be above 0, and 0 <= tainted_threshold <= threshold <= 1")
    return calibration


def _read(manifest: Path) -> dict[str, Any]:
    try:
        fields = json.loads(manifest.read_bytes())
    except OSError as error:
        raise refuse(manifest, f"the manifest cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise refuse(manifest, f"the manifest is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise refuse(manifest, "the manifest is not a JSON object")
    return fields
