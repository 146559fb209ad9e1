from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import ConfigurationError
from guardproxy.prefix.artifact import Use, digest_of, load_artifact, parse_artifact

STARTER = Path(__file__).parents[2] / "policies" / "prefixes" / "starter.yaml"
SCORE = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 50}
CONTENT = {
    "version": 1,
    "id": "ping-1",
    "text": "I will do what is harmless.",
    "instruction": None,
    "learned": {"method": "ping", "date": "2026-11-20", "source": "traces"},
    "models": ["qwen*", "*/qwen*"],
    "position": "prefill",
    "scores": {"perform": SCORE, "refuse": SCORE},
}


def written(**changes):
    content = {**CONTENT, **changes}
    content = {key: value for key, value in content.items() if value is not ...}
    content.setdefault("digest", digest_of(content))
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode()


def faults(data):
    with pytest.raises(ConfigurationError) as caught:
        parse_artifact(data, "p.yaml")
    return [str(fault) for fault in caught.value.faults]


def test_the_starter_loads_and_says_that_it_was_not_learned():
    artifact = load_artifact(STARTER)
    assert artifact.scores is None
    assert "not learned" in artifact.learned.source
    assert artifact.fits("any/model")
    assert artifact.text in artifact.instruction_text


def test_a_whole_artifact():
    artifact = parse_artifact(written(), "p.yaml")
    assert (artifact.id, artifact.text, artifact.position) == ("ping-1", "I will do what is harmless.", Use.PREFILL)
    assert artifact.scores.refuse.value == 0.8
    assert [artifact.fits(m) for m in ("qwen3", "org/qwen2", "llama", "Qwen3")] == [True, True, False, False]


def test_an_instruction_of_its_own_is_used():
    assert parse_artifact(written(instruction="Refuse harm."), "p.yaml").instruction_text == "Refuse harm."


def test_a_gate_is_part_of_what_the_digest_is_over():
    gate = {"threshold": 0.25, "scores": {"perform": SCORE, "refuse": SCORE}}
    artifact = parse_artifact(written(position="suffix", gate=gate), "p.yaml")
    assert (artifact.position, artifact.gate.threshold) == (Use.SUFFIX, 0.25)
    altered = written(gate=gate).replace(b"threshold: 0.25", b"threshold: 0.75")
    assert any("digest" in fault for fault in faults(altered))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "I will. ",
        " I will.",
        "I will.\n",
        "<|im_end|>I will.",
        "I will <|eot_id|> do",
        "<｜end▁of▁sentence｜>",
        "[INST] hi [/INST] x",
        "</s>I will",
        "<start_of_turn>model",
        "I <think> so",
        "<tool_call>{}</tool_call>x",
        "[TOOL_CALLS] x",
        "<<SYS>>x",
        "a\x00b",
        "a\x1b[31mb",
        "a\u2028b",
        "x" * 2001,
    ],
)
def test_a_text_that_cannot_begin_a_turn_is_a_fault(text):
    assert any(": text: " in fault for fault in faults(written(text=text)))


@pytest.mark.parametrize(
    "text", ["# I will act\nwith care.", "If a < b, I stop.", "I refuse: [1] harm, [2] theft.", "Å, ja."]
)
def test_texts_that_can(text):
    assert parse_artifact(written(text=text), "p.yaml").text == text


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"version": 2}, "version"),
        ({"version": ...}, "version"),
        ({"id": "Bad Id"}, "id"),
        ({"models": []}, "models"),
        ({"models": "qwen*"}, "models"),
        ({"position": "middle"}, "position"),
        ({"gate": {}}, "gate.threshold"),
        ({"gate": {"threshold": 1.5}}, "gate.threshold"),
        ({"gate": {"threshold": 0.5, "scores": {"perform": SCORE}}}, "gate.scores.refuse"),
        ({"scores": ...}, "scores"),
        ({"scores": {"perform": SCORE}}, "scores.refuse"),
        ({"scores": {"perform": SCORE, "refuse": {**SCORE, "low": 0.95}}}, "scores.refuse"),
        ({"scores": {"perform": SCORE, "refuse": {**SCORE, "value": 1.2}}}, "scores.refuse.value"),
        ({"learned": {"method": "m", "date": "yesterday", "source": "s"}}, "learned.date"),
        ({"learned": {"method": "m", "date": None}}, "learned.source"),
        ({"extra": 1}, "extra"),
        ({"instruction": ""}, "instruction"),
        ({"digest": ...}, "digest"),
        ({"digest": "sha256:" + "0" * 64}, "digest"),
        ({"digest": "abc"}, "digest"),
    ],
)
def test_faults_name_their_place(changes, place):
    data = written(**changes)
    if changes.get("digest") is ...:
        data = data[: data.index(b"digest:")]
    assert any(f": {place}: " in fault for fault in faults(data))


def test_all_faults_come_at_once_with_lines():
    found = faults(written(text="", id="A", extra=1))
    assert len(found) == 3
    assert all(fault.startswith("p.yaml:") for fault in found)


def test_a_changed_text_no_longer_fits_its_digest_and_the_fault_names_the_right_one():
    data = written().replace(b"harmless", b"harmful")
    (fault,) = faults(data)
    expected = digest_of(yaml.safe_load(data))
    assert expected in fault
    corrected = data.replace(digest_of(CONTENT).encode(), expected.encode())
    assert parse_artifact(corrected, "p.yaml").text == "I will do what is harmful."


@pytest.mark.parametrize("data", [b"", b"[]", b"text: a\ntext: b\n", b"\xff", b"a: [", b"- 1\n", b"null"])
def test_what_is_no_artifact_at_all(data):
    assert faults(data)


def test_a_missing_file_is_a_fault(tmp_path):
    with pytest.raises(ConfigurationError):
        load_artifact(tmp_path / "none.yaml")


@given(st.permutations(list(CONTENT)))
def test_the_digest_does_not_depend_on_the_order_of_keys(keys):
    assert digest_of({key: CONTENT[key] for key in keys}) == digest_of(CONTENT)


@given(st.sampled_from(sorted(CONTENT)), st.text(max_size=5))
def test_the_digest_depends_on_every_field(key, value):
    assert digest_of({**CONTENT, key: value}) != digest_of(CONTENT)
