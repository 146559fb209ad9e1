"""What becomes of each item of an answer in which not every call may leave as it came."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import assert_never

from guardproxy.decision import Allow, Block, Permit, Reask, Rewrite
from guardproxy.model import CallKey
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.responses.items import SHAPES, known_fields, with_arguments
from guardproxy.surfaces.responses.seen import TEXT_FIELDS, CallState, Item, Note, Part
from guardproxy.surfaces.surface import OnBlock, Refusal

_NOT_SAID = "[guardproxy] A tool call was not executed."
_ANNOTATION = frozenset("type url title start_index end_index index file_id filename container_id".split())


def written(item: Item, permit: Permit) -> JsonObject | None:
    """A call as it may leave; None where it may not. A rewrite that cannot be written, or that the provider would not
    heed, is a block."""
    assert item.call is not None
    match outcome := permit.decision.outcomes[item.call.key]:
        case Allow():
            return known_fields(item.tree) if item.type in SHAPES else item.tree
        case Rewrite(arguments):
            return with_arguments(item.tree, arguments) if item.type in SHAPES else None
        case Block() | Reask():
            return None
        case _:
            assert_never(outcome)


@dataclass(frozen=True, slots=True)
class Plan:
    """`places` are the new indexes of the items that stay, by identity; `refusal_at` is that of the refusal.

    `calls` are the calls that leave, as they do; `texts` is what may be shown of each part, and `pieces` how much of
    that comes with each held frame.
    """

    places: Mapping[int, int]
    calls: Mapping[CallKey, JsonObject]
    refused: Item | None
    refusal_at: int | None
    refusal: JsonObject
    texts: Mapping[int, str]
    pieces: Sequence[Mapping[int, int]]
    shown_in_part: frozenset[int]  # parts of which something was taken
    filtered: bool
    drop_reasoning: bool

    @classmethod
    def of(cls, items: Sequence[Item], notes: Sequence[Note], left: int, permit: Permit, refusal: Refusal) -> "Plan":
        texts, pieces, cut = _texts(items, notes[left:], refusal)
        calls = dict(_leaving(items, permit))
        refused = next((item for item in items if item.call is not None and item.call.key not in calls), None)
        begun = {id(note.item) for note in notes[:left]}
        staying = [i for i in items if i is refused or _stays(i, calls, texts, begun, refusal.drop_reasoning)]
        places = {id(item): place for place, item in enumerate(i for i in staying if i.listed or i is refused)}
        some_refused = bool(refusal.texts) or refused is not None
        at = places.pop(id(refused)) if refused is not None else (len(places) if some_refused else None)
        return cls(
            places=places,
            calls=calls,
            refused=refused,
            refusal_at=at,
            refusal=refusal_item(permit, refusal),
            texts=texts,
            pieces=pieces,
            shown_in_part=cut,
            filtered=refusal.style is OnBlock.CONTENT_FILTER and some_refused and not calls,
            drop_reasoning=refusal.drop_reasoning,
        )

    def output(self, items: Sequence[Item]) -> list[Json]:
        """The items as the terminal event lists them."""
        placed = {place: self.item(item) for item in items if (place := self.places.get(id(item))) is not None}
        if self.refusal_at is not None:
            placed[self.refusal_at] = self.refusal
        return [placed[place] for place in sorted(placed)]

    def item(self, item: Item) -> JsonObject:
        """An item that stays, complete."""
        if item.call is not None:
            return self.calls[item.call.key]
        fields = {name: item.tree[name] for name in ("id", "type", "status", "role", "phase") if name in item.tree}
        match item.type:
            case "message":
                status = {"status": "completed"} if fields.get("status") in (None, "in_progress") else {}
                return fields | status | {"role": "assistant", "content": self.parts(item.content)}
            case "reasoning":
                return fields | self._reasoning(item)
            case _:
                return item.tree

    def parts(self, parts: Sequence[Part]) -> list[Json]:
        return [tree for part in parts if (tree := self.part(part)) is not None]

    def part(self, part: Part) -> JsonObject | None:
        if part.call is not None:
            return part.tree if part.call.key in self.calls else None
        tree: JsonObject = {"type": part.type, TEXT_FIELDS[part.type]: self.texts[id(part)]}
        if part.type == "output_text":
            kept = () if id(part) in self.shown_in_part else part.annotations
            annotations: list[Json] = [_annotation(note) for note in kept if isinstance(note, dict)]
            tree |= {"annotations": annotations, "logprobs": []}
        return tree

    def _reasoning(self, item: Item) -> JsonObject:
        tree: JsonObject = {"summary": self.parts(item.summary)}
        if item.content:
            tree["content"] = self.parts(item.content)
        if "encrypted_content" in item.tree and not self.drop_reasoning:
            tree["encrypted_content"] = item.tree["encrypted_content"]
        return tree


def _leaving(items: Sequence[Item], permit: Permit) -> Iterator[tuple[CallKey, JsonObject]]:
    for item in items:
        if item.call is not None and (tree := written(item, permit)) is not None:
            yield item.call.key, tree
        for part in item.parts:
            if part.call is not None and isinstance(permit.decision.outcomes[part.call.key], Allow):
                yield part.call.key, part.tree


def _stays(
    item: Item, calls: Mapping[CallKey, JsonObject], texts: Mapping[int, str], begun: set[int], no_reasoning: bool
) -> bool:
    """Whether anything is left of an item. One that a client has seen begin stays."""
    if item.call is not None:
        return item.call.key in calls
    if id(item) in begun or item.type not in ("message", "reasoning"):
        return True
    if item.type == "reasoning":
        return not no_reasoning
    return any(texts.get(id(part)) or _kept(part.call, calls) for part in item.content)


def _kept(call: CallState | None, calls: Mapping[CallKey, JsonObject]) -> bool:
    return call is not None and call.key in calls


def _texts(
    items: Sequence[Item], held: Sequence[Note], refusal: Refusal
) -> tuple[dict[int, str], list[dict[int, int]], frozenset[int]]:
    """What may be shown of every part: what left before the hold, and of the rest as much as there is room for."""
    room = refusal.text_room.get(0)
    taken: dict[int, int] = {}
    pieces: list[dict[int, int]] = []
    for note in held:
        shown: dict[int, int] = {}
        for part, length in note.said:
            allowed = length
            if part.type in ("reasoning_text", "summary_text"):
                allowed = 0 if refusal.drop_reasoning else length
            elif room is not None:
                allowed = min(length, room)
                room -= allowed
            shown[id(part)] = allowed
            if allowed < length:
                taken[id(part)] = taken.get(id(part), 0) + length - allowed
        pieces.append(shown)
    parts = [part for item in items for part in item.parts]
    texts = {id(part): part.text[: len(part.text) - taken.get(id(part), 0)] for part in parts}
    return texts, pieces, frozenset(taken)


def _annotation(annotation: Mapping[str, Json]) -> JsonObject:
    return {n: v for n, v in annotation.items() if n in _ANNOTATION and not isinstance(v, (dict, list))}


def refusal_item(permit: Permit, refusal: Refusal) -> JsonObject:
    """The message in the place of blocked calls. Its id is the same however often it is made."""
    text = refusal.texts.get(0, _NOT_SAID)
    named = "\0".join(call.id for call in permit.turn.calls)
    id = f"msg_{blake2b(named.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
    part: JsonObject = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    if refusal.style is OnBlock.REFUSAL:
        part = {"type": "refusal", "refusal": text}
    return {"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}
