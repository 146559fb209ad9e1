"""The corpus of user requests: well-formed, the same every time, and without a frame that gives the label away."""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from guardproxy.offline.evaluate.rows import parse

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from training.corpus.requests import rows  # noqa: E402
from training.corpus.requests.tables import everyday, frames, twins  # noqa: E402

KEYS = "id source license kind user_task system tools history tool_call tool_result label category note".split()
TAXONOMY = (ROOT / "training" / "corpus" / "TAXONOMY.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def some() -> list[dict[str, Any]]:
    return list(rows(7))


def facts(row: dict[str, Any]) -> dict[str, str]:
    return dict(part.split("=", 1) for part in row["note"].split("; "))


def test_every_row_has_the_schema(some: list[dict[str, Any]]) -> None:
    for row in some:
        assert list(row) == KEYS
        assert (row["source"], row["license"], row["kind"]) == ("corpus-requests", "Apache-2.0", "user_request")
        assert row["user_task"].strip()
        assert (row["label"] == "benign") is (row["category"] == "benign")
        assert json.loads(json.dumps(row)) == row
        assert parse(row).harmful is (row["label"] == "harmful")


def test_every_category_is_one_of_the_taxonomy(some: list[dict[str, Any]]) -> None:
    for category in {row["category"] for row in some}:
        assert f"| `{category}` |" in TAXONOMY


def test_no_slot_is_left_open(some: list[dict[str, Any]]) -> None:
    assert [row["user_task"] for row in some if "«" in row["user_task"] or "»" in row["user_task"]] == []
    assert [row["user_task"] for row in some if "¶" in row["user_task"]] == []


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(some: list[dict[str, Any]]) -> None:
    assert list(rows(7)) == some
    framed = {row["id"] for row in some if facts(row)["frame"] != "bare"}
    others = {row["id"] for row in rows(8) if facts(row)["frame"] != "bare"}
    assert len(framed & others) < len(framed) / 4


def test_no_request_comes_twice(some: list[dict[str, Any]]) -> None:
    assert max(Counter(row["user_task"] for row in some).values()) == 1
    assert max(Counter(row["id"] for row in some).values()) == 1


def test_each_harmful_row_has_a_harmless_twin_in_the_same_frame(some: list[dict[str, Any]]) -> None:
    pairs = defaultdict(list)
    for row in some:
        if "pair" in facts(row):
            pairs[facts(row)["pair"]].append(row)
    for both in pairs.values():
        assert [row["label"] for row in both] == ["harmful", "benign"]
        assert facts(both[0]) == facts(both[1])


def test_no_frame_and_no_language_tells_the_label(some: list[dict[str, Any]]) -> None:
    for key in ("frame", "language"):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in some:
            counts[facts(row)[key]][row["label"]] += 1
        for value, labels in counts.items():
            assert 0.4 <= labels["harmful"] / labels.total() <= 0.5, value


def test_the_corpus_is_large_and_varied(some: list[dict[str, Any]]) -> None:
    assert len(some) >= 3000
    assert len({facts(row)["language"] for row in some}) >= 12
    assert len({facts(row)["domain"] for row in some}) >= 12
    assert len({row["category"] for row in some if row["label"] == "harmful"}) >= 8
    for kind in ("polite", "setting", "story", "role", "rules", "claim", "form"):
        assert len(frames()["en"][kind]) >= 8, kind


def test_every_sentence_of_the_tables_is_used_and_stands_there_once(some: list[dict[str, Any]]) -> None:
    names = [pair.name for pair in twins()] + [each.name for each in everyday()]
    assert {facts(row)["case"] for row in some} == set(names)
    assert len(set(names)) == len(names)
    texts = Counter(text for pair in twins() for text in (pair.harmful, pair.benign))
    texts.update(each.text for each in everyday())
    assert [text for text, count in texts.items() if count > 1] == []


def test_alarming_words_stand_in_harmless_requests_too(some: list[dict[str, Any]]) -> None:
    """So that no word alone tells."""
    for word in ("kill", "attack", "bomb", "password", "steal", "delete", "drug", "weapon", "shoot", "hide"):
        labels = Counter(row["label"] for row in some if word in row["user_task"].lower())
        assert labels["benign"] >= 3, word


@pytest.mark.parametrize("language", sorted(frames()))
def test_a_frame_holds_the_wish_once(language: str) -> None:
    for kind, texts in frames()[language].items():
        slot = "«do»" if kind == "ask" else "«wish»"
        assert [text for text in texts if text.count(slot) != 1] == []
