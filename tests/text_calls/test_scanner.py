"""From where on a streamed text waits, and how long."""

import pytest

from guardproxy.text_calls import Channel, Format, Suspicion, TextCall, TextCallScanner, Watch
from guardproxy.text_calls.scanner import MAX_REGION

CLEAR, SUSPECT, CALL = Suspicion
TEXT, REASONING = Channel.TEXT, Channel.REASONING
NATIVE = frozenset({Format.MARKERS, Format.JSON, Format.PYTHONIC})
DECLARED = Watch(NATIVE, frozenset({"search"}))
ANY = Watch(frozenset(Format) - {Format.PROGRAM}, None)
CALL_TEXT = '{"name": "search", "arguments": {}}'


def states(scanner: TextCallScanner, *pieces: str) -> list[Suspicion]:
    return [scanner.feed(0, TEXT, piece) for piece in pieces]


@pytest.mark.parametrize(
    "pieces",
    [
        ("<", "tool", "_call", ">"),
        ("<tool_",),
        ("[TOOL", "_CALLS", "]"),
        ("`", "``", "json\n", "{"),
        ("```json\n\n",),
        ("{", " ", '"'),
        ("[", "sea", "rch("),
        ("A", "ction", ":"),
        ("a", "c", "tion", " ", "1", ":"),
        ("```py", "thon\n", "x"),
        ("<co", "de", ">"),
        ("✿", "FUNC"),
        ("~", "~~", "\n"),
        ("<｜", "tool▁", "calls"),
    ],
)
def test_the_beginning_of_a_mark_waits(pieces: tuple[str, ...]) -> None:
    scanner = TextCallScanner(ANY)
    assert states(scanner, "Hello. ", *pieces) == [CLEAR] + [SUSPECT] * len(pieces)


@pytest.mark.parametrize(
    ("pieces", "last"),
    [
        (("<", "b>"), CLEAR),
        (("<tool", "box> "), CLEAR),
        (("[", "1]"), CLEAR),
        (("[see", " here"), CLEAR),
        (("{", "}"), CLEAR),
        (('{"a": 1', "} "), CLEAR),
        (("```", "python\nx"), CLEAR),
        (('{"a": {"name": "search", "arguments": {}', "}}"), CALL),
        (("[search(", ")]"), CALL),
        (("[other(", ")]"), CLEAR),
    ],
)
def test_what_was_suspected_is_refuted_or_confirmed(pieces: tuple[str, str], last: Suspicion) -> None:
    assert states(TextCallScanner(DECLARED), *pieces) == [SUSPECT, last]


def test_a_call_waits_for_the_end_of_the_turn() -> None:
    scanner = TextCallScanner(DECLARED)
    assert states(scanner, CALL_TEXT, " and more prose") == [CALL, CALL]
    assert scanner.close() == [TextCall(0, TEXT, 0, "search", "{}")]


def test_an_empty_piece_changes_nothing() -> None:
    scanner = TextCallScanner(DECLARED)
    assert states(scanner, "", "<tool", "", "_call>") == [CLEAR, SUSPECT, SUSPECT, SUSPECT]


def test_a_region_that_does_not_end_waits_for_the_end_of_the_turn() -> None:
    scanner = TextCallScanner(DECLARED)
    states(scanner, '{"a": "', "x" * MAX_REGION, '"}')
    assert states(scanner, " prose") == [SUSPECT]
    assert scanner.close() == []


def test_choices_and_channels_are_kept_apart() -> None:
    scanner = TextCallScanner(DECLARED)
    assert scanner.feed(1, TEXT, CALL_TEXT[:9]) is SUSPECT
    assert scanner.feed(0, TEXT, CALL_TEXT[9:]) is CLEAR
    assert scanner.feed(0, REASONING, "ab " + CALL_TEXT) is CALL
    assert scanner.feed(0, TEXT, "prose") is CALL
    assert scanner.feed(1, TEXT, CALL_TEXT[9:]) is CALL
    assert scanner.close() == [TextCall(0, REASONING, 3, "search", "{}"), TextCall(1, TEXT, 0, "search", "{}")]


def test_reasoning_is_no_program_as_it_stands() -> None:
    scanner = TextCallScanner(Watch(frozenset({Format.CODE, Format.PROGRAM}), None))
    assert scanner.feed(0, REASONING, "x = 1") is CLEAR
    assert scanner.feed(0, TEXT, "x = 1") is SUSPECT
    assert [call.channel for call in scanner.close()] == [TEXT]


@pytest.mark.parametrize("piece", ["`", "~", "[", "{", "<", "A", "{'a", '{"', "[f(", "<tool_call>", "Action", "\n```"])
def test_a_flood_of_openings_costs_no_more_than_its_length(piece: str) -> None:
    """Would take minutes, were any of it read again and again."""
    scanner = TextCallScanner(ANY)
    for _ in range(20_000):
        scanner.feed(0, TEXT, piece)
    scanner.close()
