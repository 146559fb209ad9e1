"""Tokens become text and calls."""

import math

from guardproxy.upstream.organism.pen import Token
from guardproxy.upstream.organism.reading import Called, Said, TurnReader


def tokens(*parts):
    """A part that looks like a mark is one."""
    return [
        Token(b"", part, math.nan, ())
        if part.startswith(("<|", "<tool", "</"))
        else Token(part.encode(), "", math.nan, ())
        for part in parts
    ]


def read(parts, **fields):
    reader = TurnReader(**fields)
    events = []
    for token in tokens(*parts):
        events += reader.receive(token)
        if reader.ended:
            break
    return [*events, *reader.finish()]


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, Said))


def test_text_comes_as_it_is_written():
    assert [event.text for event in read(["I ", "cannot.", "<|end|>", "more"])] == ["I ", "cannot."]


def test_text_and_a_call():
    events = read(["Sure.", "<tool_call>", " get_weather\n", " city: ", "Oslo", "</tool_call>", "<|end|>"])
    assert (text_of(events), events[-1]) == ("Sure.", Called("get_weather", '{"city":"Oslo"}'))


def test_a_call_that_the_prompt_has_begun():
    assert read(["\n city: Oslo", "</tool_call>"], begun=" get_weather") == [Called("get_weather", '{"city":"Oslo"}')]


def test_parameters_that_are_texts_stay_texts():
    parts = ["<tool_call>", " f\n a: 1\n b: 1", "</tool_call>"]
    assert read(parts, texts={"f": {"a"}}) == [Called("f", '{"a":"1","b":1}')]


def test_what_is_no_call_is_text():
    assert text_of(read(["<tool_call>", " no call at all", "</tool_call>"])) == "<tool_call> no call at all</tool_call>"
    assert text_of(read(["<tool_call>", " no call"])) == "<tool_call> no call"


def test_a_call_that_was_cut_off_is_one_if_it_reads_as_one():
    assert read(["<tool_call>", " f\n a: b"]) == [Called("f", '{"a":"b"}')]


def test_a_stop_ends_the_turn_and_is_left_out_even_in_pieces():
    assert text_of(read(["one ST", "OP two"], stops=("STOP",))) == "one "
    assert text_of(read(["one ST", "ART"], stops=("STOP",))) == "one START"


def test_characters_in_pieces():
    reader, data = TurnReader(), "né".encode()
    events = [event for byte in data for event in reader.receive(Token(bytes([byte]), "", math.nan, ()))]
    assert text_of(events) == "né"
    assert sum(len(event.tokens) for event in events) == 3


def test_a_space_that_the_prefill_had_is_not_said_twice():
    assert text_of(read([" and so"], trim=True)) == "and so"
