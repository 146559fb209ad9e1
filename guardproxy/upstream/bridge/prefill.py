"""A last message of the assistant: the beginning of the answer, which the model is to go on with. Pure.

The Messages API needs no more than the message. Some chat servers would take it for a turn that is over, and want to be
told; how, is known by the server (`prefix.capability`).
"""

from collections.abc import Sequence
from typing import Any

from guardproxy.model import Position
from guardproxy.strict_json import JsonObject


def prefill_of(chat: JsonObject) -> str:
    """The beginning of the answer that a chat completions request gives; empty where it gives none."""
    messages: Any = chat.get("messages")
    last = messages[-1] if isinstance(messages, Sequence) and messages else {}
    if last.get("role") != "assistant" or last.get("tool_calls") or not isinstance(last.get("content"), str):
        return ""
    text: str = last["content"]
    return text


def with_prefill_marked(chat: JsonObject, position: Position) -> JsonObject:
    """A request that gives one, as a server wants it that continues messages in this way."""
    match position:
        case Position.CONTINUE_FINAL_MESSAGE:
            return chat | {"continue_final_message": True, "add_generation_prompt": False}
        case Position.PREFIX_FLAG:
            messages: Any = chat["messages"]
            return chat | {"messages": [*messages[:-1], messages[-1] | {"prefix": True}]}
        case Position.TRAILING_ASSISTANT | Position.SUFFIX | Position.INSTRUCTION:
            return chat
