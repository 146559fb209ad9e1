from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.prefix.echo import EchoFilter

PREFIX = "I will help."


def run(pieces, *, keep, prefix=PREFIX):
    """The joined text, and whether it was seen as an echo."""
    echo = EchoFilter(prefix, keep=keep, trim=not keep)
    shown = [echo.receive(0, piece) for piece in pieces]
    return "".join(text for text in shown if text is not None) + echo.finish(0), echo.echoed


TABLE = [
    # whole text, without the prefix, with it, echoed
    ("I will help. Sure", "Sure", "I will help. Sure", True),
    ("I will help.", "", "I will help.", True),
    (" I will help.\n\nSure thing", "Sure thing", " I will help.\n\nSure thing", True),
    ("I will help.I will help.", "I will help.", "I will help.I will help.", True),
    (" Sure", "Sure", "I will help. Sure", False),
    ("I will not", "I will not", "I will help.I will not", False),
    ("I wi", "I wi", "I will help.I wi", False),
    ("i will help.", "i will help.", "I will help.i will help.", False),
    ("Then: I will help.", "Then: I will help.", "I will help.Then: I will help.", False),
    ("  ", "", "I will help.  ", False),
    ("", "", "", None),
]


@pytest.mark.parametrize(("text", "stripped", "kept", "echoed"), TABLE)
def test_whole_texts(text, stripped, kept, echoed):
    assert run([text], keep=False) == (stripped, echoed)
    assert run([text], keep=True) == (kept, echoed)


@pytest.mark.parametrize(("text", "stripped", "kept", "echoed"), TABLE)
def test_one_character_at_a_time(text, stripped, kept, echoed):
    assert run(text, keep=False) == (stripped, echoed)
    assert run(text, keep=True) == (kept, echoed)


@pytest.mark.parametrize(("text", "stripped", "kept", "echoed"), TABLE)
def test_every_split_in_two(text, stripped, kept, echoed):
    for at in range(len(text) + 1):
        assert run([text[:at], text[at:]], keep=False) == (stripped, echoed)
        assert run([text[:at], text[at:]], keep=True) == (kept, echoed)


@st.composite
def split_answers(draw):
    """Answers over a small alphabet, so that echoes and near echoes are common, with a way of cutting them."""
    prefix = draw(st.text("ab ", min_size=1, max_size=6).map(str.strip).filter(bool))
    text = draw(st.sampled_from(["", prefix, " " + prefix, prefix[:-1]])) + draw(st.text("ab ", max_size=8))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    return prefix, text, [text[a:b] for a, b in pairwise(edges)]


@given(split_answers(), st.booleans())
def test_however_it_is_cut_the_text_is_the_same(answer, keep):
    prefix, text, pieces = answer
    assert run(pieces, keep=keep, prefix=prefix) == run([text], keep=keep, prefix=prefix)


@given(split_answers())
def test_kept_is_stripped_plus_prefix(answer):
    prefix, text, pieces = answer
    stripped, echoed = run(pieces, keep=False, prefix=prefix)
    kept, _ = run(pieces, keep=True, prefix=prefix)
    if text:
        shown = text if echoed else prefix + text
        assert kept == shown
        assert stripped == shown.lstrip()[len(prefix) :].lstrip()
        assert kept.lstrip().startswith(prefix)
    else:
        assert (kept, echoed) == ("", None)


def test_no_text_is_held_once_it_cannot_be_an_echo():
    echo = EchoFilter(PREFIX, keep=False, trim=True)
    assert echo.receive(0, "I will ") is None
    assert echo.receive(0, "stop") == "I will stop"
    assert echo.receive(0, " here") == " here"
    assert echo.finish(0) == ""


def test_empty_pieces_pass_before_anything_is_held():
    echo = EchoFilter(PREFIX, keep=True)
    assert echo.receive(0, "") == ""
    assert echo.echoed is None
    assert echo.receive(0, "I") is None
    assert echo.receive(0, "") is None


def test_choices_are_apart():
    echo = EchoFilter(PREFIX, keep=False, trim=True)
    assert echo.receive(0, "I will") is None
    assert echo.receive(1, "No") == "No"
    assert echo.echoed is False
    assert echo.receive(0, " help. Yes") == "Yes"
    assert echo.receive(0, " no") == " no"
    assert echo.echoed is True
    assert echo.finish(2) == ""


def test_the_blanks_behind_what_a_client_began_itself_are_the_answers():
    echo = EchoFilter("The answer is", keep=False)
    assert echo.receive(0, "The answer is") == ""
    assert echo.receive(0, " 42.") == " 42."
    assert echo.settled(1)
