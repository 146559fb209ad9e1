"""A chat model's answer in the Responses API. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from guardproxy.stream.frame import Frame
from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.bridge.blocks import Begun, Closed, Ended, Event, Grown, Kind, Opened, Outcome, Usage
from guardproxy.upstream.bridge.responses_items import Said, call_item, text_item
from guardproxy.upstream.bridge.tool_names import ToolNames
from guardproxy.upstream.bridge.writer import answer_id

_ECHOED = (
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "top_p",
    "truncation",
    "user",
)
"""Of the request, beside tools. Not its instructions: a learned prefix may be among them."""

_INCOMPLETE = {Outcome.LENGTH: "max_output_tokens", Outcome.FILTERED: "content_filter"}


class ResponsesWriter:
    """`tree` is the request as the client made it."""

    def __init__(self, tree: Mapping[str, Any], names: ToolNames, nonce: str) -> None:
        self._names = names
        self._nonce = nonce
        self._response = _response(tree)
        self._sequence = 0
        self._id = ""
        self._output: list[Json] = []
        self._item = text_item("", Opened(0, Kind.TEXT))

    def write(self, event: Event) -> list[Frame]:
        match event:
            case Begun():
                return self._begin(event)
            case Opened():
                return self._open(event)
            case Grown(text):
                return self._of_item(self._item.growing(text))
            case Closed():
                return self._close(event)
            case Ended():
                return [self._end(event)]
            case _:
                assert_never(event)

    def whole(self) -> JsonObject:
        return self._response

    def _begin(self, event: Begun) -> list[Frame]:
        self._id = answer_id(event.id, self._nonce)
        self._response |= {"id": f"resp_{self._id}", "created_at": event.created}
        self._response["model"] = event.model or self._response["model"]
        started = dict(self._response)
        return [self._frame(kind, response=started) for kind in ("response.created", "response.in_progress")]

    def _open(self, event: Opened) -> list[Frame]:
        core = f"{self._id}_{event.index}"
        if event.call is None:
            self._item = text_item(core, event)
        else:
            self._item = call_item(core, event.call, self._names.original(event.call.name))
        added = self._frame("response.output_item.added", output_index=len(self._output), item=self._item.begun())
        return [added, *self._of_item(self._item.opening())]

    def _close(self, event: Closed) -> list[Frame]:
        frames = self._of_item(self._item.closing(event))
        item = self._item.ended(event)
        frames.append(self._frame("response.output_item.done", output_index=len(self._output), item=item))
        self._output.append(item)
        return frames

    def _end(self, event: Ended) -> Frame:
        status: Json = "completed"
        if event.outcome in _INCOMPLETE:
            status = "incomplete"
            self._response["incomplete_details"] = {"reason": _INCOMPLETE[event.outcome]}
        self._response |= {"status": status, "output": self._output, "usage": _usage(event.usage)}
        return self._frame(f"response.{status}", response=self._response)

    def _of_item(self, said: Iterable[Said]) -> list[Frame]:
        """Events about the open item."""
        place: JsonObject = {"item_id": self._item.id, "output_index": len(self._output)}
        return [self._frame(each.type, **place, **each.fields) for each in said]

    def _frame(self, kind: str, **fields: Json) -> Frame:
        self._sequence += 1
        return Frame({"type": kind, "sequence_number": self._sequence - 1, **fields}, kind)


def _response(tree: Mapping[str, Any]) -> JsonObject:
    echoed = {name: tree[name] for name in _ECHOED if tree.get(name) is not None}
    parallel = tree.get("parallel_tool_calls")
    return {
        "id": "",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": tree.get("model"),
        "output": [],
        "parallel_tool_calls": True if parallel is None else parallel,
        "previous_response_id": None,
        "tool_choice": tree.get("tool_choice") or "auto",
        "tools": tree.get("tools") or [],
        "usage": None,
        **echoed,
    }


def _usage(usage: Usage | None) -> Json:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
