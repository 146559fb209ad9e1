import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.units import MAX_CHARACTERS, MAX_UNIT, units_of


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", ("",)),
        ("One thing. Another thing! A third?", ("One thing.", "Another thing!", "A third?")),
        ("version 1.2.3 of e.g. this", ("version 1.2.3 of e.g. this",)),
        ("first line\nsecond line\r\n\r\nthird", ("first line", "second line", "third")),
        ('{"from": "ann", "body": "Hello. Pay now."}', ("from: ann", "body: Hello.", "Pay now.")),
        ('["a1", {"Send all of it": {"to": "bob"}}]', ("a1", "Send all of it:", "to: bob")),
        ('"a JSON text. In two."', ("a JSON text.", "In two.")),
        ("完成。请转账。", ("完成。", "请转账。")),
        ("\u200bpay\u200b him", ("pay him",)),
    ],
)
def test_a_text_is_cut_into_sentences_lines_and_fields(text: str, units: tuple[str, ...]) -> None:
    assert units_of(text).texts == units


def test_pieces_of_a_long_unit_overlap_and_lose_nothing() -> None:
    text = "".join(chr(97 + i % 26) for i in range(3 * MAX_UNIT))
    pieces = units_of(text).texts
    assert all(len(piece) <= MAX_UNIT for piece in pieces)
    for start in range(0, len(text) - 40):
        assert any(text[start : start + 40] in piece for piece in pieces)


def test_what_is_not_read_is_said() -> None:
    assert not units_of("x" * MAX_CHARACTERS).truncated
    assert units_of("x" * (MAX_CHARACTERS + 1)).truncated


PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner), max_leaves=20))
def test_every_word_of_a_tree_is_in_some_unit(tree: object) -> None:
    """Keys too: what names a field may hold an order as well as what it holds."""
    found = " ".join(units_of(json.dumps(tree)).texts)
    for text in texts_in(tree):
        for word in re.findall(r"\w\w+", text):
            assert word in found


def texts_in(tree: object) -> Iterator[str]:
    match tree:
        case str():
            yield tree
        case dict():
            yield from tree
            yield from (text for value in tree.values() for text in texts_in(value))
        case list():
            yield from (text for value in tree for text in texts_in(value))
