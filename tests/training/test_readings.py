"""What the text model is taught: readings in windows, of a harmful result only those with the injected text."""

import json
from array import array
from typing import Any

import pytest

from guardproxy.classifier.ngrams import BUCKETS, NgramModel
from guardproxy.offline.evaluate.rows import parse
from training.classifier.readings import LABELS, bag_of, reading_of, windows_of
from training.classifier.samples import Sample

NOTHING = NgramModel(array("b", bytes(BUCKETS)), 1.0, 0.0)


def tokenize(text: str) -> list[int]:
    """A token a word."""
    return [hash(word) for word in text.split()]


def sample(kind: str, *, harmful: bool = False, category: str = "", **fields: Any) -> Sample:
    row = {
        "id": "1",
        "source": "own",
        "license": "MIT",
        "kind": kind,
        "user_task": "Read me the note.",
        "system": "",
        "tools": [],
        "history": [],
        "tool_call": None,
        "tool_result": None,
        "label": "harmful" if harmful else "benign",
        "category": category or "benign",
        "note": "",
    }
    return Sample(parse(row | fields), "own", "own notes", category)


def test_a_request_is_read_behind_its_lead() -> None:
    reading = reading_of(sample("user_request"), NOTHING)
    assert (reading.lead, reading.body) == ("request:", "Read me the note.")
    assert windows_of(reading, tokenize) == (tuple(tokenize("request: Read me the note.")),)


def test_a_call_is_taught_nothing_but_its_request() -> None:
    call = sample("tool_call", tool_call={"name": "read_note", "arguments": {"id": "7"}})
    assert reading_of(call, NOTHING).body == "Read me the note."


@pytest.mark.parametrize("category", LABELS[2:])
def test_a_harmful_request_is_taught_its_category(category: str) -> None:
    assert bag_of(sample("user_request", harmful=True, category=category), NOTHING, tokenize).label == LABELS.index(
        category
    )


def test_benign_is_the_first_label() -> None:
    assert bag_of(sample("user_request"), NOTHING, tokenize).label == LABELS.index("benign") == 0


def test_of_a_harmful_result_the_windows_with_the_injected_text_are_taught() -> None:
    before, injected, after = (
        " ".join(f"{name}{i}" for i in range(n)) for name, n in (("a", 300), ("x", 9), ("b", 300))
    )
    text = f"{before} {injected} {after}"
    begin = text.index("x0")
    found = bag_of(
        sample(
            "tool_result",
            harmful=True,
            tool_result=text,
            note=f"domain=notes; span={begin}-{begin + len(injected)}",
            tool_call={"name": "read_note", "arguments": {}},
        ),
        NOTHING,
        tokenize,
    )
    assert found.label == LABELS.index("injected_instruction")
    assert found.windows
    assert all(set(tokenize(injected)) <= set(window) for window in found.windows)


def test_of_a_clean_result_all_windows_are_taught() -> None:
    text = json.dumps({"note": " ".join(f"a{i}" for i in range(300))})
    clean = sample("tool_result", tool_result=text, tool_call={"name": "read_note", "arguments": {}})
    assert len(bag_of(clean, NOTHING, tokenize).windows) > 2
