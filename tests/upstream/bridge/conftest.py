"""What clients make of a translated answer, by the official SDKs' own accumulators."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

Tree = dict[str, Any]
Client = Callable[[Sequence[Tree]], Tree]

_RESPONSES_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_MESSAGES_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def _responses(events: Sequence[Tree]) -> Tree:
    """The final response, which the SDK's own snapshot of the items must agree with."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(_RESPONSES_EVENT.validate_python(event))
    final: Tree = events[-1]["response"]
    snapshot = [item.to_dict(warnings=False) for item in state._ResponseStreamState__current_snapshot.output]
    assert [_said(item) for item in snapshot] == [_said(item) for item in final["output"]]
    Response.model_validate(final)
    return final


def _said(item: Tree) -> Any:
    """What the SDK accumulates of an item: it keeps no pieces of reasoning, refusals and custom tools."""
    match item["type"]:
        case "function_call":
            return item["id"], item["call_id"], item["name"], item["arguments"]
        case "message":
            return item["id"], [part["text"] for part in item["content"] if part["type"] == "output_text"]
        case _:
            return item["id"], item["type"]


def _messages(events: Sequence[Tree]) -> Tree:
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        parsed = _MESSAGES_EVENT.validate_python(event)
        snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    tree: Tree = snapshot.to_dict()
    Message.model_validate(tree)
    return tree


@pytest.fixture(scope="session")
def clients() -> dict[str, Client]:
    """By path: the final object that the SDK's client has after these events."""
    return {"/responses": _responses, "/messages": _messages}
