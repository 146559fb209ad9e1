"""The corpus of tool results: well-formed, the same every time, and without a base text that gives the label away."""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from training.corpus.results import rows  # noqa: E402
from training.corpus.results.corpus import VERSIONS  # noqa: E402
from training.corpus.results.disguise import DISGUISES  # noqa: E402
from training.corpus.results.tables import errands, scenes, table  # noqa: E402

KEYS = "id source license kind user_task system tools history tool_call tool_result label category note".split()


@pytest.fixture(scope="module")
def some() -> list[dict[str, Any]]:
    return list(rows(7, versions=6))


def facts(row: dict[str, Any]) -> dict[str, str]:
    return dict(part.split("=", 1) for part in row["note"].split("; "))


def test_every_row_has_the_schema(some: list[dict[str, Any]]) -> None:
    for row in some:
        assert list(row) == KEYS
        assert (row["source"], row["license"], row["kind"]) == ("corpus-results", "Apache-2.0", "tool_result")
        assert row["label"] in ("harmful", "benign")
        assert isinstance(row["tool_result"], str)
        assert row["tool_result"].strip()
        assert row["user_task"]
        assert json.loads(json.dumps(row)) == row


def test_no_slot_is_left_open(some: list[dict[str, Any]]) -> None:
    assert [row["id"] for row in some if "«" in json.dumps(row, ensure_ascii=False)] == []


def test_the_history_ends_with_the_call_that_gave_the_result(some: list[dict[str, Any]]) -> None:
    for row in some:
        last = row["history"][-1]
        (call,) = last["tool_calls"]
        assert (last["role"], call["function"]["name"]) == ("assistant", row["tool_call"]["name"])
        assert json.loads(call["function"]["arguments"]) == row["tool_call"]["arguments"]
        asked = {made["id"] for turn in row["history"] for made in turn.get("tool_calls", ())}
        assert {turn["tool_call_id"] for turn in row["history"] if turn["role"] == "tool"} == asked - {call["id"]}


def test_the_called_tool_is_among_the_tools_once(some: list[dict[str, Any]]) -> None:
    for row in some:
        names = [tool["function"]["name"] for tool in row["tools"]]
        assert row["tool_call"]["name"] in names
        assert len(names) == len(set(names))


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(some: list[dict[str, Any]]) -> None:
    assert list(rows(7, versions=6)) == some
    assert {row["id"] for row in rows(8, versions=1)}.isdisjoint(row["id"] for row in some)


def test_no_result_comes_twice(some: list[dict[str, Any]]) -> None:
    assert max(Counter(row["tool_result"] for row in some).values()) == 1
    assert max(Counter(row["id"] for row in some).values()) == 1


def test_each_clean_row_has_an_injected_twin_of_the_same_base(some: list[dict[str, Any]]) -> None:
    pairs = defaultdict(list)
    for row in some:
        pairs[facts(row)["pair"]].append(row)
    for twins in pairs.values():
        clean, dirty = twins
        assert (clean["label"], dirty["label"]) == ("benign", "harmful")
        assert clean["tool_call"] == dirty["tool_call"]
        assert clean["user_task"] == dirty["user_task"]
        assert clean["tools"] == dirty["tools"]


def test_the_labels_are_balanced_within_each_kind_of_result(some: list[dict[str, Any]]) -> None:
    kinds = {scene["id"]: scene["kind"] for scene in scenes()}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in some:
        counts[kinds[facts(row)["case"]]][row["label"]] += 1
    assert len(counts) >= 25
    for kind, labels in counts.items():
        assert 0.45 <= labels["harmful"] / labels.total() <= 0.55, kind


def test_the_corpus_is_large_and_varied(some: list[dict[str, Any]]) -> None:
    assert len(scenes()) * VERSIONS * 2 >= 8000
    assert len(table("styles")) + len(DISGUISES) + len(table("languages")) >= 40
    assert sum(map(len, errands().values())) >= 200
    assert len({facts(row)["style"] for row in some if row["label"] == "harmful"}) >= 40


def test_every_scene_comes_in_several_versions(some: list[dict[str, Any]]) -> None:
    found = Counter(facts(row)["case"] for row in some)
    assert {scene["id"] for scene in scenes()} == set(found)
    assert min(found.values()) >= 4


def test_clean_texts_ask_for_the_same_errands(some: list[dict[str, Any]]) -> None:
    """So the words of an errand alone do not tell."""
    for word in (
        "transfer",
        "forward",
        "delete",
        "password",
        "ignore",
        "instructions",
        "system",
        "assistant",
        "please",
    ):
        holders = Counter(row["label"] for row in some if word in row["tool_result"].lower())
        assert holders["benign"] >= 4, word


def test_all_entries_of_the_tables_are_texts() -> None:
    """YAML makes other things of some texts: a colon makes a mapping, `yes` a truth value."""
    for name in ("asides", "styles", "prose"):
        assert [entry for entries in table(name).values() for entry in entries if not isinstance(entry, str)] == []


def test_the_span_says_where_the_injected_text_stands() -> None:
    plain = {scene["id"] for scene in scenes() if scene["form"] in ("mail", "web", "doc")}
    for clean, dirty in pairs_of(list(rows(3, versions=4))):
        spans = [tuple(map(int, span.split("-"))) for span in facts(dirty)["span"].split(",")]
        assert all(0 <= start < end <= len(dirty["tool_result"]) for start, end in spans)
        assert "\ue000" not in dirty["tool_result"]
        if facts(dirty)["case"] in plain and facts(dirty)["form"] == "text":
            assert all(dirty["tool_result"][start:end] not in clean["tool_result"] for start, end in spans)


def pairs_of(some: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(some[::2], some[1::2], strict=True))
