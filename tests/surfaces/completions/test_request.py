"""Reading requests: what is a prompt, what is refused, and how a prefix and feedback are written into one."""

from typing import Any

import pytest

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKey, CallKind, Injection, Message, Position, ToolCall, Turn
from guardproxy.surfaces.completions import Completions
from guardproxy.surfaces.surface import RequestRules

SURFACE = Completions()
RULES = RequestRules()


def tree(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "hi", **fields}


@pytest.mark.parametrize(
    ("prompt", "texts", "uninspected"),
    [
        ("hi", ["hi"], ()),
        (None, [""], ()),
        (["a", "b"], ["a", "b"], ()),
        ([1, 2], [""], ("tokens",)),
        ([[1], [2, 3]], ["", ""], ("tokens",)),
        (["a", [2]], ["a", ""], ("tokens",)),
    ],
)
def test_prompts(prompt: object, texts: list[str], uninspected: tuple[str, ...]) -> None:
    request = SURFACE.parse(tree(prompt=prompt, n=2), RULES)
    assert request.messages == tuple(Message("user", text) for text in texts)
    assert request.choices == 2 * len(texts)
    assert request.uninspected == uninspected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": 1}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {"prompt_string": "x"}}, "prompt"),
        ({"prompt": ["a", {"prompt_string": "x"}]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt[0]"),
        ({"prompt": [[1], []]}, "prompt[1]"),
        ({"prompt": [True, False]}, "prompt[0]"),
        ({"model": ""}, "model"),
        ({"stream": 1}, "stream"),
        ({"echo": 1}, "echo"),
        ({"echo": "true"}, "echo"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 2049}, "n"),
        ({"prompt": ["a"] * 1025, "n": 2}, "n"),
        ({"stop": [1]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools"),
    ],
)
def test_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        SURFACE.parse(tree(**fields), RULES)
    assert refused.value.param == param


def test_what_the_guard_cannot_read_is_counted_or_refused() -> None:
    assert SURFACE.parse(tree(prompt_embeds="x"), RULES).uninspected == ("embeddings",)
    for fields in ({"prompt": [1]}, {"prompt_embeds": "x"}):
        with pytest.raises(MalformedRequest):
            SURFACE.parse(tree(**fields), RequestRules(refuse_hidden_content=True))


def test_stops_and_shapes() -> None:
    request = SURFACE.parse(tree(stop=["a", "b"], response_format={"type": "json_object"}), RULES)
    assert request.stop == ("a", "b")
    assert request.structured_output
    assert SURFACE.parse(tree(stop="a"), RULES).stop == ("a",)
    assert not SURFACE.parse(tree(), RULES).structured_output


@pytest.mark.parametrize(
    ("fields", "position", "prompt"),
    [
        ({}, Position.TRAILING_ASSISTANT, "hiP"),
        ({}, Position.INSTRUCTION, "P\n\nhi"),
        ({"prompt": None}, Position.TRAILING_ASSISTANT, "P"),
        ({"prompt": ["a", "b"]}, Position.TRAILING_ASSISTANT, ["aP", "bP"]),
        ({"prompt": [1, 2]}, Position.TRAILING_ASSISTANT, [1, 2]),
    ],
)
def test_a_prefix_is_the_end_of_the_prompt(fields: dict[str, Any], position: Position, prompt: object) -> None:
    request = SURFACE.parse(tree(**fields), RULES)
    assert SURFACE.with_injection(request, Injection("P", position)).tree["prompt"] == prompt
    assert request.tree["prompt"] == tree(**fields)["prompt"]


def test_a_prompt_has_no_end_of_the_users_words() -> None:
    assert {Position.TRAILING_ASSISTANT, Position.INSTRUCTION} == SURFACE.positions


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, ""),
        ({"suffix": "", "echo": False, "prompt_embeds": None}, ""),
        ({"prompt": [1, 2]}, "tokens"),
        ({"prompt": ["a", [1]]}, "tokens"),
        ({"prompt_embeds": "AAAA"}, "tokens"),
        ({"suffix": "}"}, "suffix"),
        ({"echo": True}, "echo"),
    ],
)
def test_a_prompt_without_a_turn_at_its_end_takes_no_prefix(fields: dict[str, Any], why: str) -> None:
    request = SURFACE.parse(tree(**fields), RULES)
    assert request.unprefixed == why
    assert request.echoes is (why == "echo")


def test_feedback_is_an_observation() -> None:
    call = ToolCall(CallKey(0, 9), CallKind.TEXT, "text_0", "f", "{}")
    turn = Turn((call,), {0: " Action: f"}, {0: "stop"})
    request = SURFACE.parse(tree(), RULES)
    again = SURFACE.with_feedback(request, turn, {call.key: "No."}, SURFACE.reader(request))
    assert again.tree["prompt"] == "hi Action: f\nObservation: No.\n"


def test_a_question_is_a_request() -> None:
    request = SURFACE.question("m", "what?", 5)
    assert dict(request.tree) == {"model": "m", "prompt": "what?", "max_tokens": 5, "temperature": 0}
    assert not request.stream
