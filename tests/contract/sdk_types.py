"""What the official SDKs know of each API, read from their types: `python sdk_types.py [DIRECTORY]` prints it as JSON.

With a directory, the SDKs are those that are installed in it (`pip install --target`). The names come by surface and
section, as the surfaces' contracts have them.
"""

import importlib
import json
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

Sections = dict[str, dict[str, list[str]]]

_CHAT, _RESPONSES = "openai.types.chat", "openai.types.responses"
_MESSAGES, _BETA = "anthropic.types", "anthropic.types.beta"

# How the names are read: the `type` of every member of a union, its `role`, or the names of a class's fields. A type
# may be that of a field of a class, or of a member of a union.
_READINGS = {
    "chat_completions": {
        "request fields": [
            f"fields {_CHAT}.completion_create_params.CompletionCreateParamsNonStreaming",
            f"fields {_CHAT}.completion_create_params.CompletionCreateParamsStreaming",
        ],
        "tools": [f"type {_CHAT}.chat_completion_tool_union_param.ChatCompletionToolUnionParam"],
        "message roles": [f"role {_CHAT}.ChatCompletionMessageParam"],
        "content parts": [
            f"type {_CHAT}.ChatCompletionContentPartParam",
            f"type {_CHAT}.ChatCompletionMessageParam content",
        ],
        "calls": [
            f"type {_CHAT}.ChatCompletionMessage tool_calls",
            f"type {_CHAT}.ChatCompletionMessageParam tool_calls",
            f"type {_CHAT}.chat_completion_chunk.ChoiceDeltaToolCall",
        ],
        "answer fields": [f"fields {_CHAT}.ChatCompletion", f"fields {_CHAT}.ChatCompletionChunk"],
        "choice fields": [f"fields {_CHAT}.chat_completion.Choice", f"fields {_CHAT}.chat_completion_chunk.Choice"],
        "message fields": [
            f"fields {_CHAT}.ChatCompletionMessage",
            f"fields {_CHAT}.chat_completion_chunk.ChoiceDelta",
        ],
        "call fields": [
            f"fields {_CHAT}.chat_completion_chunk.ChoiceDeltaToolCall",
            f"fields {_CHAT}.chat_completion_chunk.ChoiceDeltaToolCallFunction",
            f"fields {_CHAT}.chat_completion_chunk.ChoiceDeltaFunctionCall",
            f"fields {_CHAT}.ChatCompletionMessage tool_calls",
            f"fields {_CHAT}.ChatCompletionMessage function_call",
            f"fields {_CHAT}.ChatCompletionMessageFunctionToolCall function",
            f"fields {_CHAT}.chat_completion_message_custom_tool_call.Custom",
        ],
    },
    "completions": {
        "request fields": [
            "fields openai.types.completion_create_params.CompletionCreateParamsNonStreaming",
            "fields openai.types.completion_create_params.CompletionCreateParamsStreaming",
        ],
        "answer fields": ["fields openai.types.Completion"],
        "choice fields": ["fields openai.types.CompletionChoice"],
    },
    "responses": {
        "request fields": [
            f"fields {_RESPONSES}.response_create_params.ResponseCreateParamsNonStreaming",
            f"fields {_RESPONSES}.response_create_params.ResponseCreateParamsStreaming",
        ],
        "tools": [f"type {_RESPONSES}.ToolParam", f"type {_RESPONSES}.Tool"],
        "input items": [f"type {_RESPONSES}.ResponseInputItemParam", f"type {_RESPONSES}.ResponseInputItem"],
        "content parts": [
            f"type {_RESPONSES}.ResponseInputContentParam",
            f"type {_RESPONSES}.ResponseInputItemParam content",
            f"type {_RESPONSES}.ResponseInputItemParam summary",
            f"type {_RESPONSES}.ResponseFunctionCallOutputItemParam",
        ],
        "output items": [f"type {_RESPONSES}.ResponseOutputItem"],
        "output parts": [
            f"type {_RESPONSES}.ResponseOutputMessage content",
            f"type {_RESPONSES}.ResponseReasoningItem content",
            f"type {_RESPONSES}.ResponseReasoningItem summary",
            f"type {_RESPONSES}.ResponseContentPartAddedEvent part",
            f"type {_RESPONSES}.ResponseReasoningSummaryPartAddedEvent part",
        ],
        "events": [f"type {_RESPONSES}.ResponseStreamEvent"],
    },
    "messages": {
        "request fields": [
            f"fields {module}.message_create_params.MessageCreateParams{kind}"
            for module in (_MESSAGES, _BETA)
            for kind in ("NonStreaming", "Streaming")
        ],
        "tools": [f"type {_MESSAGES}.ToolUnionParam", f"type {_BETA}.BetaToolUnionParam"],
        "tool changes": [f"type {_BETA}.BetaRequestToolAdditionBlockParam tool"],
        "content blocks": [
            f"type {_MESSAGES}.ContentBlockParam",
            f"type {_BETA}.BetaContentBlockParam",
            f"type {_MESSAGES}.ToolResultBlockParam content",
            f"type {_BETA}.BetaToolResultBlockParam content",
        ],
        "answer blocks": [f"type {_MESSAGES}.ContentBlock", f"type {_BETA}.BetaContentBlock"],
        "deltas": [f"type {_MESSAGES}.RawContentBlockDelta", f"type {_BETA}.BetaRawContentBlockDelta"],
        "events": [f"type {_MESSAGES}.RawMessageStreamEvent", f"type {_BETA}.BetaRawMessageStreamEvent"],
    },
}


def read() -> dict[str, Any]:
    """The versions of the SDKs, and the names that they know."""
    versions = {name: importlib.import_module(name).__version__ for name in ("openai", "anthropic")}
    return {"versions": versions, "names": names()}


def names() -> Sections:
    return {
        surface: {section: sorted(set().union(*map(_read, readings))) for section, readings in sections.items()}
        for surface, sections in _READINGS.items()
    }


def _read(reading: str) -> set[str]:
    how, _, what = reading.partition(" ")
    path, _, field = what.partition(" ")
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    members = list(_members(found))
    if field:
        members = [inner for member in members for inner in _members(_hints(member).get(field))]
    read_names = {name for member in members for name in _names(member, how)}
    if not read_names:
        raise LookupError(f"nothing to read: {reading}")
    return read_names


def _names(member: type, how: str) -> Iterator[str]:
    hints = _hints(member)
    yield from hints if how == "fields" else _literals(hints.get(how))


def _hints(member: type) -> dict[str, Any]:
    """The fields of a model or of a typed dictionary by their names on the wire."""
    models: dict[str, Any] | None = getattr(member, "model_fields", None)
    if models is not None:
        return {field.alias or name: field.annotation for name, field in models.items()}
    hints = typing.get_type_hints(member, include_extras=True)
    return {_alias(hint) or name: hint for name, hint in hints.items()}


def _alias(hint: Any) -> str | None:
    """Some names are reserved words in Python, and have another on the wire."""
    return next(
        (str(extra.alias) for extra in getattr(hint, "__metadata__", ()) if getattr(extra, "alias", None)), None
    )


def _members(annotation: Any) -> Iterator[type]:
    """The classes in a union, in a list, in an annotation, however they are nested."""
    if annotation is None or annotation is type(None) or typing.get_origin(annotation) is typing.Literal:
        return
    if typing.get_origin(annotation) is None:
        if isinstance(annotation, type) and getattr(annotation, "__annotations__", None):
            yield annotation
        return
    arguments = typing.get_args(annotation)
    for argument in arguments[:1] if hasattr(annotation, "__metadata__") else arguments:
        yield from _members(argument)


def _literals(annotation: Any) -> Iterator[str]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from (str(value) for value in typing.get_args(annotation))
        return
    if isinstance(annotation, (types.GenericAlias, types.UnionType)) or typing.get_origin(annotation) is not None:
        arguments = typing.get_args(annotation)
        for argument in arguments[:1] if hasattr(annotation, "__metadata__") else arguments:
            yield from _literals(argument)


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:2]
    print(json.dumps(read()))
