"""What a Chat Completions request asks of the organism. Pure."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from guardproxy.upstream.organism import template
from guardproxy.upstream.organism.pen import Sampling
from guardproxy.upstream.organism.template import Piece
from guardproxy.upstream.scripted_agent import ScriptedCall

_ROOM: Final = 256  # tokens of an answer, where the request names no bound
_CHOICES: Final = 16
_LIKELIEST: Final = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """`begun`: of the call that the answer has to begin with. `texts`: by tool, the
    parameters that are texts. `custom` are names of tools that take free text."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    begun: str | None
    sampling: Sampling
    room: int
    choices: int
    likeliest: int
    stops: tuple[str, ...]
    texts: Mapping[str, frozenset[str]]
    custom: frozenset[str]
    legacy: bool
    one_call: bool
    no_call: bool
    as_json: bool

    def prompt(self) -> Iterator[Piece]:
        yield from template.prompt(self.messages, self.tools)
        if self.begun is not None:
            yield Piece(template.CALL, mark=True)
            yield Piece(self.begun)

    @property
    def prefilled(self) -> str | None:
        """What the answer's turn already says."""
        last = self.messages[-1] if self.messages else {}
        return template.content_of(last) if template.begun(last) else None

    def call(self, name: str, arguments: str) -> ScriptedCall:
        """As the kind of tool that the client declared."""
        if name in self.custom:
            tree = template.parsed(arguments)
            text = next((value for value in tree.values() if isinstance(value, str)), arguments)
            return ScriptedCall(name, text, custom=True)
        return ScriptedCall(name, arguments, legacy=self.legacy)


def wanted(tree: Mapping[str, Any]) -> Wanted:
    declared = [tool for tool in _list(tree.get("tools")) if isinstance(tool, Mapping)]
    legacy = [{"function": function} for function in _list(tree.get("functions")) if isinstance(function, Mapping)]
    choice = tree.get("tool_choice", tree.get("function_call"))
    tools = [] if choice == "none" else [*declared, *legacy]
    return Wanted(
        messages=[message for message in _list(tree.get("messages")) if isinstance(message, Mapping)],
        tools=tools,
        begun=_begun(choice) if tools else None,
        sampling=_sampling(tree),
        room=_whole(tree.get("max_completion_tokens", tree.get("max_tokens")), _ROOM, 1, _ROOM),
        choices=_whole(tree.get("n"), 1, 1, _CHOICES),
        likeliest=_whole(tree.get("top_logprobs"), 0, 0, _LIKELIEST) if tree.get("logprobs") is True else -1,
        stops=_stops(tree.get("stop")),
        texts=dict(map(_texts, tools)),
        custom=frozenset(filter(None, map(_custom, declared))),
        legacy=bool(legacy) and not declared,
        one_call=tree.get("parallel_tool_calls") is False or bool(legacy),
        no_call=choice == "none",
        as_json=_wants_json(tree.get("response_format")),
    )


def _sampling(tree: Mapping[str, Any]) -> Sampling:
    temperature, top_p, seed = tree.get("temperature"), tree.get("top_p"), tree.get("seed")
    return Sampling(
        temperature=float(temperature) if isinstance(temperature, int | float) else 0.0,
        top_p=float(top_p) if isinstance(top_p, int | float) else 1.0,
        seed=seed if isinstance(seed, int) else random.getrandbits(32),
    )


def _begun(choice: object) -> str | None:
    match choice:
        case "required":
            return ""
        case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}} | {"name": str(name)}:
            return f" {name}"
        case _:
            return None


def _stops(stop: object) -> tuple[str, ...]:
    listed = [stop] if isinstance(stop, str) else _list(stop)
    return tuple(text for text in listed if isinstance(text, str) and text)


def _custom(tool: Mapping[str, Any]) -> str | None:
    match tool:
        case {"type": "custom", "custom": {"name": str(name)}}:
            return name
        case _:
            return None


def _texts(tool: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """A tool's name, and its parameters that can be nothing but text."""
    match tool:
        case {"function": {"name": str(name), "parameters": {"properties": Mapping() as properties}}}:
            return name, frozenset(key for key, schema in properties.items() if _is_text(schema))
        case _:
            return "", frozenset()


def _is_text(schema: object) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "string"


def _wants_json(wanted: object) -> bool:
    return isinstance(wanted, Mapping) and wanted.get("type") in ("json_object", "json_schema")


def _whole(value: object, default: int, least: int, most: int) -> int:
    return min(max(value, least), most) if isinstance(value, int) and not isinstance(value, bool) else default


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
