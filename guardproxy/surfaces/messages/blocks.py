"""The content blocks of one answer, as they come, and what each says.

A block that this version does not know is an opaque call; so is an event, or a delta to a block, of an unknown type.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from guardproxy import strict_json
from guardproxy.errors import UpstreamProtocolError
from guardproxy.model import CallDelta, CallKey, CallKind, Delta, ReasoningDelta, TextDelta, UninspectedDelta
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.messages.contract import CONTRACT, DELTA_BLOCKS, SERVER_TOOLS
from guardproxy.surfaces.messages.shapes import (
    BLOCK_FIELDS,
    CITATION_FIELDS,
    DELTA_FIELDS,
    an_object,
    refuse_hidden_calls,
    string,
    type_of,
)

_BLOCKS = CONTRACT["answer blocks"]
_TOOL_BLOCKS = DELTA_BLOCKS["input_json_delta"]
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


@dataclass(slots=True)
class Block:
    """`tree` is the block as it began; `pieces` are the texts of its deltas, `late` fields that came in one, `deltas`
    those of an opaque block. `key` is that of the call it is."""

    type: str
    tree: dict[str, Any]
    key: CallKey | None = None
    open: bool = True
    pieces: list[str] = field(default_factory=list)
    late: dict[str, Any] = field(default_factory=dict)
    deltas: list[JsonObject] = field(default_factory=list)

    @property
    def opaque(self) -> bool:
        return self.type not in _BLOCKS

    @property
    def text(self) -> str:
        """All of its text or thinking."""
        return string(self.tree.get(self.type), self.type) + "".join(self.pieces)

    @property
    def arguments(self) -> str:
        """The raw text of a tool's input."""
        joined = "".join(self.pieces)
        return joined or strict_json.encode(self.tree.get("input") or {}).decode()


class Blocks:
    """Reads blocks into deltas. `builtin` are the names of tools that the API defines and the client runs."""

    def __init__(self, builtin: Set[str]) -> None:
        self.all: list[Block] = []
        self._builtin = builtin
        self._calls = 0

    def start(self, tree: JsonObject, *, whole: bool = False) -> Sequence[Delta]:
        """A block that begins, or the whole of one."""
        block = Block(type_of(tree, "a content block"), tree, open=not whole)
        self.all.append(block)
        if block.opaque:
            call = self.opaque_call(block.type, tree)
            block.key = call.key
            return (call if whole else replace(call, arguments=""),)
        refuse_hidden_calls(tree, BLOCK_FIELDS[block.type])
        if block.type not in _TOOL_BLOCKS and tree.get("input"):
            raise UpstreamProtocolError("the upstream sent a tool's input where none belongs")
        return tuple(self._beginning(block))

    def add(self, block: Block, delta: JsonObject) -> Sequence[Delta]:
        """A known delta to a known block."""
        kind = type_of(delta, "a delta")
        refuse_hidden_calls(delta, DELTA_FIELDS[kind])
        if block.type not in DELTA_BLOCKS[kind]:
            raise UpstreamProtocolError(f"the upstream added a {kind} to a block of another type")
        match kind:
            case "text_delta" | "thinking_delta" | "input_json_delta":
                return _piece(block, string(delta.get(_PIECES[kind]), _PIECES[kind]))
            case "citations_delta":
                an_object(delta.get("citation"), "citation")
            case _:  # signature_delta and compaction_delta: the fields of the block themselves
                block.late |= {name: value for name, value in delta.items() if name != "type"}
        return ()

    def stop(self, block: Block) -> Sequence[Delta]:
        block.open = False
        if block.opaque:
            assert block.key is not None
            said: Any = {"content_block": block.tree, "deltas": block.deltas} if block.deltas else block.tree
            return (CallDelta(block.key, None, "", "", strict_json.encode(said).decode()),)
        if block.type == "tool_use" and not any(block.pieces) and not block.tree.get("input"):
            assert block.key is not None
            return (CallDelta(block.key, None, "", "", "{}"),)  # no piece of input at all is an empty input
        return ()

    def opaque_call(self, kind: str, tree: JsonObject) -> CallDelta:
        key = self._next_key()
        call_id = tree.get("id")
        name = call_id if isinstance(call_id, str) and call_id else f"opaque_{key.position}"
        return CallDelta(key, CallKind.OPAQUE, name, kind, strict_json.encode(tree).decode())

    def _beginning(self, block: Block) -> Iterable[Delta]:
        match block.type:
            case "text":
                yield TextDelta(0, string(block.tree.get("text"), "text"))
            case "thinking":
                yield ReasoningDelta(0, string(block.tree.get("thinking"), "thinking"))
            case "tool_use":
                yield self._call(block)
            case _ if _BLOCKS[block.type] is Treatment.COUNTED:
                yield UninspectedDelta(_counted(block))
            case _:
                pass

    def _call(self, block: Block) -> CallDelta:
        """`input` is empty where its pieces follow. Both would be two readings, see `_piece`."""
        tree = block.tree
        block.key = self._next_key()
        whole = tree.get("input")
        if whole is not None:
            an_object(whole, "input")
        arguments = strict_json.encode(whole or {}).decode() if whole or not block.open else ""
        name, toolset = string(tree.get("name"), "name"), string(tree.get("toolset_name"), "toolset_name")
        builtin = bool(toolset) or name in self._builtin
        return CallDelta(
            block.key,
            CallKind.BUILTIN if builtin else CallKind.FUNCTION,
            string(tree.get("id"), "id"),
            f"{toolset}.{name}" if toolset and name else name,
            arguments,
        )

    def _next_key(self) -> CallKey:
        self._calls += 1
        return CallKey(0, self._calls - 1)


def _piece(block: Block, text: str) -> Sequence[Delta]:
    block.pieces.append(text)
    match block.type:
        case "text":
            return (TextDelta(0, text),)
        case "thinking":
            return (ReasoningDelta(0, text),)
        case "tool_use":
            if text and block.tree.get("input"):
                raise UpstreamProtocolError("the upstream sent the input of a tool call both whole and in pieces")
            assert block.key is not None
            return (CallDelta(block.key, None, "", "", text),)
        case _:
            return ()


def _counted(block: Block) -> str:
    """A name to count by: of few values, whatever the upstream says."""
    name = block.tree.get("name")
    if block.type == "server_tool_use" and isinstance(name, str) and name in SERVER_TOOLS:
        return f"server_{name}"
    return block.type if block.type in ("container_upload", "compaction") else f"server_{block.type}"


def plain_citations(citations: object) -> list[dict[str, Any]]:
    """The known scalar fields of citations."""
    if not isinstance(citations, list):
        return []
    return [
        {name: citation[name] for name in citation if name in CITATION_FIELDS and _is_plain(citation[name])}
        for citation in citations
        if isinstance(citation, dict)
    ]


def _is_plain(value: object) -> bool:
    return not isinstance(value, dict | list)
