"""The content of a request's messages: the text in it, its calls and tool results, and what no guard can read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKey, CallKind, Message, ToolCall, ToolResult
from guardproxy.strict_json import JsonObject, encode
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.messages.contract import CONTRACT

_BLOCKS = CONTRACT["content blocks"]
_TOOL_CHANGES = CONTRACT["tool changes"]
_TURN_BLOCKS = frozenset({"tool_use", "tool_result"})


def fault(param: str, wanted: str) -> MalformedRequest:
    return MalformedRequest(f"'{param}' must be {wanted}.", param=param)


def refused(param: str, why: str, code: str = "field_refused") -> MalformedRequest:
    return MalformedRequest(f"'{param}' is refused: {why}.", param=param[:64], code=code)


@dataclass(slots=True)
class Conversation:
    """What is read from the messages. `hidden` are the places of content that is kept by the provider, not sent."""

    allow_fields: frozenset[str]
    messages: list[Message] = field(default_factory=list)
    uninspected: set[str] = field(default_factory=set)
    hidden: list[str] = field(default_factory=list)
    definitions: list[tuple[JsonObject, str]] = field(default_factory=list)  # tools declared in messages, by place
    _tools_by_id: dict[str, str] = field(default_factory=dict)

    def read_system(self, system: object) -> None:
        if system is not None:
            self.messages.append(Message("system", self._text(system, "system")))

    def read_message(self, message: object, at: str) -> None:
        if not isinstance(message, dict):
            raise fault(at, "an object")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise fault(f"{at}.role", "a non-empty string")
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        results = [r for i, block in enumerate(blocks) for r in self._result(block, f"{at}.content[{i}]")]
        self.messages += results
        text = self._text(content, f"{at}.content")
        calls = tuple(self._calls(blocks, at))
        if text or calls or not results:
            self.messages.append(Message(role, text, calls))

    def _result(self, block: object, at: str) -> Iterator[Message]:
        """A tool result is a message of its own, for one message may hold several."""
        if not isinstance(block, dict) or block.get("type") != "tool_result":
            return
        call_id = str(block.get("tool_use_id") or "")
        if any(isinstance(part, dict) and part.get("type") in _TURN_BLOCKS for part in _list(block.get("content"))):
            raise fault(f"{at}.content", "free of calls and results")
        text = self._text(block.get("content"), f"{at}.content")
        yield Message("tool", text, (), ToolResult.of(call_id, self._tools_by_id.get(call_id, ""), text))

    def _calls(self, blocks: Sequence[Any], at: str) -> Iterator[ToolCall]:
        uses = [(i, b) for i, b in enumerate(blocks) if b["type"] == "tool_use"]
        for place, (i, block) in enumerate(uses):
            whole = block.get("input")
            if whole is not None and not isinstance(whole, dict):
                raise fault(f"{at}.content[{i}].input", "an object")
            name = str(block.get("name"))
            toolset = block.get("toolset_name")
            name = f"{toolset}.{name}" if isinstance(toolset, str) and toolset else name
            kind = CallKind.BUILTIN if toolset else CallKind.FUNCTION
            call = ToolCall(CallKey(0, place), kind, str(block.get("id")), name, encode(whole or {}).decode())
            self._tools_by_id[call.id] = call.name
            yield call

    def _text(self, content: object, at: str) -> str:
        match content:
            case None:
                return ""
            case str():
                return content
            case list():
                return "\n".join(text for i, block in enumerate(content) for text in self._block(block, f"{at}[{i}]"))
            case _:
                raise fault(at, "a string or a list of content blocks")

    def _block(self, block: object, at: str) -> Iterator[str]:
        """The texts of one block, and a note of what else is in it."""
        if not isinstance(block, dict):
            raise fault(at, "an object")
        kind = block.get("type")
        if not isinstance(kind, str):
            raise fault(f"{at}.type", "a string")
        if kind not in _BLOCKS and kind not in self.allow_fields:
            raise refused(at, "this proxy does not know its type; the operator can name it in request.allow_fields")
        if _BLOCKS.get(kind, Treatment.COUNTED) is Treatment.COUNTED:
            yield from self._counted(kind, block, at)
            return
        match kind:
            case "text":
                yield self._string(block, "text", at)
            case "search_result":
                yield from (str(block[name]) for name in ("title", "source") if block.get(name))
                yield self._text(block.get("content"), f"{at}.content")
            case "browser_state":
                yield encode(block).decode()
            case "tool_addition":
                self._tool_change(block, at)
            case _:
                pass

    def _counted(self, kind: str, block: JsonObject, at: str) -> Iterator[str]:
        match kind:
            case "image":
                self._note("image", at, hidden=_source(block).get("type") == "file")
            case "document":
                yield from self._document(block, at)
            case "container_upload":
                self._note("file", at, hidden=True)
            case "compaction":
                self._note("compaction", at, hidden=bool(block.get("encrypted_content")))
                for i, change in enumerate(_list(block.get("tool_changes"))):
                    self._tool_change(change, f"{at}.tool_changes[{i}]")
                yield self._string(block, "content", at)
            case _ if kind in _BLOCKS:
                self._note("server_tool", at)
            case _:
                self._note("other", at)

    def _document(self, block: JsonObject, at: str) -> Iterator[str]:
        yield from (str(block[name]) for name in ("title", "context") if block.get(name))
        source = _source(block)
        match source.get("type"):
            case "text":
                yield self._string(source, "data", f"{at}.source")
            case "content":
                yield self._text(source.get("content"), f"{at}.source.content")
            case kind:
                self._note("file", at, hidden=kind == "file")

    def _tool_change(self, block: object, at: str) -> None:
        """A tool that is declared in a message is a tool like any other."""
        tool = block.get("tool") if isinstance(block, dict) else None
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in _TOOL_CHANGES:
            raise refused(f"{at}.tool", "this proxy does not know its type")
        if isinstance(tool, dict) and kind == "tool_definition":
            definition = tool.get("definition")
            if not isinstance(definition, dict):
                raise fault(f"{at}.tool.definition", "an object")
            self.definitions.append((definition, f"{at}.tool.definition"))

    def _note(self, kind: str, at: str, *, hidden: bool = False) -> None:
        self.uninspected.add(kind)
        if hidden:
            self.hidden.append(at)

    def _string(self, block: Mapping[str, Any], name: str, at: str) -> str:
        value = block.get(name)
        if value is not None and not isinstance(value, str):
            raise fault(f"{at}.{name}", "a string")
        return value or ""


def _source(block: JsonObject) -> JsonObject:
    source = block.get("source")
    return source if isinstance(source, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
