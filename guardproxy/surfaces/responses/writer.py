"""One answer out of one or more attempts.

A later attempt goes on where the one before it broke off: under the first one's id, with its items after those that
have left, and with a list at the end that holds them all. A message that was cut off goes on in the next attempt's
first message, so that no client is left with an item that never ends.
"""

from dataclasses import dataclass, field
from typing import Any, cast

from guardproxy.errors import UpstreamProtocolError
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.responses.contract import LIFECYCLE, TERMINAL
from guardproxy.surfaces.responses.seen import TEXT_FIELDS
from guardproxy.surfaces.responses.words import Words


@dataclass(slots=True)
class _Part:
    """A part of a message, as far as it has left."""

    type: str
    words: Words
    open: bool = True

    @property
    def tree(self) -> JsonObject:
        tree: JsonObject = {"type": self.type, TEXT_FIELDS.get(self.type, "text"): self.words.text}
        return tree | ({"annotations": [], "logprobs": []} if self.type == "output_text" else {})


@dataclass(slots=True)
class _Sent:
    """An item that has left, or has begun to."""

    id: str
    index: int
    tree: JsonObject
    parts: list[_Part] = field(default_factory=list)
    done: bool = False
    shift: int = 0  # how many parts it had before this attempt
    joined: Words | None = None  # what it had of the part that this attempt's first one goes on in
    earlier: list[Json] = field(default_factory=list)  # the parts before that

    @property
    def whole(self) -> JsonObject:
        """As it stands in a list of items."""
        if self.done or self.tree.get("type") != "message":
            return self.tree
        parts: list[Json] = [part.tree for part in self.parts]
        return {**self.tree, "status": "completed", "content": parts}


class ResponsesWriter:
    """`id` is what the client calls the answer; empty until it has been told."""

    def __init__(self) -> None:
        self.id = ""
        self._attempt = 0
        self._later = False  # something of an earlier attempt has left
        self._left = False
        self._begun_before = 0  # items that began in earlier attempts
        self._sent: list[_Sent] = []
        self._by_id: dict[str, _Sent] = {}  # this attempt's, by its own names
        self._by_index: dict[int, _Sent] = {}
        self._cut_off: _Sent | None = None
        self._number: int | None = None

    def begin_attempt(self) -> None:
        self._attempt += 1
        self._later = self._left
        self._begun_before = len(self._sent)
        self._by_id, self._by_index = {}, {}
        last = self._sent[-1] if self._sent else None
        self._cut_off = last if last and not last.done and last.tree.get("type") == "message" else None

    def write(self, frame: Frame) -> Frame | None:
        if frame.tree is None:
            return frame
        if frame.event is not None and frame.event != frame.tree.get("type"):
            raise UpstreamProtocolError("the upstream sent an event under another name than its type")
        written = self._write(frame.tree)
        if written is None:
            return None
        self._left = True
        written = self._numbered(written)
        return frame if written is frame.tree else frame._replace(tree=written)

    def _write(self, tree: JsonObject) -> JsonObject | None:
        type = str(tree.get("type"))
        if type in LIFECYCLE and self._later:
            return None
        response = tree if "type" not in tree else tree.get("response")
        if isinstance(response, dict):
            if not self.id:
                self.id = str(response.get("id") or "")
            return {**tree, "response": self._ending(response)} if self._later and type in TERMINAL else tree
        if type == "response.output_item.added":
            return self._added(tree, cast(JsonObject, tree["item"]))
        if type == "response.output_item.done":
            return self._done(tree, cast(JsonObject, tree["item"]))
        sent = self._find(tree)
        return tree if sent is None else self._part_event(sent, tree, type)

    def _numbered(self, tree: JsonObject) -> JsonObject:
        number = tree.get("sequence_number")
        if self._later and self._number is not None and "type" in tree:
            number = self._number + 1
            tree = {**tree, "sequence_number": number}
        if isinstance(number, int):
            self._number = number
        return tree

    # --- items -------------------------------------------------------------------------------------------------

    def _added(self, tree: JsonObject, item: JsonObject) -> JsonObject | None:
        if self._cut_off is not None and item.get("type") == "message":
            sent, self._cut_off = self._cut_off, None
            self._enter(sent, tree, item)
            self._join(sent)
            return None
        return self._placed(self._new(tree, item), tree)

    def _done(self, tree: JsonObject, item: JsonObject) -> JsonObject:
        sent = self._find({**tree, "item_id": _id(item)}) or self._new(tree, item)
        sent.tree = item = self._merged(sent, item)
        sent.done = True
        return self._placed(sent, {**tree, "item": item} if self._later else tree)

    def _new(self, tree: JsonObject, item: JsonObject) -> _Sent:
        id = _id(item)
        if id and any(sent.id == id for sent in self._sent):
            id = f"{id}_{self._attempt}"  # servers that count their items name them anew in each answer
        sent = _Sent(id, len(self._sent), {**item, "id": id} if item.get("id") else item)
        self._sent.append(sent)
        self._enter(sent, tree, item)
        return sent

    def _enter(self, sent: _Sent, tree: JsonObject, item: JsonObject) -> None:
        if id := _id(item):
            self._by_id[id] = sent
        if isinstance(index := tree.get("output_index"), int):
            self._by_index[index] = sent

    def _find(self, tree: JsonObject) -> _Sent | None:
        sent = self._by_id.get(str(tree.get("item_id")))
        return sent or self._by_index.get(cast(int, tree.get("output_index")))

    def _placed(self, sent: _Sent, tree: JsonObject) -> JsonObject:
        """An event under the names that its item has in the whole answer."""
        if not self._later:
            return tree
        names: dict[str, Any] = {"output_index": sent.index, "item_id": sent.id}
        if isinstance(index := tree.get("content_index"), int):
            names["content_index"] = index + sent.shift
        placed = {**tree, **{name: value for name, value in names.items() if name in tree}}
        item = placed.get("item")
        if isinstance(item, dict) and item.get("id"):
            placed["item"] = {**item, "id": sent.id}
        return placed

    # --- parts of messages -------------------------------------------------------------------------------------

    def _join(self, sent: _Sent) -> None:
        """An open part goes on in this attempt's first; what is before it stays as it is."""
        last = sent.parts[-1] if sent.parts else None
        joins = last is not None and last.open
        sent.shift = len(sent.parts) - joins
        sent.joined = Words(last.words.text) if last is not None and joins else None
        sent.earlier = [part.tree for part in sent.parts[: sent.shift]]

    def _part_event(self, sent: _Sent, tree: JsonObject, type: str) -> JsonObject | None:
        placed = self._placed(sent, tree)
        part_type = _PART_OF.get(type)
        if part_type is None or sent.tree.get("type") != "message":
            return placed
        given, place = tree.get("part"), cast(int, placed.get("content_index") or 0)
        if isinstance(given, dict):
            part_type = str(given.get("type"))
        goes_on = sent.joined is not None and place == sent.shift
        if goes_on and type.endswith("part.added") and sent.parts[place].type == part_type:
            return None
        while place >= len(sent.parts):
            sent.parts.append(_Part(part_type, Words()))
        return self._part_written(sent.parts[place], placed, given, sent.joined if goes_on else None)

    def _part_written(self, part: _Part, tree: JsonObject, given: Json, before: Words | None) -> JsonObject:
        head = before.text if before is not None else ""
        if isinstance(delta := tree.get("delta"), str):
            part.words.add(delta)
            return tree
        name = TEXT_FIELDS.get(part.type, "text")
        if isinstance(given, dict):
            text = head + str(given.get(name) or "")
            part.words, part.open = Words(text), str(tree["type"]).endswith(".added")
            return {**tree, "part": {**given, name: text}} if head else tree
        text = head + str(tree.get(name) or "")
        part.words, part.open = Words(text), False
        return {**tree, name: text} if head else tree

    def _merged(self, sent: _Sent, item: JsonObject) -> JsonObject:
        """A complete item, with what it had before this attempt, under the name that the client knows."""
        named = {**item, "id": sent.id} if item.get("id") and self._later else item
        content = item.get("content")
        if not isinstance(content, list) or not (sent.earlier or sent.joined):
            return named
        parts = list(content)
        if sent.joined is not None and parts and isinstance(first := parts[0], dict):
            name = TEXT_FIELDS.get(str(first.get("type")), "text")
            parts[0] = {**first, name: sent.joined.text + str(first.get(name) or "")}
        return {**named, "content": [*sent.earlier, *parts]}

    # --- the end -----------------------------------------------------------------------------------------------

    def _ending(self, response: JsonObject) -> JsonObject:
        """The terminal list: what earlier attempts have sent, and then what this one lists."""
        named = {**response, "id": self.id} if self.id else response
        given = response.get("output")
        if not isinstance(given, list) or (not given and (self._by_id or self._by_index)):
            return named
        mine: list[Json] = []
        continued: dict[int, JsonObject] = {}
        for item in given:
            sent = self._by_id.get(_id(cast(JsonObject, item)))
            if sent is None:
                mine.append(item)
                continue
            merged = self._merged(sent, cast(JsonObject, item))
            if sent.index < self._begun_before:
                continued[sent.index] = merged
            else:
                mine.append(merged)
        before = [continued.get(sent.index, sent.whole) for sent in self._sent[: self._begun_before]]
        return {**named, "output": [*before, *mine]}


def _id(item: JsonObject) -> str:
    """llama.cpp names its calls by their call ids alone."""
    return str(item.get("id") or item.get("call_id") or "")


_PART_OF = {
    "response.content_part.added": "output_text",
    "response.content_part.done": "output_text",
    "response.output_text.delta": "output_text",
    "response.output_text.done": "output_text",
    "response.refusal.delta": "refusal",
    "response.refusal.done": "refusal",
}
