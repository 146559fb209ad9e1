"""Which rows belong together: to one case, which is what intervals resample, and to one episode, which is one run.

A note may say it: `case=ID` (and `episode=ID`), up to the next semicolon. Where it does not, rows of one source with
the same user task are one case, and those that also begin with the same call and the same first result are one episode.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from guardproxy import strict_json
from guardproxy.offline.evaluate.rows import Row

_SAID = re.compile(r"(?:^|;)\s*(case|episode)=([^;]*[^;\s])")


@dataclass(frozen=True, slots=True)
class Place:
    """Digests. `began` is None where the note says no episode and the row's history holds no result yet."""

    case: bytes
    first_call: bytes
    began: bytes | None


def place_of(row: Row) -> Place:
    said = dict(_SAID.findall(row.note))
    case = _digest(row.source, "case", said["case"]) if "case" in said else _case(row)
    if "episode" in said or "case" in said:
        return Place(case, b"", _digest(row.source, "said", said.get("case", ""), said.get("episode", "")))
    result = next((_text(message) for message in row.history if _role(message) == "tool"), None)
    first = _first_call(row)
    began = None if result is None else _digest(row.source, "began", first, result)
    return Place(case, _digest(row.source, "call", first), began)


def episodes(places: Sequence[Place]) -> list[bytes]:
    """The episode of each place. A row from before the first result belongs to the one episode that begins with its
    call, and is an episode of its own where several do: which of them it led to cannot be known."""
    begun: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    for place in places:
        if place.began is not None:
            begun[place.case, place.first_call].add(place.began)
    return [_episode(place, begun[place.case, place.first_call]) for place in places]


def _episode(place: Place, begun: Iterable[bytes]) -> bytes:
    if place.began is not None:
        return place.case + place.began
    match list(begun):
        case [only]:
            return place.case + only
        case _:
            return place.case + place.first_call


def _case(row: Row) -> bytes:
    task = " ".join(row.user_task.split()).casefold()
    return _digest(row.source, "task", task) if task else _digest(row.source, "id", row.id)


def _first_call(row: Row) -> str:
    for message in row.history:
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        if isinstance(calls, list) and calls and isinstance(calls[0], dict):
            function = calls[0].get("function")
            if isinstance(function, dict):
                return f"{function.get('name')} {_canonical(function.get('arguments'))}"
    return "" if row.call is None else f"{row.call['name']} {_canonical(row.call['arguments'])}"


def _canonical(arguments: Any) -> str:
    """Arguments as text, the same whether they were an object or the text of one."""
    if isinstance(arguments, str):
        try:
            arguments = strict_json.decode(arguments.encode("utf-8", "surrogatepass"))
        except strict_json.MalformedJson:
            return str(arguments)
    return strict_json.encode(arguments).decode()


def _role(message: Any) -> str:
    return str(message.get("role")) if isinstance(message, dict) else ""


def _text(message: Any) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else _canonical(content)


def _digest(*parts: str) -> bytes:
    digest = blake2b(digest_size=12)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.digest()
