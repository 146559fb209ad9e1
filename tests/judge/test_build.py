"""From an operator's file to a judge."""

from collections.abc import Callable
from pathlib import Path

import pytest

from guardproxy.config.read import read_settings
from guardproxy.config.settings import SecondStage
from guardproxy.decision import OnError
from guardproxy.errors import ConfigurationError
from guardproxy.judge import build
from guardproxy.judge.build import build_judge
from guardproxy.judge.engine import LocalJudge
from guardproxy.judge.formats import FormatName
from guardproxy.judge.remote import RemoteJudge

PLACE = "guards:\n  classifier:\n    second_stage:\n"


def read(directory: Path, section: str) -> SecondStage | None:
    file = directory / "guardproxy.yaml"
    file.write_text(PLACE + "".join(f"      {each}\n" for each in section.splitlines()))
    return read_settings(file, {}).guards.classifier.second_stage


def test_there_is_no_second_stage_unless_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "guardproxy.yaml"
    file.write_text("log: {level: info}\n")
    assert read_settings(file, {}).guards.classifier.second_stage is None


def test_a_file_makes_a_judge_in_this_process(tmp_path: Path, write: Callable[..., Path]) -> None:
    write(tmp_path / "guard.gguf")
    settings = read(tmp_path, "model: guard.gguf\nformat: qwen3guard\nband: {low: 0.1, high: 0.8}\nthreads: 1")
    assert settings is not None
    assert (settings.band.low, settings.band.high, settings.on_error) == (0.1, 0.8, OnError.BLOCK)
    judge = build_judge(settings)
    try:
        assert isinstance(judge, LocalJudge)
        assert judge.format is FormatName.QWEN3GUARD
    finally:
        judge.close()


def test_a_name_makes_a_judge_elsewhere_whose_key_is_not_shown(tmp_path: Path) -> None:
    settings = read(tmp_path, "litellm: openai/small\napi_key: sk-judge-key\nbase_url: http://127.0.0.1:9")
    assert settings is not None
    assert "sk-judge-key" not in repr(settings)
    judge = build_judge(settings)
    assert isinstance(judge, RemoteJudge)
    assert len(judge.revision) == 12
    judge.close()


def test_without_the_library_a_judge_elsewhere_is_one_clear_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"second_stage.litellm: .* pip install 'guardproxy\[litellm\]'"):
        build_judge(SecondStage(litellm="openai/small"))


def test_a_file_that_is_not_there_is_one_clear_fault(tmp_path: Path) -> None:
    settings = read(tmp_path, "model: missing.gguf")
    assert settings is not None
    with pytest.raises(ConfigurationError, match=r"missing\.gguf: second stage's model: cannot be read"):
        build_judge(settings)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("threads: 1", r"second_stage.*: needs a model file or the name of a litellm model, and not both"),
        ("model: a.gguf\nlitellm: openai/x", r":4: .*second_stage.model: needs a model file or"),
        ("model: a.gguf\nband: {low: 0.9, high: 0.1}", r":5: .*second_stage.band.low: must not be above high"),
        ("model: a.gguf\napi_key: abc", r"second_stage.*: api_key and base_url are of use with litellm only"),
        ("model: a.gguf\nformat: llama_guard_9", r":5: .*second_stage.format"),
        ("model: a.gguf\nbase_url: http://user:secret@host/", r":5: .*second_stage.base_url: must not hold a user"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(tmp_path: Path, section: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read(tmp_path, section)
    assert len(caught.value.faults) == 1
    assert "secret" not in str(caught.value)
