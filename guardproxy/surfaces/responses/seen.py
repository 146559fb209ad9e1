"""What has been read of an answer so far: its items, their parts, and the calls among them.

Everything that an answer repeats is compared with what was said before. Some servers parse the model's words a second
time for the repeats, so these may differ where no client could act differently: in the white space around a text, and
in the spelling of the same JSON.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from guardproxy import strict_json
from guardproxy.model import CallDelta, CallKey, CallKind, Delta, ReasoningDelta, TextDelta, UninspectedDelta
from guardproxy.strict_json import JsonObject, MalformedJson
from guardproxy.surfaces.responses.contract import SERVER_RUN
from guardproxy.surfaces.responses.items import SHAPES, ItemFault, Spoken, opaque, spoken, text_of
from guardproxy.surfaces.responses.words import Words

TEXT_FIELDS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text", "summary_text": "text"}
"""The field that holds the text of a part, by its type."""

_SILENT = frozenset({"message", "reasoning"})
_OF_CALLS = frozenset({"call_id", "tool_calls", "function_call"}.union(*(shape.arguments for shape in SHAPES.values())))


@dataclass(slots=True)
class CallState:
    """One call. What it was said to be is never taken back."""

    key: CallKey
    kind: CallKind
    id: str = ""
    name: str = ""
    words: Words = field(default_factory=Words)  # of its arguments
    whole: bool = False  # its arguments were said in full
    in_pieces: bool = False  # there was a piece of them, though it may be empty
    late: bool = False  # they were not said before that: who goes by the pieces has none of them
    commands: dict[int, str] = field(default_factory=dict)  # of a shell call, as they were streamed

    @property
    def pieced(self) -> bool:
        """Whether its arguments are text, which may come in pieces."""
        return self.kind in (CallKind.FUNCTION, CallKind.CUSTOM, CallKind.APPROVAL)

    def piece(self, arguments: str) -> CallDelta:
        if self.whole:
            raise ItemFault("part of a tool call came after its arguments were done")
        self.words.add(arguments)
        self.in_pieces = True
        return CallDelta(self.key, None, "", "", arguments)

    def begin(self, said: Spoken) -> CallDelta:
        """As an item that was added says. Arguments that are no text are complete only when the item is."""
        streamed = said.arguments if self.pieced else ""
        self.id, self.name, self.words = said.id, said.name, Words(streamed)
        return CallDelta(self.key, self.kind, said.id, said.name, streamed)

    def settle(self, said: Spoken, *, ids_may_differ: bool = False) -> list[Delta]:
        """As an item that is complete says: what is new of it. Raises ItemFault where it says something else."""
        id, name = self._new("id", self.id, said.id, ids_may_differ), self._new("name", self.name, said.name)
        arguments = "" if self.words else said.arguments
        if self.words and not self._same_arguments(said.arguments):
            raise ItemFault("a tool call was repeated with other arguments")
        if arguments and (self.whole or (self.in_pieces and arguments.strip() != "{}")):
            raise ItemFault("a tool call was repeated with arguments that it did not have")
        self.words, self.whole, self.late = self.words or Words(arguments), True, self.late or bool(arguments)
        self.id, self.name = self.id or id, self.name or name
        return [CallDelta(self.key, self.kind, id, name, arguments)] if id or name or arguments else []

    def _same_arguments(self, again: str) -> bool:
        if self.words.text == again or self.kind is CallKind.CUSTOM:
            return self.words.text == again
        try:
            return _canonical(self.words.text) == _canonical(again)
        except MalformedJson:
            return False

    def _new(self, what: str, old: str, new: str, may_differ: bool = False) -> str:
        if old and new and old != new and not may_differ:
            raise ItemFault(f"a tool call was repeated with another {what}")
        return "" if old else new


@dataclass(slots=True)
class Part:
    """A piece of a message's content, or of a reasoning item."""

    type: str
    words: Words = field(default_factory=Words)
    annotations: list[Any] = field(default_factory=list)
    call: CallState | None = None  # a part of a type that nobody knows
    tree: JsonObject = field(default_factory=dict)
    text_done: bool = False
    done: bool = False

    def say(self, text: str) -> list[Delta]:
        if self.text_done or self.done:
            raise ItemFault("part of a text came after its end")
        self.words.add(text)
        return self._said(text)

    @property
    def text(self) -> str:
        return self.words.text

    def settle(self, text: str) -> list[Delta]:
        """As a repeat of the whole text says."""
        if not self.words and text:
            self.words = Words(text)
            return self._said(text)
        if self.text != text and self.text.strip() != text.strip():
            raise ItemFault("a text was repeated in other words")
        return []

    def settle_tree(self, tree: JsonObject) -> list[Delta]:
        """As a repeat of the whole part says."""
        if text_of(tree, "type") != self.type:
            raise ItemFault("a part was repeated with another type")
        if self.call is not None:
            self.tree = tree
            return self.call.settle(opaque(tree, self.call.id))
        if isinstance(tree.get("annotations"), list):
            self.annotations = tree["annotations"]  # type: ignore[assignment]
        return self.settle(text_of(tree, TEXT_FIELDS[self.type]))

    def _said(self, text: str) -> list[Delta]:
        if self.type in ("reasoning_text", "summary_text"):
            return [ReasoningDelta(0, text)]
        return [TextDelta(0, text)]


@dataclass(slots=True)
class Item:
    """One item of the output. `listed` is false for an event that nobody knows, which is judged as a call too."""

    type: str
    id: str
    index: int | None  # its place, as the server says
    tree: JsonObject
    call: CallState | None = None
    content: list[Part] = field(default_factory=list)
    summary: list[Part] = field(default_factory=list)
    announced: bool = True  # an event has said that it is there; else the terminal event was the first to name it
    added: bool = True  # an event has said that it begins; else it was done at once
    done: bool = False
    listed: bool = True
    matched: bool = False  # found again in the terminal event

    @property
    def parts(self) -> list[Part]:
        return self.content + self.summary

    def part(self, where: str, index: int, type: str) -> Part:
        """The part at an index; the next one may begin without being announced."""
        parts = self.content if where == "content" else self.summary
        if index == len(parts):
            parts.append(Part(type))
        if not 0 <= index < len(parts) or parts[index].type != type:
            raise ItemFault("the text of a part came that is not there, or is of another type")
        return parts[index]

    def settle(self, tree: JsonObject, parts: "Parts", *, terminal: bool = False) -> list[Delta]:
        """As a repeat of the whole item says: what is new of it."""
        if text_of(tree, "type") != self.type:
            raise ItemFault("an item was repeated with another type")
        self.tree = tree if not terminal else {**tree, **_ids(self.tree)}
        if self.call is not None:
            said = spoken(tree) if self.type in SHAPES else opaque(tree, self.call.id)
            _check_commands(self.call, tree)
            return self.call.settle(said, ids_may_differ=terminal)
        if self.type not in _SILENT:
            return []
        if any(tree.get(name) for name in _OF_CALLS):
            raise ItemFault("an item that is no call has the fields of one")
        return [*parts.settle(self.content, tree.get("content")), *parts.settle(self.summary, tree.get("summary"))]


def _ids(tree: JsonObject) -> JsonObject:
    """Under these a client knows the item already."""
    return {name: tree[name] for name in ("id", "call_id") if tree.get(name)}


class Note(NamedTuple):
    """What one frame was about, and how much text of which parts came with it."""

    item: Item | None = None
    said: tuple[tuple[Part, int], ...] = ()


class Parts:
    """Makes and compares parts, and gives calls their keys."""

    def __init__(self) -> None:
        self._calls = 0

    def new_call(self, kind: CallKind) -> CallState:
        self._calls += 1
        return CallState(CallKey(0, self._calls - 1), kind)

    def opaque_id(self, tree: Mapping[str, Any]) -> str:
        for name in ("call_id", "id", "item_id"):
            if isinstance(value := tree.get(name), str) and value:
                return value
        return f"opaque_{self._calls}"

    def begin(self, tree: JsonObject) -> tuple[Part, list[Delta]]:
        """A part that was added. Of a type that nobody knows, it is a call, and complete only when it is done."""
        type = text_of(tree, "type")
        if type in TEXT_FIELDS:
            part = Part(type)
            text = text_of(tree, TEXT_FIELDS[type])
            return part, part.say(text) if text else []
        part = Part(type, tree=tree, call=self.new_call(CallKind.OPAQUE))
        assert part.call is not None
        return part, [part.call.begin(opaque(tree, self.opaque_id(tree)))]

    def settle(self, known: list[Part], given: object) -> list[Delta]:
        """The parts of an item that is complete, each as it was streamed, or now for the first time."""
        if given is None:
            return []
        if not isinstance(given, list) or not all(isinstance(tree, dict) for tree in given):
            raise ItemFault("the parts of an item are not a list of objects")
        if len(given) < sum(bool(part.words) or part.call is not None for part in known):
            raise ItemFault("an item was repeated with fewer parts")
        return [delta for place, tree in enumerate(given) for delta in self.settle_at(known, place, tree)]

    def settle_at(self, known: list[Part], place: int, tree: JsonObject) -> list[Delta]:
        """One part that is complete."""
        if place > len(known):
            raise ItemFault("a part came before the one before it")
        if place < len(known):
            return known[place].settle_tree(tree)
        part, _ = self.begin({"type": tree.get("type")})
        known.append(part)
        if part.call is None:
            return part.settle_tree(tree)
        part.tree = tree
        return _merged(part.call, opaque(tree, part.call.id))


def _merged(call: CallState, said: Spoken) -> list[Delta]:
    """A call that was never begun, said in one piece."""
    call.id, call.name, call.words, call.whole = said.id, said.name, Words(said.arguments), True
    return [CallDelta(call.key, call.kind, said.id, said.name, said.arguments)]


def whole_call(item: Item, tree: JsonObject) -> list[Delta]:
    """A call that is known from its complete item alone."""
    assert item.call is not None
    return _merged(item.call, spoken(tree) if item.type in SHAPES else opaque(tree, item.call.id))


def server_run(tree: Mapping[str, Any], *, hosted_shell: bool) -> str | None:
    """The kind under which an item is counted that nobody can stop: the provider has run it, or has hidden it."""
    match tree.get("type"):
        case "compaction":
            return "compaction"
        case "tool_search_call" if tree.get("execution") == "server":
            return "server_tool_search_call"
        case "shell_call" if hosted_shell and _in_container(tree.get("environment")):
            return "server_shell_call"
        case str(type) if type in SERVER_RUN:
            return f"server_{type}"
        case _:
            return None


def uninspected(kind: str) -> Iterable[Delta]:
    return (UninspectedDelta(kind),)


def _in_container(environment: object) -> bool:
    return isinstance(environment, dict) and environment.get("type") in ("container_reference", "container_auto")


def _check_commands(call: CallState, tree: JsonObject) -> None:
    """The commands of a shell call, if they were streamed."""
    if not call.commands:
        return
    action = tree.get("action")
    commands = action.get("commands") if isinstance(action, dict) else None
    if not isinstance(commands, list) or call.commands != dict(enumerate(commands)):
        raise ItemFault("a shell call was repeated with other commands")


def _canonical(text: str) -> str:
    return json.dumps(strict_json.decode(text.encode("utf-8", "surrogatepass")), sort_keys=True)
