"""One answer out of one or more attempts.

A later attempt goes on where the one before it broke off: under the first one's id, with its items after those that
have left, and with a list at the end that holds them all. What the one before left open is ended first, with every
event that the API prescribes, so that no client is left with an item that never ends.
"""

from collections.abc import Iterator, Sequence
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
    """A part of a message or of a reasoning item, as far as it has left."""

    type: str
    words: Words = field(default_factory=Words)
    annotations: list[Json] = field(default_factory=list)
    announced: bool = False  # an event has said that it begins, so another must say that it ends
    text_done: bool = False
    done: bool = False

    @property
    def tree(self) -> JsonObject:
        tree: JsonObject = {"type": self.type, TEXT_FIELDS[self.type]: self.words.text}
        return tree | ({"annotations": self.annotations, "logprobs": []} if self.type == "output_text" else {})


@dataclass(slots=True)
class _Sent:
    """An item that has left, or has begun to."""

    id: str
    index: int
    tree: JsonObject
    numbered: bool  # its events say its index
    content: list[_Part] = field(default_factory=list)
    summary: list[_Part] = field(default_factory=list)
    done: bool = False

    @property
    def as_left(self) -> JsonObject:
        """The whole item, where nothing more of it will come."""
        match self.tree.get("type"):
            case "message":
                return {**self.tree, "status": "completed", "content": [part.tree for part in self.content]}
            case "reasoning":
                said: JsonObject = {"content": [part.tree for part in self.content]} if self.content else {}
                summary: list[Json] = [part.tree for part in self.summary]
                return {**self.tree, **_status(self.tree, "completed"), "summary": summary, **said}
            case kind:  # the provider was running it
                return {**self.tree, **_status(self.tree, "incomplete" if kind == "shell_call" else "failed")}

    @property
    def place(self) -> JsonObject:
        return {"item_id": self.id} | ({"output_index": self.index} if self.numbered else {})


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
        self._cut_off: list[_Sent] = []
        self._number: int | None = None
        self._listed: Json = None

    @property
    def items(self) -> list[JsonObject]:
        """What has left of the answer's items, complete: as they were done, and as the list at the end has them."""
        listed = self._listed if isinstance(self._listed, list) else []
        done = [sent.tree for sent in self._sent if sent.done]
        return done + [item for item in listed if isinstance(item, dict)]

    def begin_attempt(self) -> None:
        self._attempt += 1
        self._later = self._left
        self._begun_before = len(self._sent)
        self._by_id, self._by_index = {}, {}
        self._cut_off = [sent for sent in self._sent if not sent.done]

    def write(self, frame: Frame) -> Sequence[Frame]:
        tree = frame.tree
        if tree is None:
            return (frame,)
        if frame.event is not None and frame.event != tree.get("type"):
            raise UpstreamProtocolError("the upstream sent an event under another name than its type")
        ends = self._ends(named=frame.event is not None) if self._cut_off else ()
        written = self._write(tree)
        if written is None:
            return ends
        self._left = True
        written = self._numbered(written)
        return (*ends, frame if written is tree else frame._replace(tree=written))

    def _write(self, tree: JsonObject) -> JsonObject | None:
        type = str(tree.get("type"))
        if type in LIFECYCLE and self._later:
            return None
        response = tree if "type" not in tree else tree.get("response")
        if isinstance(response, dict):
            if not self.id:
                self.id = str(response.get("id") or "")
            if self._later and type in TERMINAL:
                response = self._ending(response)
                tree = {**tree, "response": response}
            self._listed = response.get("output")
            return tree
        if type == "response.output_item.added":
            return self._placed(self._new(tree, cast(JsonObject, tree["item"])), tree)
        if type == "response.output_item.done":
            return self._done(tree, cast(JsonObject, tree["item"]))
        sent = self._find(tree)
        if sent is None:
            return tree
        if type in _PARTS:
            _note(sent, tree, type)
        return self._placed(sent, tree)

    def _numbered(self, tree: JsonObject) -> JsonObject:
        number = tree.get("sequence_number")
        if self._later and self._number is not None and "type" in tree:
            number = self._number + 1
            tree = {**tree, "sequence_number": number}
        if isinstance(number, int):
            self._number = number
        return tree

    # --- items -------------------------------------------------------------------------------------------------

    def _done(self, tree: JsonObject, item: JsonObject) -> JsonObject:
        sent = self._find({**tree, "item_id": _id(item)}) or self._new(tree, item)
        sent.tree = {**item, "id": sent.id} if item.get("id") and self._later else item
        sent.done = True
        return self._placed(sent, tree)

    def _new(self, tree: JsonObject, item: JsonObject) -> _Sent:
        id, index = _id(item), tree.get("output_index")
        own_id = id
        if id and any(sent.id == id for sent in self._sent):
            id = f"{id}_{self._attempt}"  # servers that count their items name them anew in each answer
        tree = {**item, "id": id} if item.get("id") else item
        content, summary = _parts(item.get("content")), _parts(item.get("summary"))
        sent = _Sent(id, len(self._sent), tree, isinstance(index, int), content, summary)
        self._sent.append(sent)
        if own_id:
            self._by_id[own_id] = sent
        if isinstance(index, int):
            self._by_index[index] = sent
        return sent

    def _find(self, tree: JsonObject) -> _Sent | None:
        sent = self._by_id.get(str(tree.get("item_id")))
        return sent or self._by_index.get(cast(int, tree.get("output_index")))

    def _placed(self, sent: _Sent, tree: JsonObject) -> JsonObject:
        """An event under the names that its item has in the whole answer."""
        if not self._later:
            return tree
        names: dict[str, Any] = {"output_index": sent.index, "item_id": sent.id}
        placed = {**tree, **{name: value for name, value in names.items() if name in tree}}
        item = placed.get("item")
        if isinstance(item, dict) and item.get("id"):
            placed["item"] = {**item, "id": sent.id}
        return placed

    # --- the end -----------------------------------------------------------------------------------------------

    def _ends(self, *, named: bool) -> Sequence[Frame]:
        """The end of everything that earlier attempts left open."""
        cut_off, self._cut_off = self._cut_off, []
        trees = [self._numbered(tree) for sent in cut_off for tree in _end(sent)]
        return [Frame(tree, str(tree["type"]) if named else None) for tree in trees]

    def _ending(self, response: JsonObject) -> JsonObject:
        """The terminal list: what earlier attempts have sent, and then what this one lists."""
        whole = {**response, "id": self.id} if self.id else response
        given = response.get("output")
        if not isinstance(given, list) or (not given and (self._by_id or self._by_index)):
            return whole
        before = [sent.tree for sent in self._sent[: self._begun_before]]
        return {**whole, "output": [*before, *(self._renamed(cast(JsonObject, item)) for item in given)]}

    def _renamed(self, item: JsonObject) -> JsonObject:
        sent = self._by_id.get(_id(item))
        return {**item, "id": sent.id} if sent is not None and item.get("id") else item


def _id(item: JsonObject) -> str:
    """llama.cpp names its calls by their call ids alone."""
    return str(item.get("id") or item.get("call_id") or "")


def _status(item: JsonObject, status: str) -> JsonObject:
    return {"status": status} if "status" in item else {}


# --- parts -------------------------------------------------------------------------------------------------------

_PARTS = {
    "response.content_part.added": "",
    "response.content_part.done": "",
    "response.reasoning_summary_part.added": "",
    "response.reasoning_summary_part.done": "",
    "response.output_text.delta": "output_text",
    "response.output_text.done": "output_text",
    "response.output_text.annotation.added": "output_text",
    "response.refusal.delta": "refusal",
    "response.refusal.done": "refusal",
    "response.reasoning_text.delta": "reasoning_text",
    "response.reasoning_text.done": "reasoning_text",
    "response.reasoning_summary_text.delta": "summary_text",
    "response.reasoning_summary_text.done": "summary_text",
}
"""The events of parts, and the type of the part where it is always the same."""

_TEXT_EVENTS = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
    "summary_text": "response.reasoning_summary_text",
}


def _parts(given: Json) -> list[_Part]:
    """Those with which an item began; nearly always none."""
    trees: list[Any] = given if isinstance(given, list) else []
    known = [tree for tree in trees if isinstance(tree, dict) and tree.get("type") in TEXT_FIELDS]
    return [_Part(tree["type"], Words(str(tree.get(TEXT_FIELDS[tree["type"]]) or ""))) for tree in known]


def _note(sent: _Sent, tree: JsonObject, type: str) -> None:
    """What an event says of a part of an item that has not ended."""
    given, step = tree.get("part"), type[type.rfind(".") + 1 :]
    part_type = _PARTS[type] or str(given.get("type") if isinstance(given, dict) else None)
    if part_type not in TEXT_FIELDS:  # only a policy lets it pass, and then its attempt is the last
        return
    summary = part_type == "summary_text"
    parts = sent.summary if summary else sent.content
    place = cast(int, tree.get("summary_index" if summary else "content_index") or 0)
    while place >= len(parts):
        parts.append(_Part(part_type))
    part = parts[place]
    if step == "delta":
        part.words.add(str(tree.get("delta") or ""))
    elif isinstance(given, dict):
        part.words = Words(str(given.get(TEXT_FIELDS[part_type]) or ""))
        part.announced, part.done = True, step == "done"
    elif step == "done":
        part.words, part.text_done = Words(str(tree.get(TEXT_FIELDS[part_type]) or "")), True
    elif "annotation" in tree:
        part.annotations.append(tree["annotation"])


def _end(sent: _Sent) -> Iterator[JsonObject]:
    """The events that an item lacks."""
    for parts, index in ((sent.summary, "summary_index"), (sent.content, "content_index")):
        for place, part in enumerate(parts):
            yield from _part_end(part, sent.place | ({index: place} if sent.numbered else {}))
    sent.tree, sent.done = sent.as_left, True
    at: JsonObject = {"output_index": sent.index} if sent.numbered else {}
    yield {"type": "response.output_item.done", **at, "item": sent.tree}


def _part_end(part: _Part, at: JsonObject) -> Iterator[JsonObject]:
    if not part.text_done and not part.done:
        text: JsonObject = {TEXT_FIELDS[part.type]: part.words.text}
        logprobs: JsonObject = {"logprobs": []} if part.type == "output_text" else {}
        yield {"type": f"{_TEXT_EVENTS[part.type]}.done", **at, **text, **logprobs}
    if part.announced and not part.done:
        of_what = "reasoning_summary_part" if part.type == "summary_text" else "content_part"
        yield {"type": f"response.{of_what}.done", **at, "part": part.tree}
