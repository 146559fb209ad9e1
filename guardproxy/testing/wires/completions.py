"""Completions: calls as models write them into text, and agents that read them out of it."""

import copy
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardproxy.model import CallKind
from guardproxy.stream.frame import DONE, Frame
from guardproxy.strict_json import encode
from guardproxy.surfaces.completions import Completions
from guardproxy.surfaces.surface import Surface
from guardproxy.testing.script import Call, Part, ReadCall, ReadCalls, Reasoning, Shape, Text, Tree, cut, interleave
from guardproxy.text_calls import TextCallMode

_STOPS = {"stop": "end", "length": "end", "content_filter": "filter"}

_WRITE: Mapping[str, Callable[[Call], str]] = {
    "hermes": lambda call: f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>',
    "mistral": lambda call: f"[TOOL_CALLS]{call.name}{call.arguments}",
    "fence": lambda call: f'\n```json\n{{"action": "{call.name}", "action_input": {call.arguments}}}\n```',
    "pythonic": lambda call: f"[{call.name}({', '.join(f'{k}={v!r}' for k, v in json.loads(call.arguments).items())})]",
    "react": lambda call: f"\nAction: {call.name}\nAction Input: {call.arguments}",
    "code": lambda call: f"\n```python\n{json.loads(call.arguments)['code']}\n```",
}
_OBJECT = re.compile(r"(?:<tool_call>|```json)\s*(\{.*?\})\s*(?:</tool_call>|```)", re.DOTALL)
_MISTRAL = re.compile(r"\[TOOL_CALLS\](\w+)(\{.*\})", re.DOTALL)
_PYTHONIC = re.compile(r"\[(\w+)\((.*?)\)\]", re.DOTALL)
_REACT = re.compile(r"Action:\s*(\w+)\s*Action Input:\s*(\{.*\})", re.DOTALL)
_PYTHON = re.compile(r"```python\n(.*?)\n```", re.DOTALL)


def _shape(name: str, **fields: Any) -> Shape:
    return Shape(name, CallKind.TEXT, rewritten=None, has_id=False, alone=True, **fields)


class CompletionsWire:
    name = "completions"
    surface: Surface = Completions()
    shapes: Mapping[str, Shape] = {
        shape.name: shape
        for shape in (
            *map(_shape, ("hermes", "mistral", "fence", "pythonic", "react")),
            _shape("code", sample="""{"code":"f('MARK')"}""", tool="python_interpreter"),
        )
    }
    most_choices = 3
    interleaves = True
    settings: Mapping[str, Any] = {"text_calls": TextCallMode.ALWAYS}

    def request(self, *, stream: bool, n: int = 1, calls: Sequence[Call] = (), **fields: Any) -> Tree:
        return {"model": "m", "prompt": "hi", "stream": stream, **({"n": n} if n > 1 else {}), **fields}

    def frames(self, parts: Sequence[Part], order: Sequence[int] | None = None) -> list[Frame]:
        return _stream(_with_ends(interleave([list(_pieces(part)) for part in parts], order), parts))

    def whole(self, parts: Sequence[Part]) -> Tree:
        return _answer(*(_whole_choice(index, parts) for index in _choices(parts)))

    def variants(self, parts: Sequence[Part]) -> Mapping[str, Sequence[Frame]]:
        return {
            "a character in each event": _stream(
                _with_ends([choice(index, char) for index in _choices(parts) for char in _text(index, parts)], parts)
            ),
            "one event for each choice": _stream([_whole_choice(index, parts) for index in _choices(parts)]),
        }

    def readers(self, *, stream: bool) -> Mapping[str, ReadCalls]:
        return {"official SDK": _reading(_with_sdk), "by hand": _reading(_plain), "in any case": _reading(_in_any_case)}

    def ended(self, frames: Sequence[Frame]) -> bool:
        """Some servers send no end mark, and no client asks for it."""
        ends = {index: any(each.get("finish_reason") for each in own) for index, own in _by_choice(frames).items()}
        return bool(ends) and all(ends.values()) and not any("error" in (frame.tree or {}) for frame in frames)

    def texts(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        return {index: "".join(each.get("text") or "" for each in own) for index, own in _by_choice(frames).items()}

    def stops(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        """A call in text is no stop reason of this API."""
        return {}

    def faults(self, frames: Sequence[Frame], *, stream: bool) -> list[str]:
        found = [f"{len(ids)} ids" for ids in [{f.tree["id"] for f in frames if f.tree}] if len(ids) > 1]
        for index, own in _by_choice(frames).items():
            ends = [each.get("finish_reason") for each in own]
            if sum(end is not None for end in ends) != 1 or ends[-1] not in _STOPS:
                found.append(f"choice {index} does not end once, and last")
        return found


# --- writing -----------------------------------------------------------------------------------------------------


def choice(index: int = 0, text: str = "", finish: str | None = None) -> Tree:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _answer(*choices: Tree, **fields: Any) -> Tree:
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": list(choices), **fields}


def _stream(choices: Iterable[Tree]) -> list[Frame]:
    return [*(Frame(_answer(each)) for each in choices), DONE]


def _choices(parts: Iterable[Part]) -> range:
    return range(max((part.choice for part in parts), default=0) + 1)


def _text(index: int, parts: Iterable[Part]) -> str:
    return "".join(_written(part) for part in parts if part.choice == index)


def _written(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case Reasoning():  # this API has no place for it
            return ""
        case Call():
            return _WRITE[part.shape](part)


def _pieces(part: Part) -> Iterator[Tree]:
    if not isinstance(part, Call):
        for word in re.findall(r"\s*\S+|\s+$", _written(part)):
            yield choice(part.choice, word)
        return
    for piece in cut(_written(part), part.pieces):
        yield _with_noise(choice(part.choice, piece), part.noise)


def _with_noise(each: Tree, noise: str) -> Tree:
    if not noise:
        return each
    logprobs: Tree = {"text_offset": [0], "token_logprobs": [-1.0], "tokens": [noise], "top_logprobs": [{noise: -1.0}]}
    return each | {"logprobs": logprobs, "token_ids": [noise], "unknown": noise}


def _with_ends(choices: Sequence[Tree], parts: Sequence[Part]) -> list[Tree]:
    """Each choice ended right after its last piece."""
    last = {each["index"]: place for place, each in enumerate(choices)}
    ended = [choice(index, finish="stop") for index in _choices(parts) if index not in last]
    for place, each in enumerate(choices):
        ended.append(each)
        if last[each["index"]] == place:
            ended.append(choice(each["index"], finish="stop"))
    return ended


def _whole_choice(index: int, parts: Sequence[Part]) -> Tree:
    noise = " ".join(part.noise for part in parts if isinstance(part, Call) and part.choice == index and part.noise)
    return _with_noise(choice(index, _text(index, parts), "stop"), noise)


# --- reading -----------------------------------------------------------------------------------------------------


def _choices_of(frames: Iterable[Frame]) -> Iterator[Tree]:
    for frame in frames:
        tree: Tree = frame.tree or {}
        yield from tree.get("choices") or []


def _by_choice(frames: Iterable[Frame]) -> dict[int, list[Tree]]:
    found: dict[int, list[Tree]] = defaultdict(list)
    for each in _choices_of(frames):
        found[each["index"]].append(each)
    return found


def _reading(take: Callable[[Tree], Tree]) -> ReadCalls:
    """An agent that joins the texts of a choice, as `take` gives an event's, and reads the calls in them."""

    def read(frames: Sequence[Frame]) -> list[ReadCall]:
        texts: dict[int, str] = defaultdict(str)
        for each in _choices_of(Frame(take(frame.tree)) for frame in frames if frame.tree is not None):
            texts[each["index"]] += each.get("text") or ""
        return [call for index, text in sorted(texts.items()) for call in _calls_in(index, text)]

    return read


def _calls_in(index: int, text: str) -> Iterator[ReadCall]:
    for body in _OBJECT.findall(text):
        tree = json.loads(body)
        if "action" in tree:
            yield ReadCall(index, "fence", tree["action"], _compact(tree["action_input"]))
        else:
            yield ReadCall(index, "hermes", tree["name"], _compact(tree["arguments"]))
    for name, arguments in _MISTRAL.findall(text):
        yield ReadCall(index, "mistral", name, _compact(json.loads(arguments)))
    for name, arguments in _PYTHONIC.findall(text):
        yield ReadCall(index, "pythonic", name, _compact(dict(re.findall(r"(\w+)='([^']*)'", arguments))))
    for name, arguments in _REACT.findall(text):
        yield ReadCall(index, "react", name, _compact(json.loads(arguments)))
    for code in _PYTHON.findall(text):
        yield ReadCall(index, "code", "python_interpreter", _compact({"code": code}))


def _compact(arguments: Any) -> str:
    return encode(arguments).decode()


def _plain(tree: Tree) -> Tree:
    return tree


def _with_sdk(tree: Tree) -> Tree:
    from openai._models import construct_type
    from openai.types import Completion

    answer: Any = construct_type(type_=Completion, value=copy.deepcopy(tree))
    read: Tree = answer.to_dict(warnings=False)
    return read


def _in_any_case(tree: Any) -> Any:
    """As Go's encoding/json: names in any spelling, the last of them wins."""
    match tree:
        case dict():
            return {name.casefold(): _in_any_case(value) for name, value in tree.items()}
        case list():
            return list(map(_in_any_case, tree))
        case _:
            return tree
