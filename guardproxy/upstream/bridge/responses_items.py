"""The output items of the Responses API: how each looks, and the events that bring it. Pure.

An event is given by its type and its fields; the writer adds the item's place and the event's number.
"""

from dataclasses import dataclass
from typing import NamedTuple

from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.bridge.blocks import CallHead, Closed, Kind, Opened
from guardproxy.upstream.bridge.custom_tools import text_of_arguments
from guardproxy.upstream.bridge.reasoning import item_id
from guardproxy.upstream.bridge.tool_names import ToolName


class Said(NamedTuple):
    type: str
    fields: JsonObject


@dataclass(frozen=True, slots=True)
class TextItem:
    """Reasoning, or a message with text or a refusal in it."""

    id: str
    kind: Kind

    def begun(self) -> JsonObject:
        return self._tree("in_progress", [])

    def ended(self, closed: Closed) -> JsonObject:
        return self._tree(_status(closed), [self._part(closed.text)])

    def opening(self) -> list[Said]:
        return [self._said("response.content_part.added", part=self._part(""))]

    def growing(self, text: str) -> list[Said]:
        return [self._said(f"response.{self._name}.delta", delta=text, **self._logprobs)]

    def closing(self, closed: Closed) -> list[Said]:
        field = "refusal" if self.kind is Kind.REFUSAL else "text"
        return [
            self._said(f"response.{self._name}.done", **{field: closed.text}, **self._logprobs),
            self._said("response.content_part.done", part=self._part(closed.text)),
        ]

    def _said(self, type: str, **fields: Json) -> Said:
        return Said(type, {"content_index": 0, **fields})

    @property
    def _name(self) -> str:
        return {Kind.REASONING: "reasoning_text", Kind.REFUSAL: "refusal"}.get(self.kind, "output_text")

    @property
    def _logprobs(self) -> JsonObject:
        return {"logprobs": []} if self.kind is Kind.TEXT else {}

    def _tree(self, status: str, content: list[Json]) -> JsonObject:
        if self.kind is Kind.REASONING:
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status}
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _part(self, text: str) -> JsonObject:
        match self.kind:
            case Kind.REASONING:
                return {"type": "reasoning_text", "text": text}
            case Kind.REFUSAL:
                return {"type": "refusal", "refusal": text}
            case _:
                return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


@dataclass(frozen=True, slots=True)
class FunctionItem:
    id: str
    call_id: str
    tool: ToolName

    def begun(self) -> JsonObject:
        return self._tree("in_progress", "")

    def ended(self, closed: Closed) -> JsonObject:
        return self._tree(_status(closed), closed.text)

    def opening(self) -> list[Said]:
        return []

    def growing(self, text: str) -> list[Said]:
        return [Said("response.function_call_arguments.delta", {"delta": text})]

    def closing(self, closed: Closed) -> list[Said]:
        done: JsonObject = {"arguments": closed.text, "name": self.tool.name}
        return [Said("response.function_call_arguments.done", done)]

    def _tree(self, status: str, arguments: str) -> JsonObject:
        return {**_call_tree(self, "function_call", status), "arguments": arguments}


@dataclass(frozen=True, slots=True)
class CustomItem:
    """A tool that takes free text. The text is known once the arguments are complete, so it comes in one piece."""

    id: str
    call_id: str
    tool: ToolName

    def begun(self) -> JsonObject:
        return self._tree("in_progress", "")

    def ended(self, closed: Closed) -> JsonObject:
        return self._tree(_status(closed), text_of_arguments(closed.text))

    def opening(self) -> list[Said]:
        return []

    def growing(self, text: str) -> list[Said]:
        return []

    def closing(self, closed: Closed) -> list[Said]:
        text = text_of_arguments(closed.text)
        said = [Said("response.custom_tool_call_input.delta", {"delta": text})] if text else []
        return [*said, Said("response.custom_tool_call_input.done", {"input": text})]

    def _tree(self, status: str, text: str) -> JsonObject:
        return {**_call_tree(self, "custom_tool_call", status), "input": text}


Item = TextItem | FunctionItem | CustomItem


def call_item(core: str, call: CallHead, tool: ToolName) -> Item:
    """`core` is what the ids of this answer's items end in."""
    if tool.custom:
        return CustomItem(f"ctc_{core}", call.id, tool)
    return FunctionItem(f"fc_{core}", call.id, tool)


def text_item(core: str, opened: Opened) -> Item:
    id = item_id(opened.source, core) if opened.kind is Kind.REASONING else f"msg_{core}"
    return TextItem(id, opened.kind)


def _status(closed: Closed) -> str:
    return "incomplete" if closed.cut else "completed"


def _call_tree(item: FunctionItem | CustomItem, type: str, status: str) -> JsonObject:
    tree: JsonObject = {"id": item.id, "type": type, "status": status, "call_id": item.call_id, "name": item.tool.name}
    return tree | {"namespace": item.tool.namespace} if item.tool.namespace else tree
