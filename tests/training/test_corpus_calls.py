"""The corpus of calls keeps its schema, and its pairs leave nothing but the conversation to decide by."""

import json
from collections import Counter, defaultdict
from functools import cache
from typing import Any

import pytest

from training.corpus.calls import rows
from training.corpus.calls.draw import SLOT
from training.corpus.calls.tables import corpus

Row = dict[str, Any]
FIELDS = "id source license kind user_task system tools history tool_call tool_result label category note".split()
CATEGORIES = {"benign", "injected_goal", "tool_misuse", "privilege_abuse", "code_execution", "data_exfiltration"} | {
    "destruction",
    "fraud",
    "privacy",
    "harmful_content",
}
DOMAINS = [domain.name for domain in corpus().domains]


@cache
def sample() -> tuple[Row, ...]:
    return tuple(rows(7, pairs=60))


def note(row: Row) -> dict[str, str]:
    return dict(part.split("=", 1) for part in row["note"].split("; "))


def test_a_seed_gives_the_same_rows_each_time() -> None:
    assert list(rows(3, pairs=4)) == list(rows(3, pairs=4))
    assert list(rows(3, pairs=4)) != list(rows(4, pairs=4))


def test_a_whole_corpus_is_large() -> None:
    assert len(list(rows(0))) >= 6000


def test_every_row_has_the_fields_of_the_schema() -> None:
    for row in sample():
        assert list(row) == FIELDS
        assert row["source"] == "corpus-calls"
        assert row["license"] == "Apache-2.0"
        assert row["kind"] == "tool_call"
        assert row["user_task"].strip()
        assert row["system"] is None or row["system"].strip()
        assert row["tool_result"] is None
        assert row["category"] in CATEGORIES
        assert row["label"] == ("benign" if row["category"] == "benign" else "harmful")
        assert json.loads(json.dumps(row)) == row


def test_the_called_tool_is_declared_and_its_arguments_fit() -> None:
    for row in sample():
        declared = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row["tools"]}
        assert 3 <= len(row["tools"]) == len(declared) <= 14
        called = [row["tool_call"], *(made["function"] for made in _calls(row))]
        for call in called:
            arguments = call["arguments"]
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
            parameters = declared[call["name"]]
            assert arguments.keys() <= parameters["properties"].keys()
        assert set(declared[row["tool_call"]["name"]]["required"]) <= row["tool_call"]["arguments"].keys()


def test_names_of_tools_are_such_as_the_api_takes() -> None:
    for row in sample():
        for tool in row["tools"]:
            name = tool["function"]["name"]
            assert len(name) <= 64
            assert name.replace("_", "").replace("-", "").isalnum()


def _calls(row: Row) -> list[Row]:
    return [call for message in row["history"] for call in message.get("tool_calls", ())]


def test_every_result_answers_an_earlier_call_and_every_call_has_its_result() -> None:
    for row in sample():
        open_ids: set[str] = set()
        seen: set[str] = set()
        for message in row["history"]:
            assert message["role"] in {"user", "assistant", "tool"}
            if message["role"] == "tool":
                open_ids.remove(message["tool_call_id"])
                assert isinstance(message["content"], str)
                continue
            assert not open_ids
            for call in message.get("tool_calls", ()):
                assert isinstance(call["function"]["arguments"], str)
                assert isinstance(json.loads(call["function"]["arguments"]), dict)
                assert call["id"] not in seen
                open_ids.add(call["id"])
                seen.add(call["id"])
        assert not open_ids


def test_the_task_is_a_message_of_the_user() -> None:
    for row in sample():
        assert row["user_task"] in [message["content"] for message in row["history"] if message["role"] == "user"]


def test_no_slot_is_left_open() -> None:
    for row in sample():
        assert not SLOT.search(json.dumps(row, ensure_ascii=False)), row["id"]


def test_no_row_comes_twice() -> None:
    content = Counter(json.dumps({key: row[key] for key in FIELDS[4:11]}, sort_keys=True) for row in sample())
    assert set(content.values()) == {1}
    assert len({row["id"] for row in sample()}) == len(sample())


def test_the_two_of_a_pair_share_the_tool_and_differ_in_the_label() -> None:
    pairs: dict[str, list[Row]] = defaultdict(list)
    for row in sample():
        pairs[note(row)["pair"]].append(row)
    for both in pairs.values():
        assert sorted(row["label"] for row in both) == ["benign", "harmful"]
        assert both[0]["tool_call"]["name"] == both[1]["tool_call"]["name"]
        assert both[0]["tools"] == both[1]["tools"]
        assert len({note(row)["case"] for row in both}) == 1


def test_what_is_said_and_called_never_has_both_labels() -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for row in sample():
        spoken = [(message["role"], message["content"]) for message in row["history"]]
        labels[json.dumps([row["system"], row["user_task"], spoken, row["tool_call"]])].add(row["label"])
    assert {len(found) for found in labels.values()} == {1}


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_domain_tells_the_label(domain: str) -> None:
    labels = [row["label"] for row in sample() if note(row)["domain"] == domain]
    assert 0.35 <= labels.count("harmful") / len(labels) <= 0.65


def test_no_single_mark_of_form_tells_the_label() -> None:
    """What a lazy model would look at: whether something was read, who spoke last, the role-play, the language."""
    marks: dict[str, list[bool]] = defaultdict(list)
    for row in sample():
        harmful = row["label"] == "harmful"
        marks[f"results {bool(_calls(row))}"].append(harmful)
        marks[f"last {row['history'][-1]['role']}"].append(harmful)
        marks[f"language {note(row)['language'] == 'en'}"].append(harmful)
        marks[f"arguments {bool(row['tool_call']['arguments'])}"].append(harmful)
        marks[f"system {row['system'] is None}"].append(harmful)
    for mark, labels in marks.items():
        if len(labels) > 100:
            assert 0.3 <= sum(labels) / len(labels) <= 0.7, mark
