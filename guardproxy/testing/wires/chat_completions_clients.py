"""How clients of chat completions read calls: the official SDK, and by hand in every way that is known."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardproxy.stream.frame import Frame
from guardproxy.strict_json import encode
from guardproxy.testing.script import ReadCall, ReadCalls, Tree

BODIES = {"function": "arguments", "custom": "input"}
"""Where a call of each type has its arguments."""

LEGACY_INDEX = -1


def messages_of(frames: Iterable[Frame], *, stream: bool) -> Iterator[tuple[int, Tree]]:
    for each in choices_of(frames):
        yield each["index"], each.get("delta" if stream else "message") or {}


def choices_of(frames: Iterable[Frame]) -> Iterator[Tree]:
    for frame in frames:
        tree: Any = frame.tree or {}
        yield from tree.get("choices") or []


def _read_call(index: int, call: Tree) -> ReadCall:
    """A whole call of a list, by its type."""
    shape = call.get("type") or "function"
    if shape not in BODIES:
        body = {name: value for name, value in call.items() if name != "index" and value is not None}
        return ReadCall(index, "opaque", shape, encode(body).decode())
    return ReadCall(index, shape, call[shape]["name"], call[shape][BODIES[shape]])


def _of_message(index: int, message: Tree) -> list[ReadCall]:
    legacy = message.get("function_call")
    before = [ReadCall(index, "function_call", legacy["name"], legacy["arguments"])] if legacy else []
    return before + [_read_call(index, call) for call in message.get("tool_calls") or []]


def _sdk_stream(frames: Sequence[Frame]) -> list[ReadCall]:
    """The official SDK's streaming helper, which passes over chunks that are called something else."""
    from openai._models import construct_type
    from openai.lib.streaming.chat import ChatCompletionStreamState
    from openai.types.chat import ChatCompletionChunk

    state, any_chunk = ChatCompletionStreamState(), False
    for frame in frames:
        if frame.tree and frame.tree.get("object") == "chat.completion.chunk":
            piece: Any = construct_type(type_=ChatCompletionChunk, value=copy.deepcopy(frame.tree))
            state.handle_chunk(piece)
            any_chunk = True
    if not any_chunk:
        return []
    answer: Any = state.current_completion_snapshot.to_dict(warnings=False)
    choices = sorted(answer["choices"], key=lambda each: each["index"])
    return [call for each in choices for call in _of_message(each["index"], each["message"])]


def _by_hand(pick: Callable[[str, str], str]) -> ReadCalls:
    """A client that puts deltas together itself; of two names, ids or types it picks one."""

    def read(frames: Sequence[Frame]) -> list[ReadCall]:
        calls: dict[tuple[int, int], Tree] = {}
        for index, delta in messages_of(frames, stream=True):
            legacy = delta.get("function_call")
            pieces = [{"index": LEGACY_INDEX, "type": "function_call", "function_call": legacy}] if legacy else []
            for piece in [*pieces, *(delta.get("tool_calls") or [])]:
                _gather(calls.setdefault((index, piece["index"]), {}), piece, pick)
        return [_gathered(index, call) for (index, _), call in sorted(calls.items(), key=lambda item: item[0])]

    return read


def _gather(call: Tree, piece: Tree, pick: Callable[[str, str], str]) -> None:
    shapes = [name for name in (*BODIES, "function_call") if piece.get(name)]
    call["type"] = (shapes or [call.get("type") or piece.get("type") or ""])[0]
    for shape in shapes:
        body = piece[shape]
        call["name"] = pick(call.get("name", ""), body.get("name") or "")
        call["arguments"] = call.get("arguments", "") + (body.get("arguments") or body.get("input") or "")
    if not shapes and call["type"] not in ("", *BODIES):
        call["opaque"] = piece


def _gathered(index: int, call: Tree) -> ReadCall:
    if "opaque" in call:
        return _read_call(index, call["opaque"])
    return ReadCall(index, call["type"], call.get("name", ""), call.get("arguments", ""))


def _first_wins(old: str, new: str) -> str:
    return old or new


def _last_wins(old: str, new: str) -> str:
    return new or old


def _concatenated(old: str, new: str) -> str:
    return old + new


def _seen_as(change: Callable[[Tree], Tree | None], read: ReadCalls) -> ReadCalls:
    """A client with its own way with events: `change` gives an event as it takes it, None where it skips it."""

    def reader(frames: Sequence[Frame]) -> list[ReadCall]:
        trees = [change(frame.tree) for frame in frames if frame.tree is not None]
        return read([Frame(tree) for tree in trees if tree is not None])

    return reader


def _by_object(tree: Tree) -> Tree | None:
    return tree if tree.get("object") == "chat.completion.chunk" else None


def _as_langchain(tree: Tree) -> Tree | None:
    """It skips some events by their type, and takes the choices of a wrapped chunk where there are none."""
    if tree.get("type") == "content.delta":
        return None
    return {"choices": tree.get("choices") or (tree.get("chunk") or {}).get("choices") or []}


_READ = frozenset(
    "choices delta message tool_calls function_call function custom index id type name arguments input".split()
)


def _in_any_case(tree: Any) -> Any:
    """As Go's encoding/json: the names that are read in any spelling, the last of them wins."""
    match tree:
        case dict():
            return {
                **{name: value for name, value in tree.items() if name.casefold() not in _READ},
                **{name.casefold(): _in_any_case(v) for name, v in tree.items() if name.casefold() in _READ},
            }
        case list():
            return list(map(_in_any_case, tree))
        case _:
            return tree


def _sdk_whole(frames: Sequence[Frame]) -> list[ReadCall]:
    from openai._models import construct_type
    from openai.types.chat import ChatCompletion

    answer: Any = construct_type(type_=ChatCompletion, value=copy.deepcopy(frames[0].tree))
    return _plain_whole([Frame(answer.to_dict(warnings=False))])


def _plain_whole(frames: Sequence[Frame]) -> list[ReadCall]:
    return [call for index, message in messages_of(frames, stream=False) for call in _of_message(index, message)]


STREAM_READERS: Mapping[str, ReadCalls] = {
    "official SDK": _sdk_stream,
    "first value wins": _by_hand(_first_wins),
    "last value wins": _by_hand(_last_wins),
    "concatenation": _by_hand(_concatenated),
    "by the object's name": _seen_as(_by_object, _by_hand(_first_wins)),
    "LangChain": _seen_as(_as_langchain, _by_hand(_concatenated)),
    "names in any case": _seen_as(_in_any_case, _by_hand(_last_wins)),
}
WHOLE_READERS: Mapping[str, ReadCalls] = {
    "official SDK": _sdk_whole,
    "by hand": _plain_whole,
    "names in any case": _seen_as(_in_any_case, _plain_whole),
}
