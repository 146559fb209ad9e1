"""A model that cannot be had: refused, or gone on without and told of."""

import shutil
from pathlib import Path

import pytest

from guardproxy.classifier.model_file import SHIPPED
from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.read import read_settings
from guardproxy.config.reload import adopt
from guardproxy.config.runtime import Foundation, build, lay_foundation
from guardproxy.config.settings import Settings
from guardproxy.errors import ConfigurationError

BASE = "policy: [own.yaml]\nguards: {classifier: {enabled: false}}\n"
GONE = "policy: [own.yaml]\nguards: {classifier: {model: gone.gguf, on_model_fault: %s}}\n"


@pytest.fixture
def foundation() -> Foundation:
    return lay_foundation(Settings(), AuditTarget(None))


def settings_of(folder, text: str) -> Settings:
    folder.write(text)
    return read_settings(folder.settings_file)


def test_by_default_a_missing_model_is_refused(folder, foundation: Foundation) -> None:
    for text in (GONE % "refuse", "policy: [own.yaml]\nguards: {classifier: {model: gone.gguf}}\n"):
        with pytest.raises(ConfigurationError, match=r"gone\.gguf: classifier model: cannot be read") as refusal:
            build(settings_of(folder, text), foundation)
        assert len(refusal.value.faults) == 1


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"GGUF" + b"\xff" * 100])
def test_a_bad_model_may_be_done_without(content: bytes | None, folder, foundation: Foundation) -> None:
    """The first stage, which can be had, judges alone."""
    if content is not None:
        (folder.path / "gone.gguf").write_bytes(content)
    built = build(settings_of(folder, GONE % "degrade"), foundation)
    (fault,) = built.classifier.faults
    assert "gone.gguf" in str(fault)
    assert [guard.name for guard in built.runtime.guards] == ["rules", "declared_tools", "classifier"]
    assert built.models == []


def test_without_any_model_the_other_guards_go_on(
    folder, foundation: Foundation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardproxy.classifier.model_file.load_first_stage.__defaults__", (tmp_path / "gone.json",))
    judged = "on_model_fault: degrade, second_stage: {model: gone-too.gguf}"
    built = build(settings_of(folder, f"policy: [own.yaml]\nguards: {{classifier: {{{judged}}}}}\n"), foundation)
    assert [guard.name for guard in built.runtime.guards] == ["rules", "declared_tools"]
    assert [Path(fault.source).name for fault in built.classifier.faults] == ["gone.json", "gone-too.gguf"]
    assert built.cache_lookups() == (0, 0)


def test_what_is_missing_is_said_in_log_and_metrics(folder, foundation: Foundation, caplog) -> None:
    adopt(build(settings_of(folder, GONE % "degrade"), foundation), foundation)
    assert "goes on without a model" in caplog.text
    assert "gone.gguf" in caplog.text
    assert foundation.metrics.registry.get_sample_value("guardproxy_models_missing") == 1
    caplog.clear()
    adopt(build(settings_of(folder, BASE), foundation), foundation)
    assert caplog.text == ""
    assert foundation.metrics.registry.get_sample_value("guardproxy_models_missing") == 0


def test_a_model_that_came_back_is_taken(folder, foundation: Foundation) -> None:
    """The settings are the same; the file is not."""
    settings = settings_of(folder, GONE % "degrade")
    old = build(settings, foundation)
    shutil.copy(SHIPPED, folder.path / "gone.gguf")
    shutil.copy(SHIPPED.with_suffix(".json"), folder.path / "gone.json")
    new = build(settings, foundation, old)
    try:
        assert new.classifier.faults == ()
        assert new.classifier.engine is not None
        again = build(settings, foundation, new)
        assert again.classifier.engine is new.classifier.engine
    finally:
        new.close_models()
