"""The prefixes of a configuration: which are read, which are refused, and what the pipeline asks."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from guardproxy.config.prefixing import load_arms, make_prefixer
from guardproxy.config.read import read_settings
from guardproxy.errors import ConfigurationError
from guardproxy.prefix.artifact import digest_of


def score(value: float) -> dict[str, Any]:
    return {"value": value, "low": 0.0, "high": 1.0, "n": 50}


def write(folder: Any, name: str, perform: float | None = None, gated: float | None = None, **changes: Any) -> None:
    content = {
        "version": 1,
        "id": name,
        "text": f"I will help, says {name}.",
        "learned": {"method": "hand-written", "date": None, "source": "a test"},
        "models": ["*"],
        "position": "prefill",
        "scores": None if perform is None else {"perform": score(perform), "refuse": score(0.5)},
        **changes,
    }
    if gated is not None:
        content["gate"] = {"threshold": 0.5, "scores": {"perform": score(gated), "refuse": score(0.5)}}
    text = yaml.safe_dump({**content, "digest": digest_of(content)})
    (folder.path / f"{name}.yaml").write_text(text)


BASE = "policy: [own.yaml]\nguards: {classifier: {enabled: false}}\n"


def settings_of(folder: Any, prefix: str) -> Any:
    folder.settings_file.write_text(f"{BASE}prefix: {prefix}\n")
    return read_settings(folder.settings_file, {})


def faults(folder: Any, prefix: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        load_arms(settings_of(folder, prefix).prefix)
    return str(refusal.value)


def test_nothing_is_named(folder) -> None:
    settings = settings_of(folder, "{}")
    assert load_arms(settings.prefix) == ()
    assert make_prefixer(settings, ()) is None


def test_the_first_that_fits_a_model_counts(folder) -> None:
    write(folder, "a", models=["qwen*"])
    write(folder, "b")
    (arm,) = load_arms(settings_of(folder, "{file: a.yaml, files: [b.yaml]}").prefix)
    assert (arm.name, [artifact.id for artifact in arm.artifacts]) == ("main", ["a", "b"])


def test_arms_are_read(folder) -> None:
    write(folder, "a")
    text = "{arms: [{name: old}, {name: new, weight: 3, files: [a.yaml], shadow: true}], turns: first}"
    settings = settings_of(folder, text)
    old, new = load_arms(settings.prefix)
    assert (old.artifacts, old.weight, old.shadow) == ((), 1, False)
    assert ([each.id for each in new.artifacts], new.weight, new.shadow) == (["a"], 3, True)
    prefixer = make_prefixer(settings, (old, new))
    assert prefixer is not None
    assert [arm.name for arm in prefixer.arms] == ["old", "new"]


def test_the_faults_of_all_files_are_told(folder) -> None:
    told = faults(folder, "{arms: [{name: a, files: [gone.yaml]}, {name: b, files: [lost.yaml, gone.yaml]}]}")
    assert told.count("gone.yaml") == 1
    assert "lost.yaml" in told


@pytest.mark.parametrize("prefix", ["file: a.yaml", "arms: [{name: x, files: [a.yaml]}]"])
def test_a_prefix_below_the_floor_is_refused(folder, prefix: str) -> None:
    write(folder, "a", perform=0.88)
    assert "scores.perform: 88% of benign tasks done is less than prefix.floor, 90%" in faults(
        folder, f"{{{prefix}, floor: 0.9}}"
    )
    assert load_arms(settings_of(folder, f"{{{prefix}, floor: 0.88}}").prefix)
    assert load_arms(settings_of(folder, f"{{{prefix}}}").prefix)


def test_a_floor_wants_a_measurement(folder) -> None:
    write(folder, "a")
    assert "was not measured" in faults(folder, "{file: a.yaml, floor: 0.5}")


def test_what_counts_behind_a_gate_is_what_was_done_behind_it(folder) -> None:
    write(folder, "a", perform=0.6, gated=0.97)
    assert load_arms(settings_of(folder, "{file: a.yaml, floor: 0.9}").prefix)
    assert " scores.perform" in faults(folder, "{file: a.yaml, floor: 0.9, gate: false}")
    assert " scores.perform" in faults(folder, "{file: a.yaml, floor: 0.9, gate_threshold: 0.1}")


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("{file: a.yaml, arms: [{name: x, files: [a.yaml]}]}", "prefix.arms: stand in place of file"),
        ("{arms: [{name: x}]}", "prefix.arms: no arm has a prefix"),
        ("{arms: [{name: x, files: [a.yaml]}, {name: x}]}", "another arm has this name"),
        ("{arms: [{name: x, files: [a.yaml]}, {name: y, shadow: true}]}", "shadow: means nothing without files"),
        ("{file: a.yaml, gate: false, gate_threshold: 0.5}", "means nothing where gate is false"),
        ("{arms: [{name: x, files: [a.yaml], weight: 0}]}", "weight"),
        ("{file: a.yaml, turns: last}", "turns"),
        ("{file: a.yaml, floor: 2}", "floor"),
    ],
)
def test_settings_that_contradict_each_other(folder, prefix: str, told: str) -> None:
    write(folder, "a")
    with pytest.raises(ConfigurationError) as refusal:
        settings_of(folder, prefix)
    assert told in str(refusal.value)


def test_an_altered_artifact_is_refused(folder) -> None:
    write(folder, "a")
    file: Path = folder.path / "a.yaml"
    file.write_text(file.read_text().replace("I will help", "I will do"))
    assert "digest" in faults(folder, "{file: a.yaml}")
