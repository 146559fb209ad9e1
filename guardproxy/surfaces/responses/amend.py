"""Taking blocked calls out of held frames, and putting rewritten arguments in.

Frames are rebuilt from known fields instead of edited: log-probabilities, obfuscation and fields that this version does
not know may quote the call. A call that stays is written in the API's own order of events, whatever its was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from guardproxy.stream.frame import Frame
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.responses.contract import LIFECYCLE
from guardproxy.surfaces.responses.items import SHAPES
from guardproxy.surfaces.responses.plan import Plan
from guardproxy.surfaces.responses.seen import TEXT_FIELDS, Item, Note

_ENVELOPE = frozenset(
    """id object created_at completed_at status model background conversation incomplete_details instructions
    max_output_tokens max_tool_calls metadata parallel_tool_calls previous_response_id prompt prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store temperature text
    tool_choice tools top_logprobs top_p truncation user error frequency_penalty presence_penalty""".split()
)
"""What of an answer repeats the request, or counts."""

_EVENT_FIELDS = frozenset(
    """type item item_id output_index content_index summary_index command_index annotation_index command delta
    arguments code part text refusal output status partial_image_b64 partial_image_index background output_format
    quality size""".split()
)

_TEXT_EVENTS = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
    "summary_text": "response.reasoning_summary_text",
}


def amend_whole(held: Sequence[Frame], items: Sequence[Item], plan: Plan) -> list[Frame]:
    """The one frame of a whole answer."""
    return [Frame(_response(frame.tree, items, plan)) for frame in held if frame.tree is not None]


def amend_events(held: Sequence[Frame], notes: Sequence[Note], items: Sequence[Item], plan: Plan) -> list[Frame]:
    """The held frames of a streamed answer. `notes` are theirs, one for each that is no end mark."""
    first = next((frame.tree.get("sequence_number") for frame in held if frame.tree is not None), None)
    named = any(frame.event is not None for frame in held)
    script = _Script(items, plan, first if isinstance(first, int) else None)
    frames: list[Frame] = []
    noted = iter(zip(notes, plan.pieces, strict=True))
    for frame in held:
        if frame.tree is None:
            frames.append(frame)
            continue
        note, pieces = next(noted)
        for tree in script.amend(frame.tree, note, pieces):
            frames.append(Frame(script.numbered(tree), str(tree["type"]) if named else None))
    return frames


def _response(response: Mapping[str, Json], items: Sequence[Item], plan: Plan) -> JsonObject:
    amended: JsonObject = {name: value for name, value in response.items() if name in _ENVELOPE}
    if isinstance(response.get("usage"), dict):
        amended["usage"] = _numbers(response["usage"])
    if plan.filtered and response.get("status") in (None, "completed"):
        amended |= {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    return amended | {"output": plan.output(items)}


def _numbers(tree: Json) -> Json:
    """Usage is counts; anything else in it stays behind."""
    if isinstance(tree, dict):
        return {k: _numbers(v) for k, v in tree.items() if v is None or isinstance(v, (int, float, dict))}
    return tree


@dataclass(slots=True)
class _Script:
    """The amended events, in order. `told` are the items that have had all their events."""

    items: Sequence[Item]
    plan: Plan
    number: int | None
    told: set[int] = field(default_factory=set)
    refused: bool = False
    steps: bool = field(init=False)  # items are told step by step, and not by their end alone

    def __post_init__(self) -> None:
        bare = (item for item in self.items if not item.added and item.announced and item.call is None)
        self.steps = not any(id(item) in self.plan.places for item in bare)

    def numbered(self, tree: JsonObject) -> JsonObject:
        if self.number is None:
            return tree
        self.number += 1
        return {**tree, "sequence_number": self.number - 1}

    def amend(self, tree: JsonObject, note: Note, pieces: Mapping[int, int]) -> Iterator[JsonObject]:
        item, response = note.item, tree.get("response")
        if isinstance(response, dict):
            if str(tree["type"]) in LIFECYCLE:
                kept = {name: value for name, value in response.items() if name in _ENVELOPE}
                yield {"type": tree["type"], "response": {**kept, "output": []}}
            else:
                yield from self._end(str(tree["type"]), response)
        elif item is None:
            return
        elif item.call is not None:
            yield from self._call_event(item, tree)
        elif id(item) in self.plan.places:
            yield from self._silent_event(item, tree, note, pieces)

    # --- calls -------------------------------------------------------------------------------------------------

    def _call_event(self, item: Item, tree: JsonObject) -> Iterator[JsonObject]:
        if item.call is not None and item.call.key in self.plan.calls and item.type not in SHAPES:
            at = {"output_index": self.plan.places[id(item)]} if item.listed and "output_index" in tree else {}
            self.told.add(id(item))
            yield {**tree, **at}  # a policy that names it has let it pass; its shape is not ours to rebuild
        elif id(item) not in self.told:
            yield from self._tell(item)

    def _tell(self, item: Item) -> Iterator[JsonObject]:
        """An item of which nothing has left, from its beginning to its end."""
        self.told.add(id(item))
        yield from filter(self._leaves, self._events_of(item))

    def _leaves(self, event: JsonObject) -> bool:
        """Where the server never says that an item begins, a client may not find by its index one that does."""
        return self.steps or event["type"] == "response.output_item.done"

    def _events_of(self, item: Item) -> Iterator[JsonObject]:
        if item is self.plan.refused:
            yield from self._refuse()
        elif (at := self.plan.places.get(id(item))) is not None:
            whole = self.plan.item(item)
            if item.type == "message":
                yield from _message(whole, at)
            elif item.type in SHAPES and item.call is not None:
                yield from _call(whole, at)
            else:
                yield {"type": "response.output_item.added", "output_index": at, "item": whole}
                yield {"type": "response.output_item.done", "output_index": at, "item": whole}

    def _refuse(self) -> Iterator[JsonObject]:
        self.refused = True
        assert self.plan.refusal_at is not None
        yield from _message(self.plan.refusal, self.plan.refusal_at)

    # --- everything else ---------------------------------------------------------------------------------------

    def _silent_event(
        self, item: Item, tree: JsonObject, note: Note, pieces: Mapping[int, int]
    ) -> Iterator[JsonObject]:
        type = str(tree["type"])
        base = {name: value for name, value in tree.items() if name in _EVENT_FIELDS}
        base["output_index"] = self.plan.places[id(item)]
        self.told.add(id(item))
        if item.type not in ("message", "reasoning"):
            yield base
        elif type == "response.output_item.added":
            yield base | {"item": _begun(item)}
            for place, part in enumerate(item.parts if note.said else ()):
                yield from self._part_begun(item, place, part.type, self.plan.texts[id(part)])
        elif type == "response.output_item.done":
            yield base | {"item": self.plan.item(item)}
        elif type == "response.output_text.annotation.added":
            yield from self._annotation(item, base)
        else:
            yield from self._part_event(item, base, pieces)

    def _part_event(self, item: Item, base: JsonObject, pieces: Mapping[int, int]) -> Iterator[JsonObject]:
        summary = "summary" in str(base["type"])
        place = cast(int, base.get("summary_index" if summary else "content_index") or 0)
        part = (item.summary if summary else item.content)[place]
        step = str(base["type"]).rpartition(".")[2]
        if part.call is not None:
            if part.call.key in self.plan.calls:
                yield base
        elif "part" in base:
            shown = self.plan.part(part) if step == "done" else _empty_part(part.type)
            yield base | {"part": shown}
            if step == "added" and (text := part.text[: pieces.get(id(part), 0)]):
                yield {**_place(base), **_delta(part.type, text)}
        elif step == "done":
            name = "refusal" if part.type == "refusal" else "text"
            yield base | {name: self.plan.texts[id(part)]} | _logprobs(part.type)
        elif text := str(base.get("delta") or "")[: pieces.get(id(part), 0)]:
            yield base | {"delta": text} | _logprobs(part.type)

    def _part_begun(self, item: Item, place: int, type: str, text: str) -> Iterator[JsonObject]:
        if item.type != "message":
            return
        at: JsonObject = {"item_id": item.id, "output_index": self.plan.places[id(item)], "content_index": place}
        yield {"type": "response.content_part.added", **at, "part": _empty_part(type)}
        yield {**at, **_delta(type, text)}

    def _annotation(self, item: Item, base: JsonObject) -> Iterator[JsonObject]:
        part = self.plan.part(item.content[cast(int, base.get("content_index") or 0)])
        annotations = cast(list[Any], (part or {}).get("annotations") or [])
        place = base.get("annotation_index")
        if isinstance(place, int) and place < len(annotations):
            yield base | {"annotation": annotations[place]}

    # --- the end -----------------------------------------------------------------------------------------------

    def _end(self, type: str, response: JsonObject) -> Iterator[JsonObject]:
        for item in self.items:
            if not item.announced and id(item) not in self.told:
                yield from self._tell(item)
        for item in self.items:
            if item.announced and not item.done and item.type == "message" and id(item) in self.plan.places:
                yield from self._close(item)
        if self.plan.refusal_at is not None and not self.refused:
            yield from filter(self._leaves, self._refuse())
        amended = _response(response, self.items, self.plan)
        filtered = amended.get("status") == "incomplete"
        yield {"type": "response.incomplete" if filtered else type, "response": amended}

    def _close(self, item: Item) -> Iterator[JsonObject]:
        """The end of a message that the server never said."""
        at: JsonObject = {"item_id": item.id, "output_index": self.plan.places[id(item)]}
        for place, part in enumerate(item.content):
            if part.call is not None:
                continue
            yield from _part_end(self.plan.part(part) or {}, {**at, "content_index": place}, part.text_done, part.done)
        yield {
            "type": "response.output_item.done",
            "output_index": at["output_index"],
            "item": self.plan.item(item),
        }


def _place(base: JsonObject) -> JsonObject:
    return {name: base[name] for name in ("item_id", "output_index", "content_index", "summary_index") if name in base}


def _logprobs(type: str) -> JsonObject:
    """The SDK wants them to be there."""
    return {"logprobs": []} if type == "output_text" else {}


def _delta(type: str, text: str) -> JsonObject:
    return {"type": f"{_TEXT_EVENTS[type]}.delta", "delta": text, **_logprobs(type)}


def _empty_part(type: str) -> JsonObject:
    part: JsonObject = {"type": type, TEXT_FIELDS.get(type, "text"): ""}
    return part | ({"annotations": [], "logprobs": []} if type == "output_text" else {})


def _begun(item: Item) -> JsonObject:
    """A message or a reasoning item as it is added."""
    kept: JsonObject = {name: value for name, value in item.tree.items() if name in ("id", "type", "phase")}
    if item.type == "reasoning":
        return {**kept, "status": "in_progress", "summary": []}
    return {**kept, "status": "in_progress", "role": "assistant", "content": []}


# --- the API's own order of events -------------------------------------------------------------------------------


def _message(item: JsonObject, at: int) -> Iterator[JsonObject]:
    place: JsonObject = {"item_id": item.get("id") or "", "output_index": at}
    begun: JsonObject = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": at, "item": begun}
    for index, part in enumerate(cast(list[JsonObject], item["content"])):
        type, of_part = str(part["type"]), {**place, "content_index": index}
        if type not in _TEXT_EVENTS:
            continue
        yield {"type": "response.content_part.added", **of_part, "part": _empty_part(type)}
        yield {**of_part, **_delta(type, str(part[TEXT_FIELDS[type]]))}
        yield from _part_end(part, of_part)
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _part_end(part: JsonObject, at: JsonObject, text_done: bool = False, done: bool = False) -> Iterator[JsonObject]:
    type = str(part["type"])
    name = TEXT_FIELDS[type]
    if not text_done and not done:
        yield {"type": f"{_TEXT_EVENTS[type]}.done", **at, name: part[name], **_logprobs(type)}
    if not done:
        yield {"type": "response.content_part.done", **at, "part": part}


_ARGUMENT_EVENTS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}


def _call(item: JsonObject, at: int) -> Iterator[JsonObject]:
    begun = {**item, "status": "in_progress"} if "status" in item else item
    events, name = _ARGUMENT_EVENTS.get(str(item["type"]), ("", ""))
    if not events:
        yield {"type": "response.output_item.added", "output_index": at, "item": begun}
    else:
        place: JsonObject = {"item_id": item.get("id") or item["call_id"], "output_index": at}
        yield {"type": "response.output_item.added", "output_index": at, "item": {**begun, name: ""}}
        yield {"type": f"{events}.delta", **place, "delta": item[name]}
        named = {"name": item["name"]} if events.endswith("arguments") else {}
        yield {"type": f"{events}.done", **place, **named, name: item[name]}
    yield {"type": "response.output_item.done", "output_index": at, "item": item}
