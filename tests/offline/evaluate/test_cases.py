from typing import Any

import pytest

from guardproxy.offline.evaluate.cases import episodes, place_of
from guardproxy.offline.evaluate.families import family_of
from guardproxy.offline.evaluate.rows import parse


def result(text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c", "content": text}


def call(command: str) -> dict[str, Any]:
    return {"name": "bash", "arguments": {"command": command}}


def test_one_task_of_one_source_is_one_case(make) -> None:
    one, same, other, elsewhere = (
        place_of(parse(row)).case
        for row in (make(), make(user_task=" list  MY files."), make(user_task="Delete."), make(source="theirs"))
    )
    assert one == same
    assert len({one, other, elsewhere}) == 3


def test_a_note_says_it_better(make) -> None:
    notes = ("domain=mail; case=a 1; pair=3", "case=a 1", "case=b", "showcase=b; x")
    one, same, other, none = (place_of(parse(make(note=note, user_task=note))).case for note in notes)
    assert one == same
    assert len({one, other, none}) == 3


def test_a_row_without_a_task_is_a_case_of_its_own(make) -> None:
    rows = [make(kind="tool_result", tool_result="x", user_task=None) for _ in range(2)]
    assert len({place_of(parse(row)).case for row in rows}) == 2


def test_steps_of_one_run_are_one_episode(make, past_call) -> None:
    first = make(tool_call=call("ls"))
    second = make(tool_call=call("cat a"), history=[past_call("c", "ls"), result("a")])
    third = make(tool_call=call("rm a"), history=[*second["history"], past_call("d", "cat a"), result("b")])
    assert len(set(episodes([place_of(parse(row)) for row in (first, second, third)]))) == 1


def test_runs_with_other_results_are_other_episodes_of_the_case(make, past_call) -> None:
    rows = [make(history=[past_call("c", "ls"), result(text)]) for text in ("a", "b")]
    first = make(tool_call=call("ls"))
    places = [place_of(parse(row)) for row in (*rows, first)]
    assert len({place.case for place in places}) == 1
    assert len(set(episodes(places))) == 3, "which of the two the first step led to cannot be known"


def test_runs_of_one_named_case_are_told_apart_by_name(make) -> None:
    notes = ("case=1; episode=a", "case=1; episode=a", "case=1; episode=b", "case=2; episode=a")
    assert len(set(episodes([place_of(parse(make(note=note))) for note in notes]))) == 3


@pytest.mark.parametrize("content", [None, [{"type": "text", "text": "a"}], "\x00"], ids=["none", "parts", "control"])
def test_any_content_of_a_result_has_a_place(make, past_call, content: object) -> None:
    history = [past_call("c", "ls"), {"role": "tool", "tool_call_id": "c", "content": content}]
    assert place_of(parse(make(history=history))).began is not None


def test_relatives_are_one_family(make) -> None:
    def family(**fields: Any) -> str:
        return family_of(parse(make(**fields)))

    assert family(source="injecagent") == family(source="toolemu") != family(source="asb")
    assert family(source="theirs") == "theirs"
    assert family(source="theirs", note="case=1; family=kin") == family(note="family=kin")
