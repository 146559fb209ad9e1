"""A Messages request as a chat completions request. Pure.

Left out, because it says nothing to a chat model: earlier thinking that is not to be sent back, `thinking` (a chat
server reasons as its model does; `output_config.effort` is passed on), cache marks, the trimming of old context,
citations.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from guardproxy import strict_json
from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.bridge.conversation import (
    Conversation,
    file_part,
    function_call,
    image_part,
    text_part,
)
from guardproxy.upstream.bridge.fields import SAMPLING, Fields, untranslatable
from guardproxy.upstream.bridge.messages_tools import chat_tools
from guardproxy.upstream.bridge.reasoning import field_of_signature

_IGNORED = frozenset(
    {"betas", "cache_control", "context_management", "diagnostics", "service_tier", "speed", "thinking"}
)
_BLOCK_IGNORED = frozenset({"cache_control", "citations"})


def translate(tree: Mapping[str, Any]) -> JsonObject:
    """Raises MalformedRequest, naming the field."""
    body = Fields(tree)
    conversation = Conversation()
    if system := _text(body, "system"):
        conversation.system(system)
    for message in body.objects("messages"):
        _add_message(message, conversation)
    chat: JsonObject = {"model": body.string("model"), "messages": conversation.messages()}
    chat |= chat_tools(body) | body.copied("max_tokens", *SAMPLING) | _output_options(body)
    if (stop := body.take("stop_sequences")) is not None:
        chat["stop"] = stop
    if user := _user_id(body):
        chat["user"] = user
    if body.take("stream") is True:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    body.require("mcp_servers", [])
    body.require("inference_geo", "global")
    body.end(_IGNORED)
    return chat


def _user_id(body: Fields) -> str | None:
    metadata = body.object("metadata")
    if metadata is None:
        return None
    user = metadata.optional_string("user_id")
    metadata.end()
    return user


def _output_options(body: Fields) -> JsonObject:
    config = body.object("output_config")
    form = config.object("format") if config else None
    legacy = body.object("output_format")
    chat: JsonObject = {}
    if config and (effort := config.take("effort")) is not None:
        chat["reasoning_effort"] = effort
    if config:
        config.end()
    for asked in (form, legacy):
        chat |= _response_format(asked) if asked else {}
    return chat


def _response_format(form: Fields) -> JsonObject:
    form.require("type", "json_schema")
    schema = form.take("schema")
    form.end()
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


# --- messages -----------------------------------------------------------------------------------------------------


def _add_message(message: Fields, conversation: Conversation) -> None:
    match role := message.string("role"):
        case "user":
            _add_user(message, conversation)
        case "assistant":
            for block in _blocks(message, "content"):
                _add_assistant_block(block, conversation)
        case "system":
            conversation.system(_text(message, "content"))
        case _:
            raise message.refused("role", f"it has no role {role[:32]!r}")
    message.end()


def _add_user(message: Fields, conversation: Conversation) -> None:
    """The results of tools come first: a chat server wants them right after the calls."""
    parts: list[JsonObject] = []
    for block in _blocks(message, "content"):
        kind = block.take("type")
        if kind == "tool_result":
            _add_result(block, conversation)
        else:
            parts += _parts(kind, block)
    if parts:
        conversation.user(parts)


def _add_assistant_block(block: Fields, conversation: Conversation) -> None:
    match block.take("type"):
        case "text":
            conversation.assistant_text(block.string("text"))
            block.end(_BLOCK_IGNORED)
        case "tool_use":
            conversation.assistant_call(_call(block))
        case "thinking":
            if field := field_of_signature(block.string("signature")):
                conversation.assistant_reasoning(field, block.string("thinking"))
        case "redacted_thinking":
            pass
        case _:
            raise block.refused("type", "it has nothing like this block")


def _call(block: Fields) -> JsonObject:
    given = block.take("input")
    if not isinstance(given, dict):
        raise block.fault("input", "an object")
    arguments = strict_json.encode(given).decode()
    call = function_call(block.string("id"), block.string("name"), arguments)
    if caller := block.object("caller"):
        caller.require("type", "direct")
        caller.end()
    block.end(_BLOCK_IGNORED)
    return call


def _add_result(block: Fields, conversation: Conversation) -> None:
    """A chat server has no mark for a failed call, so its result says it."""
    call_id = block.string("tool_use_id")
    parts = _inner(block)
    if block.take("is_error") is True:
        parts.insert(0, text_part("Error:"))
    block.end(_BLOCK_IGNORED)
    conversation.result(call_id, parts)


def _text(owner: Fields, name: str) -> str:
    """The text of a field that holds a string or blocks; other blocks than text are refused."""
    texts: list[str] = []
    for block in _blocks(owner, name):
        for part in _parts(block.take("type"), block):
            if part["type"] != "text":
                raise untranslatable(block.at, "there is place for text alone there")
            texts.append(str(part["text"]))
    return "\n".join(texts)


def _blocks(owner: Fields, name: str) -> Iterable[Fields]:
    value = owner.take(name)
    match value:
        case None:
            return []
        case str():
            return [Fields({"type": "text", "text": value}, owner.place(name))]
        case list():
            at = owner.place(name)
            return [Fields.of(block, f"{at}[{i}]") for i, block in enumerate(value)]
        case _:
            raise owner.fault(name, "a string or a list of blocks")


def _parts(kind: Json, block: Fields) -> list[JsonObject]:
    match kind:
        case "text":
            parts = [text_part(block.string("text"))]
        case "image":
            parts = [image_part(_image_url(block))]
        case "document":
            parts = _document(block)
        case "search_result":
            parts = [text_part(block.string("title")), text_part(block.string("source")), *_inner(block)]
        case _:
            raise block.refused("type", "it has nothing like this block")
    block.end(_BLOCK_IGNORED)
    return parts


def _inner(owner: Fields) -> list[JsonObject]:
    return [part for block in _blocks(owner, "content") for part in _parts(block.take("type"), block)]


def _source(block: Fields) -> Fields:
    source = block.object("source")
    if source is None:
        raise block.fault("source", "an object")
    return source


def _image_url(block: Fields) -> str:
    source = _source(block)
    match source.take("type"):
        case "base64":
            url = f"data:{source.string('media_type')};base64,{source.string('data')}"
        case "url":
            url = source.string("url")
        case _:
            raise source.refused("type", "it takes images by address or as data only")
    source.end()
    return url


def _document(block: Fields) -> list[JsonObject]:
    """What a document is called and said to be about belongs to it, so it is written before it."""
    about = [text for name in ("title", "context") if (text := block.optional_string(name))]
    source = _source(block)
    parts = [text_part(text) for text in about]
    match source.take("type"):
        case "text":
            source.require("media_type", "text/plain")
            parts.append(text_part(source.string("data")))
        case "base64":
            data = f"data:{source.string('media_type')};base64,{source.string('data')}"
            parts.append(file_part({"filename": about[0] if about else "document", "file_data": data}))
        case "content":
            parts += _inner(source)
        case _:
            raise source.refused("type", "it takes documents as data only")
    source.end()
    return parts
