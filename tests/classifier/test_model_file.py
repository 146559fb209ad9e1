import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardproxy.classifier.engine import load_engine
from guardproxy.classifier.model_file import SHIPPED, find_model
from guardproxy.classifier.serialise import VERSION
from guardproxy.errors import ConfigurationError

MANIFEST = SHIPPED.with_suffix(".json")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the shipped model with its manifest beside it."""
    for file in (SHIPPED, MANIFEST):
        shutil.copy(file, tmp_path)
    return tmp_path / SHIPPED.name


def edit(model: Path, **fields: object) -> None:
    manifest = model.with_suffix(".json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | fields))


def flip_a_bit(model: Path) -> None:
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)


def test_the_shipped_model_is_small_and_what_its_manifest_says() -> None:
    file = find_model(None)
    assert file.path == SHIPPED
    assert file.calibration is not None
    assert SHIPPED.stat().st_size <= 15_000_000


def test_the_manifest_says_what_the_model_is_and_where_it_comes_from() -> None:
    manifest: dict[str, Any] = json.loads(MANIFEST.read_text())
    assert manifest["serialisation"] == VERSION
    assert manifest["labels"][0] == "benign"
    assert manifest["command"]
    assert manifest["date"]
    assert manifest["base"]["licence"] == "Apache-2.0"
    assert {source["repository"] for source in manifest["sources"]} == {
        "training/corpus/requests",
        "training/corpus/results",
    }


def test_the_labels_in_the_file_are_those_of_the_manifest() -> None:
    engine = load_engine(None, threads=1, queue=1)
    engine.close()
    assert list(engine.labels) == json.loads(MANIFEST.read_text())["labels"]


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (flip_a_bit, "altered or truncated"),
        (lambda m: m.write_bytes(m.read_bytes()[:-1]), "altered or truncated"),
        (lambda m: m.write_bytes(m.read_bytes() + b"\x00"), "altered or truncated"),
        (lambda m: m.unlink(), "cannot be read"),
        (lambda m: edit(m, sha256="0" * 64), "altered or truncated"),
        (lambda m: edit(m, serialisation="0"), "serialisation 0"),
        (lambda m: edit(m, temperature=0), "temperature"),
        (lambda m: edit(m, threshold=1.5), "threshold"),
        (lambda m: edit(m, threshold="high"), "usable field"),
        (lambda m: m.with_suffix(".json").write_text("{"), "not JSON"),
        (lambda m: m.with_suffix(".json").write_text("[]"), "not a JSON object"),
        (lambda m: m.with_suffix(".json").write_text("{}"), "sha256"),
    ],
)
def test_a_file_that_differs_from_its_manifest_is_one_fault(
    copy: Path, harm: Callable[[Path], object], problem: str
) -> None:
    harm(copy)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        load_engine(copy, threads=1, queue=1)
    assert len(caught.value.faults) == 1


def test_the_revision_names_the_weights_and_the_calibration(copy: Path) -> None:
    before = find_model(copy).revision
    assert before == find_model(None).revision
    edit(copy, temperature=2.5)
    assert find_model(copy).revision != before
