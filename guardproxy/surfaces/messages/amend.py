"""Taking blocked calls out of a held answer, and putting rewritten arguments in.

What leaves is rebuilt from known fields instead of edited: fields that this version does not know may quote the call.
The blocks keep their order and are numbered anew, without gaps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guardproxy.decision import Allow, Permit, Rewrite
from guardproxy.model import CallKey, CallKind
from guardproxy.strict_json import JsonObject, MalformedJson, decode_object
from guardproxy.surfaces.messages.blocks import Block, plain_citations
from guardproxy.surfaces.messages.shapes import (
    BLOCK_FIELDS,
    DELTA_FIELDS,
    END_FIELDS,
    EVENT_FIELDS,
    MESSAGE_FIELDS,
    UNREAD_FIELDS,
)
from guardproxy.surfaces.surface import OnBlock, Refusal

Tree: TypeAlias = dict[str, Any]
"""A piece of an answer that was read before, so that its shape is known to be right."""

_REASONING = frozenset({"thinking", "redacted_thinking"})


def amend_stream(
    held: Sequence[Tree], blocks: Sequence[Block], opaque: Mapping[int, CallKey], permit: Permit, refusal: Refusal
) -> list[Tree]:
    """The last events of a stream. `blocks` are all of its blocks, `opaque` the calls that are events, by place."""
    amender = _StreamAmender(_Plan.of(permit, refusal), held, blocks)
    for place, tree in enumerate(held):
        amender.take(tree, opaque.get(place))
    return amender.out


def amend_message(tree: Tree, blocks: Sequence[Block], permit: Permit, refusal: Refusal) -> Tree:
    """A whole message."""
    plan = _Plan.of(permit, refusal)
    content: list[Tree] = []
    for block in blocks:
        content += _whole_block(block, plan, content)
    if not plan.told:
        content += plan.refusal_blocks(_has_text(content))
    envelope = {name: tree[name] for name in tree if name in MESSAGE_FIELDS}
    return _plain_envelope(envelope) | {"content": content} | plan.end(envelope)


@dataclass(slots=True)
class _Plan:
    """What becomes of each call. `room` is how much text may still leave, None where all may."""

    kept: frozenset[CallKey]
    rewritten: Mapping[CallKey, str]
    calls_stay: bool  # the client has a call to answer
    text: str | None
    style: OnBlock
    room: int | None
    drop_reasoning: bool
    told: bool = False

    @classmethod
    def of(cls, permit: Permit, refusal: Refusal) -> "_Plan":
        outcomes = permit.decision.outcomes
        kept = frozenset(key for key, outcome in outcomes.items() if isinstance(outcome, Allow | Rewrite))
        return cls(
            kept=kept,
            rewritten={key: out.arguments for key, out in outcomes.items() if isinstance(out, Rewrite)},
            calls_stay=any(call.key in kept and call.kind is not CallKind.TEXT for call in permit.turn.calls),
            text=refusal.texts.get(0),
            style=refusal.style,
            room=refusal.text_room.get(0),
            drop_reasoning=refusal.drop_reasoning,
        )

    def drops(self, block: Block) -> bool:
        blocked = block.key is not None and block.key not in self.kept
        return blocked or (self.drop_reasoning and block.type in _REASONING)

    def cut(self, text: str) -> str:
        """What of a held text may leave."""
        if self.room is None:
            return text
        kept = text[: self.room]
        self.room -= len(kept)
        return kept

    def refusal_blocks(self, after_text: bool) -> list[Tree]:
        """The block that tells of the blocked calls, once. Some clients join the texts of all blocks."""
        if self.told or self.text is None:
            return []
        self.told = True
        return [{"type": "text", "text": f"\n\n{self.text}" if after_text else self.text}]

    def end(self, said: Tree) -> Tree:
        """The fields that say why the answer ended, where `said` is what the upstream said."""
        known = {name: value for name, value in said.items() if name in END_FIELDS}
        reason = known.get("stop_reason")
        if self.text is None or self.calls_stay or not reason:
            return known
        if self.style in (OnBlock.CONTENT_FILTER, OnBlock.REFUSAL):
            details = {"type": "refusal", "category": None, "explanation": self.text}
            return known | {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
        return known | ({"stop_reason": "end_turn"} if reason == "tool_use" else {})


# --- whole -------------------------------------------------------------------------------------------------------


def _whole_block(block: Block, plan: _Plan, before: Sequence[Tree]) -> list[Tree]:
    if plan.drops(block):
        return plan.refusal_blocks(_has_text(before)) if block.key is not None else []
    if block.type == "text":
        text = plan.cut(block.text)
        cut = len(text) < len(block.text)
        return [] if cut and not text else [plain_block(block) | {"text": text}]
    rebuilt = plain_block(block)
    if block.key is not None and block.key in plan.rewritten:
        rebuilt["input"] = input_of(plan.rewritten[block.key])
    return [rebuilt]


def _has_text(content: Sequence[Tree]) -> bool:
    return any(block["type"] == "text" and block["text"] for block in content)


# --- streamed ----------------------------------------------------------------------------------------------------


class _StreamAmender:
    """Takes the held events in order. `places` is where a block goes in what the client gets, None if it does not.

    A text that is to be cut begins when its first character may leave, for it may turn out that none may.
    """

    def __init__(self, plan: _Plan, held: Sequence[Tree], blocks: Sequence[Block]) -> None:
        begun = [tree["index"] for tree in held if tree["type"] == "content_block_start"]
        ended = {tree["index"] for tree in held if tree["type"] == "content_block_stop"}
        self.plan = plan
        self.blocks = blocks
        self.out: list[Tree] = []
        self.next = min(begun, default=len(blocks))
        self.places: dict[int, int | None] = {index: index for index in range(self.next)}
        self.open = {index for index in range(self.next) if index in ended}
        self.text_left = sum(len(b.text) for b in blocks if b.type == "text") > sum(map(_length_of_text, held))
        self.waiting: int | None = None  # a text that has not begun
        self.owed = False  # a blocked call was met, and the refusal waits for a place between two blocks

    def take(self, tree: Tree, opaque: CallKey | None) -> None:
        if opaque is not None:
            self._opaque(tree, opaque)
            return
        match tree["type"]:
            case "content_block_start":
                self._start(tree["index"], self.blocks[tree["index"]])
            case "content_block_delta":
                self._delta(tree, self.blocks[tree["index"]])
            case "content_block_stop":
                self._stop(tree["index"])
            case "message_start":
                message = {name: value for name, value in tree["message"].items() if name in MESSAGE_FIELDS}
                self.out.append({"type": "message_start", "message": _plain_envelope(message) | {"content": []}})
            case "message_delta":
                self._message_delta(tree)
            case kind:
                self.out.append({"type": kind})

    def _opaque(self, tree: Tree, key: CallKey) -> None:
        if key not in self.plan.kept:
            self.owed = True
        elif tree.get("index") not in self.places:
            self.out.append(tree)
        elif (place := self.places.get(tree["index"])) is not None:
            self.out.append(tree | {"index": place})

    def _start(self, index: int, block: Block) -> None:
        self._begin_waiting(self.waiting is not None and not self.blocks[self.waiting].text)
        self.owed = self.owed or (block.key is not None and self.plan.drops(block))
        self._tell_refusal()
        self.places[index] = None
        if self.plan.drops(block):
            return
        if block.type == "text" and self.plan.room is not None:
            self.waiting = index
            self._text(index, block.tree.get("text") or "")
        elif block.key is not None and block.key in self.plan.rewritten:
            self._begin(index, plain_block(block) | {"input": {}})
            self._add(index, {"type": "input_json_delta", "partial_json": self.plan.rewritten[block.key]})
        else:
            self.text_left = self.text_left or (block.type == "text" and bool(block.tree.get("text")))
            self._begin(index, plain_block(block))

    def _delta(self, tree: Tree, block: Block) -> None:
        index, delta = tree["index"], tree["delta"]
        if block.opaque:
            if self.places[index] is not None:
                self.out.append(tree | {"index": self.places[index]})
        elif delta["type"] == "text_delta":
            self._text(index, delta.get("text") or "")
        elif not (block.key in self.plan.rewritten or self.plan.drops(block)):
            self._add(index, _known_delta(delta))

    def _stop(self, index: int) -> None:
        if self.waiting == index:
            self._begin_waiting(not self.blocks[index].text)
        place = self.places[index]
        if place is not None:
            self.out.append({"type": "content_block_stop", "index": place})
            self.open.discard(place)

    def _message_delta(self, tree: Tree) -> None:
        self.owed = self.owed or not self.plan.told
        self._tell_refusal()
        known = {name: value for name, value in tree.items() if name in EVENT_FIELDS["message_delta"]}
        self.out.append(_plain_envelope(known) | {"delta": self.plan.end(tree.get("delta") or {})})

    def _text(self, index: int, text: str) -> None:
        kept = self.plan.cut(text)
        if not kept:
            return
        self._begin_waiting(self.waiting == index)
        self.text_left = True
        self._add(index, {"type": "text_delta", "text": kept})

    def _begin_waiting(self, wanted: bool) -> None:
        """Begins the text that waits, if it is wanted; else it will never begin."""
        if self.waiting is not None and wanted:
            self._begin(self.waiting, {"type": "text", "text": ""})
        self.waiting = None

    def _begin(self, index: int, block: Tree) -> None:
        self.places[index] = self.next
        self.open.add(self.next)
        self.next += 1
        self.out.append({"type": "content_block_start", "index": self.places[index], "content_block": block})

    def _add(self, index: int, delta: Tree) -> None:
        if self.places[index] is not None:
            self.out.append({"type": "content_block_delta", "index": self.places[index], "delta": delta})

    def _tell_refusal(self) -> None:
        if not self.owed or self.open:
            return
        for block in self.plan.refusal_blocks(self.text_left):
            index = self.next
            self.next += 1
            self.text_left = True
            begun = {"type": "text", "text": ""}
            self.out += [
                {"type": "content_block_start", "index": index, "content_block": begun},
                {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": block["text"]}},
                {"type": "content_block_stop", "index": index},
            ]


def _length_of_text(tree: Tree) -> int:
    """Of the text that an event brings."""
    for part in (tree.get("content_block"), tree.get("delta")):
        if isinstance(part, dict) and part.get("type") in ("text", "text_delta"):
            return len(part.get("text") or "")
    return 0


# --- parts -------------------------------------------------------------------------------------------------------


def plain_block(block: Block) -> Tree:
    """A whole block from its known fields. An opaque one that may leave has none: it leaves as it is."""
    if block.opaque:
        return block.tree
    known = {name: value for name, value in block.tree.items() if name in BLOCK_FIELDS[block.type]}
    if known.get("citations") is not None:
        known["citations"] = plain_citations(known["citations"])
    if isinstance(known.get("caller"), dict):
        known["caller"] = {name: value for name, value in known["caller"].items() if not isinstance(value, dict | list)}
    if block.type == "tool_use":
        known["input"] = known.get("input") or {}
    return known


def _known_delta(delta: Tree) -> Tree:
    known = {name: value for name, value in delta.items() if name in DELTA_FIELDS[delta["type"]]}
    if "citation" in known:
        known["citation"] = next(iter(plain_citations([known["citation"]])))
    return known


def _plain_envelope(tree: Tree) -> Tree:
    """The fields around the content: plain ones, known objects, and the counts of the usage."""
    kept = {name: value for name, value in tree.items() if name in UNREAD_FIELDS or not isinstance(value, dict | list)}
    if isinstance(kept.get("usage"), dict):
        kept["usage"] = _numbers(kept["usage"])
    return kept


def _numbers(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _numbers(v) for k, v in tree.items() if v is None or isinstance(v, int | float | dict)}
    return tree


def input_of(arguments: str) -> JsonObject:
    """Raw arguments as the object that an `input` must be. What is none is shown to the model as it is."""
    try:
        return decode_object((arguments.strip() or "{}").encode("utf-8", "surrogatepass"))
    except MalformedJson:
        return {"malformed": arguments}
