"""Calls that a model writes into its text: held, judged and refused like any other. Through the whole application."""

from typing import Any

import pytest

from guardproxy.decision import Verdict
from guardproxy.model import CallKind, ToolCall
from guardproxy.runtime import Runtime
from guardproxy.testing.chat import body, choice, chunk, completion, events, finish, request, text
from guardproxy.testing.fakes import FakeGuard, finding
from guardproxy.testing.proxy import Received, proxy
from guardproxy.text_calls import TextCallMode

HEAD = chunk(choice(role="assistant", content=""))
REACT = request(stop=["\nObservation:"])
PLAIN = request()
TOOLS = request(tools=[{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}])
ACTION = 'Thought: I look.\nAction: bash\nAction Input: {"command": "rm -rf /"}\n'
TAGGED = '<tool_call>\n{"name": "bash", "arguments": {"command": "rm -rf /"}}\n</tool_call>'
FENCED = '```json\n{"name": "bash", "arguments": {"command": "rm -rf /"}}\n```'


def pieces(said: str, size: int = 5) -> list[dict[str, Any]]:
    return [HEAD, *(text(said[i : i + size]) for i in range(0, len(said), size)), finish("stop")]


def guard(verdict: Verdict | None = None) -> FakeGuard:
    return FakeGuard(lambda call: () if verdict is None else [finding(verdict)])


def ask(asked: object, said: str, judge: FakeGuard, **settings: Any) -> Received:
    return proxy([events(pieces(said))], guards=[judge], **settings).ask(asked)


def shown(received: Received) -> str:
    return "".join(c["delta"].get("content") or "" for tree in received.events for c in tree["choices"])


CALLS = [(REACT, ACTION, "Thought: I look.\n"), (TOOLS, f"Well.\n{TAGGED}", "Well.\n"), (TOOLS, FENCED, "")]


@pytest.mark.parametrize(("asked", "said", "before"), CALLS, ids=["react", "tagged", "fenced"])
def test_a_call_in_text_is_judged_and_leaves_as_it_was(asked: Any, said: str, before: str) -> None:
    judge = guard()
    received = ask(asked, said, judge)
    assert received.events == pieces(said)
    assert judge.seen == [
        ToolCall(judge.seen[0].key, CallKind.TEXT, "text_0", "bash", judge.seen[0].arguments),
    ]
    assert "rm -rf /" in judge.seen[0].arguments


@pytest.mark.parametrize(("asked", "said", "before"), CALLS, ids=["react", "tagged", "fenced"])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_refused_one_is_cut_out_with_all_that_follows(asked: Any, said: str, before: str, size: int) -> None:
    under_test = proxy([events(pieces(f"{said}\nmore", size))], guards=[guard(Verdict.BLOCK)])
    received = under_test.ask(asked)
    assert received.done
    assert b"rm -rf" not in received.seen
    assert b"more" not in received.seen
    assert shown(received).startswith(before)
    assert "was not executed" in shown(received)
    assert received.events[-1]["choices"][0]["finish_reason"] == "stop"
    assert under_test.exchange.outcome == "blocked"


@pytest.mark.parametrize(("asked", "said", "before"), CALLS, ids=["react", "tagged", "fenced"])
def test_a_refused_one_in_a_whole_answer(asked: Any, said: str, before: str) -> None:
    answer = completion({"content": said}, finish_reason="stop")
    received = proxy([body(answer)], guards=[guard(Verdict.BLOCK)]).ask(asked | {"stream": False})
    content = received.tree["choices"][0]["message"]["content"]
    assert content.startswith(before)
    assert "rm -rf" not in content
    assert "was not executed" in content


def test_what_was_suspected_and_is_none_goes_on_at_once() -> None:
    said = 'Use `{"a": 1}` there.\n```json\n{"colour": "red"}\n```\nDone.'
    judge = guard(Verdict.BLOCK)
    received = ask(TOOLS, said, judge)
    assert shown(received) == said
    assert judge.seen == []


def test_one_that_leaks_into_the_reasoning_is_refused_there() -> None:
    trees = [HEAD, chunk(choice(reasoning_content="I think. ")), chunk(choice(reasoning_content=TAGGED)), text("Hm.")]
    received = proxy([events([*trees, finish("stop")])], guards=[guard(Verdict.BLOCK)]).ask(TOOLS)
    assert b"rm -rf" not in received.seen
    assert shown(received).startswith("Hm.")


def test_asking_again_after_one_goes_on_in_text() -> None:
    plays = [[body(completion({"content": said}, finish_reason="stop"))] for said in (ACTION, "Final Answer: no.")]
    under_test = proxy(*plays, guards=[guard(Verdict.REASK)])
    received = under_test.ask(REACT | {"stream": False})
    assert received.tree["choices"][0]["message"]["content"] == "Final Answer: no."
    assistant, observation = under_test.upstream.asked[1].tree["messages"][-2:]
    assert assistant == {"role": "assistant", "content": ACTION}
    assert observation["role"] == "user"
    assert observation["content"].startswith("Observation: Not executed.")


def test_an_agent_that_parses_text_never_gets_two_answers_in_one() -> None:
    plays = [[events(pieces(said))] for said in (ACTION, "Final Answer: no.")]
    under_test = proxy(*plays, guards=[guard(Verdict.REASK)])
    assert "was not executed" in shown(under_test.ask(REACT))
    assert len(under_test.upstream.asked) == 1


def test_a_rewrite_of_one_is_a_refusal() -> None:
    judge = FakeGuard(lambda call: [finding(Verdict.REWRITE, replacement="{}")])
    received = ask(REACT, ACTION, judge)
    assert b"rm -rf" not in received.seen


CODE = "Thoughts.\n```python\nimport os\nos.remove('x')\n```\n"


def test_code_where_nothing_says_that_it_runs_is_counted() -> None:
    under_test = proxy([events(pieces(CODE))], guards=[guard(Verdict.BLOCK)])
    assert shown(under_test.ask(PLAIN)) == CODE
    assert under_test.exchange.uninspected["text_action"] == 1


@pytest.mark.parametrize("settings", [{"hold_text_actions": True}, {"text_calls": TextCallMode.ALWAYS}])
def test_and_judged_where_the_operator_says_so(settings: dict[str, Any]) -> None:
    judge = guard(Verdict.BLOCK)
    received = ask(PLAIN, CODE, judge, **settings)
    assert shown(received).startswith("Thoughts.\n")
    assert b"os.remove" not in received.seen
    assert [call.name for call in judge.seen] == ["python_interpreter"]


def test_never_means_never() -> None:
    assert Runtime.__dataclass_fields__["text_calls"].default is TextCallMode.AUTO
    judge = guard(Verdict.BLOCK)
    assert shown(ask(REACT, ACTION, judge, text_calls=TextCallMode.NEVER)) == ACTION


def completions(*said: str, stream: bool, **fields: Any) -> tuple[dict[str, Any], list[bytes]]:
    """A request for a completion, and an answer in these pieces."""
    asked = {"model": "m", "prompt": f"Example:\n{ACTION}Now you.\n", "stream": stream, **fields}
    texts = [{"index": 0, "text": piece, "finish_reason": None} for piece in said]
    ends: list[dict[str, Any]] = [{"index": 0, "text": "", "finish_reason": "stop"}]
    head = {"id": "c", "object": "text_completion"}
    if stream:
        return asked, [events([head | {"choices": [each]} for each in [*texts, *ends]])]
    return asked, [body(head | {"choices": [{"index": 0, "text": "".join(said), "finish_reason": "stop"}]})]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({}, {"stop": ["\nObservation:"]}),
        ({"text_calls": TextCallMode.ALWAYS}, {}),
        ({"hold_text_actions": True}, {"prompt": "What?"}),
    ],
    ids=["seen by its stop", "always", "actions held"],
)
def test_an_echo_of_the_prompt_is_refused_where_text_is_judged(settings: Any, fields: Any, stream: bool) -> None:
    """The calls in the prompt are not the model's, and could not be told from those that are."""
    asked, answer = completions("Sure.", stream=stream, **fields)
    under_test = proxy(answer, guards=[guard()], **settings)
    received = under_test.ask(asked | {"echo": True}, path="/v1/completions")
    assert received.status == 400
    assert (received.error["param"], received.error["code"]) == ("echo", "field_refused")
    assert "judged" in received.error["message"]
    assert under_test.upstream.asked == []
    assert proxy(answer, guards=[guard()], **settings).ask(asked, path="/v1/completions").status == 200


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_an_echo_passes_where_no_text_is_judged_and_the_prompt_in_it_is_no_action(stream: bool) -> None:
    judge = guard(Verdict.BLOCK)
    for said, actions in (("Sure.", 0), (f"Sure.\n{ACTION}", 1)):
        asked, _ = completions(stream=stream)
        _, answer = completions(asked["prompt"], said, stream=stream)
        under_test = proxy(answer, guards=[judge], text_calls=TextCallMode.NEVER)
        received = under_test.ask(asked | {"echo": True}, path="/v1/completions")
        assert received.status == 200
        assert b"Now you." in received.seen
        assert under_test.exchange.uninspected["text_action"] == actions
    assert judge.seen == []
