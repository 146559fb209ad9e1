"""Chat completions: how servers write a turn, and how clients read it.

`guardproxy.testing.dialects` has the servers one by one; here is what they have in common, cut in every way.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardproxy.model import CallKind
from guardproxy.stream.frame import DONE, Frame
from guardproxy.surfaces.chat_completions import ChatCompletions
from guardproxy.surfaces.surface import Surface
from guardproxy.testing.chat import choice, chunk, usage
from guardproxy.testing.chat import request as chat_request
from guardproxy.testing.script import Call, Part, ReadCalls, Reasoning, Shape, Text, Tree, cut, interleave
from guardproxy.testing.wires.chat_completions_clients import (
    BODIES,
    LEGACY_INDEX,
    STREAM_READERS,
    WHOLE_READERS,
    choices_of,
    messages_of,
)

_STOPS = {"tool_calls": "calls", "function_call": "calls", "stop": "end", "length": "end", "content_filter": "filter"}


class ChatCompletionsWire:
    name = "chat_completions"
    surface: Surface = ChatCompletions()
    shapes: Mapping[str, Shape] = {
        shape.name: shape
        for shape in (
            Shape("function", CallKind.FUNCTION),
            Shape("custom", CallKind.CUSTOM, "cat MARK", rewritten="true", free_text=True),
            Shape("function_call", CallKind.LEGACY_FUNCTION, has_id=False, alone=True),
            Shape("opaque", CallKind.OPAQUE, '{"a":"MARK"}', tool="future_call", rewritten=None),
        )
    }
    most_choices = 3
    interleaves = True
    settings: Mapping[str, Any] = {}

    def request(self, *, stream: bool, n: int = 1, calls: Sequence[Call] = (), **fields: Any) -> Tree:
        tools = {call.name: _tool(call) for call in calls if call.shape in BODIES}
        functions = {call.name: {"name": call.name} for call in calls if call.shape == "function_call"}
        more: Tree = ({"n": n} if n > 1 else {}) | ({"tools": list(tools.values())} if tools else {})
        if functions:
            more["functions"] = list(functions.values())
        return chat_request(stream=stream, **(more | fields))

    def frames(self, parts: Sequence[Part], order: Sequence[int] | None = None) -> list[Frame]:
        return _stream(_with_ends(interleave([list(_pieces(*placed)) for placed in _placed(parts)], order), parts))

    def whole(self, parts: Sequence[Part]) -> Tree:
        choices = [_whole_choice(index, parts) for index in _choices(parts)]
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}

    def variants(self, parts: Sequence[Part]) -> Mapping[str, Sequence[Frame]]:
        found = {name: _stream(_with_ends(list(write(parts)), parts)) for name, write in _VARIANTS.items()}
        if all(part.shape == "function" for part in parts if isinstance(part, Call)):
            found["one event for each choice"] = _stream([_at_once(index, parts) for index in _choices(parts)])
        return found

    def readers(self, *, stream: bool) -> Mapping[str, ReadCalls]:
        return STREAM_READERS if stream else WHOLE_READERS

    def ended(self, frames: Sequence[Frame]) -> bool:
        """Some servers send no end mark, and no client asks for it."""
        ends = {index: any(each.get("finish_reason") for each in own) for index, own in _by_choice(frames).items()}
        return bool(ends) and all(ends.values()) and not any("error" in (frame.tree or {}) for frame in frames)

    def texts(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        found: dict[int, str] = defaultdict(str)
        for index, said in messages_of(frames, stream=stream):
            found[index] += (said.get("content") or "") + (said.get("refusal") or "")
        return found

    def stops(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        choices = choices_of(frames)
        return {each["index"]: _STOPS[each["finish_reason"]] for each in choices if each.get("finish_reason")}

    def faults(self, frames: Sequence[Frame], *, stream: bool) -> list[str]:
        """Indexes without gaps, one role, one id, one end of each choice."""
        found = [f"{len(ids)} ids" for ids in [{f.tree["id"] for f in frames if f.tree}] if len(ids) > 1]
        for index, own in _by_choice(frames).items():
            said = [each.get("delta" if stream else "message") or {} for each in own]
            if sum("role" in each for each in said) != 1:
                found.append(f"choice {index} has not one role")
            if sum(each.get("finish_reason") is not None for each in own) != 1 or not own[-1]["finish_reason"]:
                found.append(f"choice {index} does not end once, and last")
            places = [
                call.get("index", place) for each in said for place, call in enumerate(each.get("tool_calls") or [])
            ]
            if list(dict.fromkeys(places)) != list(range(len(set(places)))):
                found.append(f"choice {index} has calls at {places}")
        return found


def _by_choice(frames: Iterable[Frame]) -> dict[int, list[Tree]]:
    found: dict[int, list[Tree]] = defaultdict(list)
    for each in choices_of(frames):
        found[each["index"]].append(each)
    return found


# --- writing -----------------------------------------------------------------------------------------------------


def _tool(call: Call) -> Tree:
    return {"type": call.shape, call.shape: {"name": call.name}}


def _choices(parts: Iterable[Part]) -> range:
    return range(max((part.choice for part in parts), default=0) + 1)


def _placed(parts: Sequence[Part]) -> Iterator[tuple[Part, int]]:
    """Every part with the index of its call within its choice."""
    counts: dict[int, int] = defaultdict(int)
    for part in parts:
        match part:
            case Call(shape="function_call"):
                yield part, LEGACY_INDEX
            case Call():
                yield part, counts[part.choice]
                counts[part.choice] += 1
            case _:
                yield part, 0


def _pieces(part: Part, index: int) -> Iterator[Tree]:
    """The choices of a part's chunks."""
    match part:
        case Text(text):
            for word in _words(text):
                yield choice(part.choice, content=word)
        case Reasoning(text):
            for word in _words(text):
                yield choice(part.choice, reasoning_content=word)
        case Call():
            for delta in _call_deltas(part, index):
                yield _with_noise(choice(part.choice, **delta), "delta", part.noise)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _call_deltas(call: Call, index: int) -> Iterator[Tree]:
    if call.shape == "opaque":
        yield {"tool_calls": [{"index": index, **_whole_call(call)}]}
        return
    field = BODIES.get(call.shape, "arguments")
    for place, piece in enumerate(cut(call.arguments, call.pieces)):
        body = {"name": call.name, field: piece} if place == 0 else {field: piece}
        head = {"id": call.id, "type": call.shape} if place == 0 else {}
        yield _delta(call, {"index": index, **head}, body)


def _delta(call: Call, head: Tree, body: Tree) -> Tree:
    if call.shape == "function_call":
        return {"function_call": body}
    return {"tool_calls": [{**head, call.shape: body}]}


def _with_noise(each: Tree, part: str, noise: str) -> Tree:
    if not noise:
        return each
    logprobs: Tree = {
        "content": [{"token": noise, "logprob": -1.0, "bytes": None, "top_logprobs": []}],
        "refusal": None,
    }
    said = each[part] | {"reasoning_content": noise, "unknown": noise}
    return each | {"logprobs": logprobs, "token_ids": [noise], part: said}


def _with_ends(choices: Sequence[Tree], parts: Sequence[Part]) -> list[Tree]:
    """Each choice ended right after its last piece."""
    last = {each["index"]: place for place, each in enumerate(choices)}
    ended = [choice(index, _reason(index, parts)) for index in _choices(parts) if index not in last]
    for place, each in enumerate(choices):
        ended.append(each)
        if last[each["index"]] == place:
            ended.append(choice(each["index"], _reason(each["index"], parts)))
    return ended


def _reason(index: int, parts: Iterable[Part]) -> str:
    shapes = [part.shape for part in parts if isinstance(part, Call) and part.choice == index]
    if not shapes:
        return "stop"
    return "function_call" if shapes == ["function_call"] else "tool_calls"


def _stream(choices: Sequence[Tree]) -> list[Frame]:
    indexes = sorted({each["index"] for each in choices})
    head = chunk(*(choice(index, role="assistant", content="") for index in indexes))
    return [*map(Frame, [head, *(chunk(each) for each in choices), usage()]), DONE]


def _whole_choice(index: int, parts: Iterable[Part]) -> Tree:
    own = [part for part in parts if part.choice == index]
    message: Tree = {"role": "assistant", "content": "".join(p.text for p in own if isinstance(p, Text)) or None}
    reasoning = "".join(part.text for part in own if isinstance(part, Reasoning))
    if reasoning:
        message["reasoning_content"] = reasoning
    calls = [part for part in own if isinstance(part, Call)]
    if listed := [_whole_call(call) for call in calls if call.shape != "function_call"]:
        message["tool_calls"] = listed
    for call in calls:
        if call.shape == "function_call":
            message["function_call"] = {"name": call.name, "arguments": call.arguments}
    whole = {"index": index, "message": message, "finish_reason": _reason(index, own)}
    return _with_noise(whole, "message", "".join(call.noise for call in calls))


def _whole_call(call: Call) -> Tree:
    if call.shape == "opaque":
        return {"id": call.id, "type": call.name, call.name: {"payload": call.arguments}}
    return {"id": call.id, "type": call.shape, call.shape: {"name": call.name, BODIES[call.shape]: call.arguments}}


def _at_once(index: int, parts: Sequence[Part]) -> Tree:
    """A choice in one chunk, its text, its calls and its end, as Mistral's API sends it."""
    whole = _whole_choice(index, parts)
    message = whole.pop("message")
    if "tool_calls" in message:
        message["tool_calls"] = [{"index": place, **call} for place, call in enumerate(message["tool_calls"])]
    return whole | {"delta": message}


def _late_ids(parts: Sequence[Part]) -> Iterator[Tree]:
    """The name first, the id and the type in a later chunk, then the arguments."""
    for part, index in _placed(parts):
        if not isinstance(part, Call) or part.shape not in BODIES:
            yield from _pieces(part, index)
            continue
        field = BODIES[part.shape]
        yield choice(part.choice, **_delta(part, {"index": index}, {"name": part.name}))
        yield choice(part.choice, **_delta(part, {"index": index, "id": part.id, "type": part.shape}, {field: ""}))
        for piece in cut(part.arguments, part.pieces):
            yield choice(part.choice, **_delta(part, {"index": index}, {field: piece}))


def _with_nulls(parts: Sequence[Part]) -> Iterator[Tree]:
    """Every field of the SDK's types in every chunk, null where it says nothing."""
    nothing = dict.fromkeys(("content", "refusal", "role", "function_call"))
    for part, index in _placed(parts):
        for each in _pieces(part, index):
            yield each | {"delta": nothing | each["delta"], "logprobs": each.get("logprobs")}


def _beside_empty_lists(parts: Sequence[Part]) -> Iterator[Tree]:
    """Text with an empty list of calls beside it, as vLLM sends it."""
    for part, index in _placed(parts):
        for each in _pieces(part, index):
            yield each | {"delta": {"tool_calls": []} | each["delta"]} if isinstance(part, Text) else each


def _repeating_ids(parts: Sequence[Part]) -> Iterator[Tree]:
    """A call's id and type again in each of its chunks."""
    for part, index in _placed(parts):
        for each in _pieces(part, index):
            if isinstance(part, Call) and part.shape in BODIES:
                each["delta"]["tool_calls"][0] |= {"id": part.id, "type": part.shape}
            yield each


_VARIANTS: Mapping[str, Callable[[Sequence[Part]], Iterator[Tree]]] = {
    "late ids": _late_ids,
    "nulls": _with_nulls,
    "empty lists beside text": _beside_empty_lists,
    "repeated ids": _repeating_ids,
}
