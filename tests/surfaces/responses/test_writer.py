"""One answer out of several attempts, as the official SDK and as a strict reader put it together."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from guardproxy.errors import UpstreamProtocolError
from guardproxy.stream.frame import Frame
from guardproxy.surfaces.responses.writer import ResponsesWriter
from guardproxy.testing.script import Call, Part, Reasoning, Text
from guardproxy.testing.wires.responses import ResponsesWire

WIRE = ResponsesWire()
Tree = dict[str, Any]


def written(*attempts: Sequence[Frame]) -> list[Frame]:
    """What leaves of these frames, each list the part of one attempt that was not discarded."""
    writer = ResponsesWriter()
    found: list[Frame] = []
    for frames in attempts:
        writer.begin_attempt()
        for frame in copy.deepcopy(list(frames)):
            found += writer.write(frame)
    return found


def sdk_output(frames: Sequence[Frame]) -> list[Tree]:
    state: Any = ResponseStreamState(text_format=omit, input_tools=omit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for frame in frames:
            state.handle_event(construct_type(type_=ResponseStreamEvent, value=copy.deepcopy(frame.tree)))
        output: list[Tree] = state._completed_response.to_dict(warnings=False)["output"]
    return output


def trees(frames: Sequence[Frame]) -> list[Any]:
    return [frame.tree for frame in frames]


def texts(output: Sequence[Tree]) -> list[str]:
    return ["".join(part["text"] for part in item["content"]) for item in output if item["type"] == "message"]


FIRST: list[Part] = [Text("First. "), Call("function_call", "gone", "{}")]
LAST: list[Part] = [Text("Then. "), Call("function_call", "f", '{"a":1}')]


def until(frames: Sequence[Frame], type: str) -> list[Frame]:
    """The frames before the first of a type."""
    place = next(i for i, frame in enumerate(frames) if (frame.tree or {}).get("type") == type)
    return list(frames[:place])


def left_of(parts: Sequence[Part]) -> list[Frame]:
    """What of an attempt leaves before its first call."""
    frames = WIRE.frames(parts)
    place = next(i for i, f in enumerate(frames) if "call" in str((f.tree or {}).get("item", {}).get("type")))
    return frames[:place]


def test_one_attempt_is_not_touched() -> None:
    frames = WIRE.frames(LAST)
    writer = ResponsesWriter()
    writer.begin_attempt()
    assert writer.id == ""
    assert all(writer.write(frame)[0] is frame for frame in frames)
    assert writer.id == "resp_1"


def test_a_whole_answer_is_not_touched() -> None:
    writer = ResponsesWriter()
    writer.begin_attempt()
    writer.begin_attempt()
    frame = Frame(WIRE.whole(LAST))
    assert writer.write(frame)[0] is frame
    assert writer.id == "resp_1"


def test_a_second_attempt_goes_on_where_the_first_one_ended() -> None:
    frames = written(left_of(FIRST), WIRE.frames(LAST))
    assert WIRE.faults(frames, stream=True) == []
    output: Any = trees(frames)[-1]["response"]["output"]
    assert [item.get("name", item["type"]) for item in output] == ["message", "message", "f"]
    assert texts(output) == ["First. ", "Then. "]
    assert [t["type"] for t in trees(frames)].count("response.created") == 1
    assert texts(sdk_output(frames)) == ["First. ", "Then. "]


def test_an_attempt_of_which_nothing_left_counts_for_nothing() -> None:
    frames = WIRE.frames(LAST)
    assert trees(written([], frames)) == trees(frames)


def test_the_first_id_stays() -> None:
    again = trees(WIRE.frames(LAST))
    for tree in again:
        if "response" in tree:
            tree["response"]["id"] = "resp_2"
    frames = written(left_of(FIRST), [Frame(tree, tree["type"]) for tree in again])
    assert {tree["response"]["id"] for tree in trees(frames) if "response" in tree} == {"resp_1"}


@pytest.mark.parametrize(
    ("stopped_before", "said", "ends"),
    [
        ("response.content_part.added", "", ["output_item.done"]),
        ("response.output_text.done", "First. ", ["output_text.done", "content_part.done", "output_item.done"]),
        ("response.content_part.done", "First. ", ["content_part.done", "output_item.done"]),
        ("response.output_item.done", "First. ", ["output_item.done"]),
    ],
)
def test_a_message_that_was_cut_off_is_ended_before_the_next_attempt(
    stopped_before: str, said: str, ends: list[str]
) -> None:
    cut = until(WIRE.frames(FIRST), stopped_before)
    frames = written(cut, WIRE.frames(LAST))
    assert WIRE.faults(frames, stream=True) == []
    assert texts(trees(frames)[-1]["response"]["output"]) == [said, "Then. "]
    assert texts(sdk_output(frames)) == [said, "Then. "]
    types = [tree["type"].removeprefix("response.") for tree in trees(frames)[len(cut) :]]
    assert types[: len(ends) + 1] == [*ends, "output_item.added"]


def test_the_end_of_a_message_that_was_cut_off_says_all_that_has_left_of_it() -> None:
    cut = until(WIRE.frames(FIRST), "response.output_text.done")
    at = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    note: Tree = {
        "type": "response.output_text.annotation.added",
        **at,
        "annotation_index": 0,
        "annotation": {"type": "x"},
    }
    number = trees(cut)[-1]["sequence_number"] + 1
    cut = [*cut, Frame({**note, "sequence_number": number}, note["type"])]
    frames = trees(written(cut, WIRE.frames(LAST)))[len(cut) :]
    part = {"type": "output_text", "text": "First. ", "annotations": [{"type": "x"}], "logprobs": []}
    assert frames[0]["text"] == "First. "
    assert frames[1]["part"] == part
    assert frames[2]["item"]["content"] == [part]
    assert frames[2]["item"]["status"] == "completed"
    assert [frame["sequence_number"] for frame in frames[:3]] == [number + 1, number + 2, number + 3]
    assert frames[-1]["response"]["output"][0] == frames[2]["item"]


def test_thoughts_that_were_cut_off_are_ended_too() -> None:
    whole = WIRE.frames([Reasoning("Hm."), *FIRST])
    for place in range(1, len(left_of([Reasoning("Hm."), *FIRST]))):
        frames = written(whole[:place], WIRE.frames([Reasoning("So."), *LAST]))
        assert WIRE.faults(frames, stream=True) == [], place
        assert [item["type"] for item in sdk_output(frames)][-3:] == ["reasoning", "message", "function_call"]


@pytest.mark.parametrize(("type", "status"), [("web_search_call", "failed"), ("shell_call", "incomplete")])
def test_what_the_provider_was_running_is_ended_as_not_done(type: str, status: str) -> None:
    item: Tree = {"id": "ws_1", "type": type, "status": "in_progress"}
    begun: Tree = {"type": "response.output_item.added", "output_index": 0, "item": item, "sequence_number": 2}
    cut = [*WIRE.frames(FIRST)[:2], Frame(begun, "response.output_item.added")]
    frames = trees(written(cut, WIRE.frames(LAST)))
    assert frames[3] == {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": {**item, "status": status},
        "sequence_number": 3,
    }


def test_a_message_that_nothing_continues_is_listed_as_it_was_left() -> None:
    cut = until(WIRE.frames(FIRST), "response.output_text.done")
    frames = written(cut, WIRE.frames([Call("function_call", "f", "{}")]))
    output: Any = trees(frames)[-1]["response"]["output"]
    assert texts(output) == ["First. "]
    assert [item["status"] for item in output] == ["completed", "completed"]
    assert [item["type"] for item in sdk_output(frames)] == ["message", "function_call"]
    assert WIRE.faults(frames, stream=True) == []


def test_three_attempts() -> None:
    cut = until(WIRE.frames(FIRST), "response.output_text.done")
    frames = written(cut, until(WIRE.frames([Text("Or. ")]), "response.output_text.done"), WIRE.frames(LAST))
    assert texts(trees(frames)[-1]["response"]["output"]) == ["First. ", "Or. ", "Then. "]
    assert WIRE.faults(frames, stream=True) == []
    frames = written(left_of(FIRST), left_of(FIRST), WIRE.frames(LAST))
    assert WIRE.faults(frames, stream=True) == []
    assert texts(sdk_output(frames)) == ["First. ", "First. ", "Then. "]


def test_a_server_without_numbers_and_indexes_gets_none() -> None:
    def bare(frames: Sequence[Frame]) -> list[Frame]:
        gone = ("sequence_number", "output_index", "content_index")
        return [Frame({n: v for n, v in (frame.tree or {}).items() if n not in gone}) for frame in frames]

    frames = written(bare(left_of(FIRST)), bare(WIRE.frames(LAST)))
    assert not any("sequence_number" in tree or "output_index" in tree for tree in trees(frames))
    assert texts(trees(frames)[-1]["response"]["output"]) == ["First. ", "Then. "]


def test_a_server_that_lists_nothing_in_the_end_goes_on_doing_so() -> None:
    frames = WIRE.frames(LAST)
    frames[-1].tree["response"]["output"] = []  # type: ignore[index,call-overload]
    assert trees(written(left_of(FIRST), frames))[-1]["response"]["output"] == []


def test_an_event_under_another_name_is_refused() -> None:
    writer = ResponsesWriter()
    writer.begin_attempt()
    with pytest.raises(UpstreamProtocolError, match="another name"):
        writer.write(Frame({"type": "response.created", "response": {}}, "response.completed"))


WORDS = st.lists(st.sampled_from(["One ", "two ", "three. "]), min_size=1, max_size=3).map("".join)
SCRIPTS = st.lists(
    st.one_of(WORDS.map(Text), WORDS.map(Reasoning), st.just(Call("function_call", "f", "{}"))), min_size=1, max_size=3
)


@given(scripts=st.lists(SCRIPTS, min_size=1, max_size=3), cuts=st.lists(st.integers(1, 40), min_size=3, max_size=3))
def test_whatever_was_discarded_the_rest_is_one_answer(scripts: list[list[Part]], cuts: list[int]) -> None:
    """Every attempt but the last is cut off somewhere before its first call and before its end."""
    attempts = []
    for script, place in zip(scripts[:-1], cuts, strict=False):
        frames = WIRE.frames(script)
        calls = [i for i, f in enumerate(frames) if "call" in str((f.tree or {}).get("item", {}).get("type"))]
        attempts.append(frames[: min([place, len(frames) - 1, *calls])])
    last = [
        Call("function_call", "f", "{}", id=f"last_{i}") if isinstance(p, Call) else p
        for i, p in enumerate(scripts[-1])
    ]
    frames = written(*attempts, WIRE.frames(last))
    events = trees(frames)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    assert added == list(range(len(added)))
    output = sdk_output(frames)
    assert len(output) == len(added)
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert "".join(texts(output)) == said
    assert WIRE.faults(frames, stream=True) == []
