"""One message out of several attempts."""

from collections.abc import Sequence
from typing import Any

import pytest

from guardproxy.stream.frame import DONE, Frame
from guardproxy.surfaces.messages import Messages
from guardproxy.surfaces.surface import RequestRules, Writer
from guardproxy.testing.messages import (
    PING,
    START,
    STOP,
    USAGE,
    Tree,
    add,
    begin,
    call,
    end,
    finish,
    message,
    piece,
    request,
    text,
    word,
)

AGAIN: Tree = START | {
    "message": START["message"] | {"id": "msg_2", "usage": {"input_tokens": 65, "output_tokens": 16}}
}


def writer(stream: bool = True) -> Writer:
    surface = Messages()
    return surface.writer(surface.parse(request(stream=stream), RequestRules()))


def written(*attempts: Sequence[Tree]) -> list[Tree]:
    """What the client gets of what leaves in each attempt."""
    found: list[Tree] = []
    to_client = writer()
    for attempt in attempts:
        to_client.begin_attempt()
        for tree in attempt:
            for frame in to_client.write(Frame(tree, tree["type"])):
                assert frame.tree is not None
                assert frame.event == frame.tree["type"]
                found.append(dict(frame.tree))
    return found


def test_a_single_attempt_is_not_touched() -> None:
    to_client = writer()
    to_client.begin_attempt()
    trees = [START, PING, text(), word(0, "x"), end(), call(1), piece(1, "{}"), end(1), finish("tool_use"), STOP]
    for frame in [*(Frame(tree, tree["type"]) for tree in trees), DONE]:
        assert to_client.write(frame)[0] is frame


def test_a_later_attempt_goes_on_with_the_next_block() -> None:
    got = written(
        [START, text(), word(0, "One."), end()],
        [AGAIN, PING, text(), word(0, "Two."), end(), call(1), piece(1, "{}"), end(1), finish("tool_use"), STOP],
    )
    assert got[:4] == [START, text(), word(0, "One."), end()]
    assert got[4:11] == [
        PING,
        text(1),
        word(1, "Two."),
        end(1),
        call(2) | {"content_block": call(1)["content_block"]},
        piece(2, "{}"),
        end(2),
    ]
    assert got[-1] == STOP


def test_a_third_attempt_goes_on_after_the_second() -> None:
    one = [START, text(), word(0, "1"), end()]
    got = written(one, [AGAIN, *one[1:]], [AGAIN, *one[1:], finish(), STOP])
    assert [tree["index"] for tree in got if tree["type"] == "content_block_start"] == [0, 1, 2]
    assert [tree["type"] for tree in got].count("message_start") == 1


def test_a_text_that_was_left_open_ends_before_the_next_attempt() -> None:
    got = written([START, text(), word(0, "One ")], [AGAIN, text(), word(0, "Two."), end(), finish(), STOP])
    assert got[2:6] == [word(0, "One "), end(0), text(1), word(1, "Two.")]


def test_what_is_held_of_a_refused_feedback_ends_the_attempt_before() -> None:
    """The next attempt begins, the upstream takes none of it, and so the one before leaves after all."""
    got = written([START, text(), word(0, "One.")], [end(), text(1), word(1, "No."), end(1), finish(), STOP])
    assert got == [START, text(), word(0, "One."), end(), text(1), word(1, "No."), end(1), finish(), STOP]


def test_where_nothing_left_the_later_attempt_is_the_first() -> None:
    assert written([], [AGAIN, text(), end(), finish(), STOP])[0] == AGAIN


def test_usage_never_falls() -> None:
    """The count of input tokens comes with the beginning, which is not sent again."""
    got = written([START, text(), end()], [AGAIN, text(), end(), finish("end_turn", input_tokens=25), STOP])
    assert got[-2]["usage"] == {"input_tokens": 65, "output_tokens": 16}
    got = written([START], [AGAIN, finish("end_turn", output_tokens=40, cache_read_input_tokens=None), STOP])
    assert got[-2]["usage"] == {"input_tokens": 65, "output_tokens": 40, "cache_read_input_tokens": None}
    nested = AGAIN | {"message": AGAIN["message"] | {"usage": {"server_tool_use": {"web_search_requests": 2}}}}
    got = written([START], [nested, finish(), STOP])
    assert got[-2]["usage"] == {"output_tokens": 15, "server_tool_use": {"web_search_requests": 2}}


@pytest.mark.parametrize("event", [None, "ping", "other"])
def test_the_name_of_an_event_is_the_type_of_its_data(event: str | None) -> None:
    """The official SDK passes over an event without a name, and over one that is called a ping."""
    to_client = writer()
    for tree in (
        START,
        call(),
        add(0, "input_json_delta", partial_json="{}"),
        end(),
        begin(1, "future"),
        finish(),
        STOP,
    ):
        assert list(to_client.write(Frame(tree, event))) == [Frame(tree, tree["type"])]


def test_a_whole_answer_is_not_touched() -> None:
    to_client = writer(stream=False)
    to_client.begin_attempt()
    to_client.begin_attempt()
    frame = Frame(message())
    assert to_client.write(frame)[0] is frame


# --- the frames on their own -----------------------------------------------------------------------------------------

SURFACE = Messages()


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (START, USAGE),
        (finish(input_tokens=None), {"output_tokens": 15}),
        (message(), USAGE),
        (STOP, None),
        (START | {"message": {"id": "x"}}, None),
        ({"type": "message_delta", "delta": {}, "usage": None}, None),
    ],
)
def test_the_usage_of_a_frame(tree: Tree, expected: Any) -> None:
    assert SURFACE.usage_of(Frame(tree)) == expected


@pytest.mark.parametrize("tree", [START, finish(), message()], ids=["start", "delta", "whole"])
def test_usage_is_put_where_it_was(tree: Tree) -> None:
    more = SURFACE.with_usage(Frame(tree, "x"), {"output_tokens": 99})
    assert more.event == "x"
    usage = SURFACE.usage_of(more)
    assert usage is not None
    assert usage["output_tokens"] == 99
    assert tree == tree | {}
    assert USAGE["output_tokens"] == 1


def test_usage_keeps_what_is_no_count() -> None:
    tree = finish(service_tier="standard")
    assert SURFACE.with_usage(Frame(tree), {"output_tokens": 1}).tree == finish(
        service_tier="standard", output_tokens=1
    )


TWO = message(
    {"type": "text", "text": "I am "}, {"type": "thinking", "thinking": "x"}, {"type": "text", "text": "here."}
)


@pytest.mark.parametrize(
    ("tree", "texts"),
    [
        (word(0, "x"), {0: "x"}),
        (text(0, "x"), {0: "x"}),
        (TWO, {0: "I am here."}),
        (call(), {}),
        (piece(0, "x"), {}),
        (add(0, "thinking_delta", thinking="x"), {}),
        (message(), {}),
        (START, {}),
        (STOP, {}),
    ],
)
def test_the_texts_of_a_frame(tree: Tree, texts: Any) -> None:
    assert SURFACE.texts_of(Frame(tree)) == texts
    assert SURFACE.with_texts(Frame(tree), texts).tree == tree
    assert SURFACE.texts_of(DONE) == {}


@pytest.mark.parametrize(
    ("left", "blocks"),
    [
        ("I am here.", ["I am ", "x", "here."]),
        ("am here.", ["am ", "x", "here."]),
        ("here.", ["x", "here."]),
        ("re.", ["x", "re."]),
        ("", ["x"]),
        ("So: I am here.", ["So: I am ", "x", "here."]),
    ],
)
def test_a_text_that_lost_its_beginning_is_laid_into_its_blocks(left: str, blocks: list[str]) -> None:
    tree: Any = SURFACE.with_texts(Frame(TWO), {0: left}).tree
    assert [block.get("text", block.get("thinking")) for block in tree["content"]] == blocks


def test_a_text_ends_with_its_block() -> None:
    assert [SURFACE.finished_in(Frame(tree)) for tree in (end(), STOP, message())] == [(0,)] * 3
    assert [SURFACE.finished_in(Frame(tree)) for tree in (START, text(), word(0, "x"), PING)] == [()] * 4
    assert SURFACE.finished_in(DONE) == ()
