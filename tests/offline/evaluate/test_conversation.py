from typing import Any

from guardproxy.offline.evaluate.conversation import request_of, tree_of, turn_of
from guardproxy.offline.evaluate.rows import parse
from guardproxy.surfaces.surface import RequestRules


def roles(row: dict[str, Any]) -> list[str]:
    return [message["role"] for message in tree_of(parse(row))["messages"]]  # type: ignore[index,union-attr,call-overload]


def test_a_task_without_history_is_the_users_message(make) -> None:
    row = make(system="Be brief.")
    assert roles(row) == ["system", "user"]
    request = request_of(parse(row), RequestRules())
    assert [message.text for message in request.messages] == ["Be brief.", "List my files."]
    assert [tool.name for tool in request.tools] == ["bash"]


def test_a_history_speaks_for_itself(make) -> None:
    assert roles(make(history=[{"role": "user", "content": "Hello."}])) == ["user"]


def test_a_judged_request_is_what_the_user_says_last(make) -> None:
    past = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
    assert roles(make(kind="user_request", history=past)) == ["user", "assistant", "user"]
    told = [*past, {"role": "user", "content": "List my files."}]
    assert roles(make(kind="user_request", history=told)) == ["user", "assistant", "user"]


def test_the_judged_call_is_the_turn(make) -> None:
    (call,) = turn_of(parse(make())).calls
    assert (call.name, call.arguments) == ("bash", '{"command":"ls"}')


def test_a_result_answers_the_call_that_the_history_ends_with(make, past_call) -> None:
    history = [{"role": "user", "content": "List."}, past_call("c7", "ls")]
    row = make(kind="tool_result", tool_result="a.txt", tools=None, history=history)
    request = request_of(parse(row), RequestRules())
    result = request.results[-1]
    assert roles(row) == ["user", "assistant", "tool"]
    assert (result.call_id, result.tool, result.text) == ("c7", "bash", "a.txt")


def test_a_result_without_history_answers_its_call(make) -> None:
    row = make(kind="tool_result", tool_result="a.txt", tools=None, user_task=None)
    result = request_of(parse(row), RequestRules()).results[-1]
    assert roles(row) == ["assistant", "tool"]
    assert (result.tool, result.text) == ("bash", "a.txt")


def test_a_result_of_an_unknown_call_is_still_judged(make) -> None:
    row = make(kind="tool_result", tool_result="a.txt", tools=None, tool_call=None)
    assert roles(row) == ["user", "tool"]
    assert request_of(parse(row), RequestRules()).results[-1].text == "a.txt"
