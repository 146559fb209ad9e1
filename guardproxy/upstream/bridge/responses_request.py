"""A Responses request as a chat completions request. Pure.

Left out, because it says nothing to a chat model or is done elsewhere: earlier reasoning that is not to be sent back,
`store` (the proxy remembers the conversation itself), caching and truncation hints, ids and states of items.
"""

from collections.abc import Mapping
from typing import Any

from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.bridge.conversation import (
    Conversation,
    file_part,
    function_call,
    image_part,
    text_part,
)
from guardproxy.upstream.bridge.custom_tools import call_of_text
from guardproxy.upstream.bridge.fields import SAMPLING, Fields
from guardproxy.upstream.bridge.reasoning import field_of_item
from guardproxy.upstream.bridge.responses_tools import chat_tools
from guardproxy.upstream.bridge.tool_names import ToolName, ToolNames, flat_name

_IGNORED = frozenset(
    """client_metadata context_management include max_tool_calls metadata prompt_cache_key prompt_cache_options
    prompt_cache_retention safety_identifier store stream_options truncation""".split()
)
_ITEM_IGNORED = frozenset({"id", "status", "phase", "name", "namespace"})
_PART_IGNORED = frozenset({"annotations", "logprobs", "prompt_cache_breakpoint"})


def translate(tree: Mapping[str, Any], names: ToolNames) -> JsonObject:
    """`names` learns what the tools are called. Raises MalformedRequest, naming the field."""
    body = Fields(tree)
    conversation = Conversation()
    if instructions := body.optional_string("instructions"):
        conversation.system(instructions)
    _add_input(body, conversation)
    chat: JsonObject = {"model": body.string("model"), "messages": conversation.messages()}
    chat |= chat_tools(body, names)
    chat |= body.copied(*SAMPLING, "stop", "service_tier", "user")
    if (limit := body.take("max_output_tokens")) is not None:
        chat["max_tokens"] = limit  # the newer name is unknown to many servers, which would not limit at all
    chat |= _text_options(body) | _reasoning(body)
    if body.take("stream") is True:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    _refuse_the_rest(body)
    return chat


def _refuse_the_rest(body: Fields) -> None:
    body.require("background", False)
    body.require("top_logprobs", 0)
    include = body.take("include")
    if isinstance(include, list) and "message.output_text.logprobs" in include:
        raise body.refused("include", "log-probabilities are not translated")
    for name in ("previous_response_id", "conversation"):
        if body.take(name) is not None:
            raise body.refused(name, "its server keeps no answers")
    body.end(_IGNORED)


def _text_options(body: Fields) -> JsonObject:
    text = body.object("text")
    if text is None:
        return {}
    chat = text.copied("verbosity")
    form = text.object("format")
    text.end()
    return chat | (_response_format(form) if form else {})


def _response_format(form: Fields) -> JsonObject:
    match kind := form.string("type"):
        case "text":
            return {}
        case "json_object":
            return {"response_format": {"type": kind}}
        case "json_schema":
            schema = form.copied("name", "schema", "strict", "description")
            form.end()
            return {"response_format": {"type": kind, "json_schema": schema}}
        case _:
            raise form.refused("type", "it has no such format")


def _reasoning(body: Fields) -> JsonObject:
    reasoning = body.object("reasoning")
    if reasoning is None:
        return {}
    effort = reasoning.take("effort")
    reasoning.require("mode", "standard")
    reasoning.end(frozenset({"summary", "generate_summary", "context"}))
    return {} if effort is None else {"reasoning_effort": effort}


# --- input items --------------------------------------------------------------------------------------------------


def _add_input(body: Fields, conversation: Conversation) -> None:
    value = body.take("input")
    if isinstance(value, str):
        conversation.user([text_part(value)])
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            _add_item(Fields.of(entry, f"input[{i}]"), conversation)
    elif value is not None:
        raise body.fault("input", "a string or a list")


def _add_item(item: Fields, conversation: Conversation) -> None:
    match item.take("type"):
        case None | "message":
            _add_message(item, conversation)
        case "function_call":
            name = _called_name(item)
            conversation.assistant_call(function_call(item.string("call_id"), name, item.string("arguments")))
        case "custom_tool_call":
            name = _called_name(item)
            conversation.assistant_call(call_of_text(item.string("call_id"), name, item.string("input")))
        case "function_call_output" | "custom_tool_call_output":
            _require_direct(item)
            conversation.result(item.string("call_id"), _content(item, "output"))
        case "reasoning":
            _add_reasoning(item, conversation)
            return
        case _:
            raise item.refused("type", "it has nothing like this item")
    item.end(_ITEM_IGNORED)


def _add_reasoning(item: Fields, conversation: Conversation) -> None:
    field = field_of_item(item.optional_string("id"))
    if field is None or item.take("encrypted_content") is not None:
        return
    for part in item.objects("content"):
        if part.take("type") == "reasoning_text":
            conversation.assistant_reasoning(field, part.string("text"))


def _called_name(item: Fields) -> str:
    _require_direct(item)
    item.require("async", False)
    return flat_name(ToolName(item.string("name"), item.optional_string("namespace") or ""))


def _require_direct(item: Fields) -> None:
    caller = item.object("caller")
    if caller is not None:
        caller.require("type", "direct")
        caller.end()


def _add_message(item: Fields, conversation: Conversation) -> None:
    parts = _content(item, "content")
    match role := item.string("role"):
        case "user":
            conversation.user(parts)
        case "assistant":
            conversation.assistant_text(_text_alone(parts, item))
        case "system" | "developer":  # many templates know no developer
            conversation.system(_text_alone(parts, item))
        case _:
            raise item.refused("role", f"it has no role {role[:32]!r}")


def _text_alone(parts: list[JsonObject], item: Fields) -> str:
    if any(part["type"] != "text" for part in parts):
        raise item.refused("content", "only a user's message may hold more than text there")
    return "\n".join(str(part["text"]) for part in parts)


def _content(item: Fields, name: str) -> list[JsonObject]:
    value = item.take(name)
    if isinstance(value, str):
        return [text_part(value)]
    if not isinstance(value, list):
        raise item.fault(name, "a string or a list of parts")
    at = item.place(name)
    return [_part(Fields.of(part, f"{at}[{i}]")) for i, part in enumerate(value)]


def _part(part: Fields) -> JsonObject:
    match part.take("type"):
        case "input_text" | "output_text" | "text":
            translated = text_part(part.string("text"))
        case "refusal":
            translated = text_part(part.string("refusal"))
        case "input_image":
            translated = _image(part)
        case "input_file":
            translated = _file(part)
        case "input_audio":
            audio: Json = part.take("input_audio")
            translated = {"type": "input_audio", "input_audio": audio}
        case _:
            raise part.refused("type", "it has nothing like this content")
    part.end(_PART_IGNORED)
    return translated


def _image(part: Fields) -> JsonObject:
    detail = part.optional_string("detail")
    url = part.optional_string("image_url")
    if url is None:
        raise part.refused("file_id", "it takes images by address or as data only")
    return image_part(url, detail)


def _file(part: Fields) -> JsonObject:
    part.require("detail", "auto")
    file = part.copied("file_data", "filename", "file_id")
    if "file_data" not in file and "file_id" not in file:
        raise part.refused("file_url", "it takes files as data only")
    return file_part(file)
