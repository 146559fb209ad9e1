"""What a request of the benchmark asks for and what its answer must be: shared by the mock and the load generator.

The plan travels in the model name ("mock-text-d20-c16-i5"), so one mock serves every phase of a run and needs to
parse no more of a request than that name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson

_NAME = re.compile(r"mock-(?P<answer>[a-z]+)-d(?P<delay>[\d.]+)-c(?P<chunks>\d+)-i(?P<interval>[\d.]+)")
_MODEL = re.compile(rb'"model"\s*:\s*"([^"]{1,200})"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')

TOOL = "get_weather"
CITY = "Oslo"


class Answer(StrEnum):
    """`TEXT` holds no call, `CALL` the same call every time, `FRESH` a call with arguments never seen before."""

    TEXT = "text"
    CALL = "call"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class Plan:
    """`delay_ms` runs up to the first byte; a streamed answer has `chunks` content events, `interval_ms` apart."""

    answer: Answer = Answer.TEXT
    delay_ms: float = 0
    chunks: int = 16
    interval_ms: float = 0

    @property
    def model(self) -> str:
        return f"mock-{self.answer}-d{self.delay_ms:g}-c{self.chunks}-i{self.interval_ms:g}"


def parse_plan(model: str) -> Plan | None:
    """The plan that a model name spells; None for any other name."""
    found = _NAME.fullmatch(model)
    if found is None or found["answer"] not in set(Answer):
        return None
    return Plan(Answer(found["answer"]), float(found["delay"]), int(found["chunks"]), float(found["interval"]))


@lru_cache(maxsize=256)
def _parse_name(model: bytes) -> Plan | None:
    return parse_plan(model.decode("ascii", "replace"))


def read_request(body: bytes, default: Plan) -> tuple[Plan, bool]:
    """The plan of a request body (`default` where its model names none), and whether it asks for a stream."""
    named = _MODEL.search(body)
    plan = _parse_name(named[1]) if named else None
    return plan or default, _STREAM.search(body) is not None


def text_pieces(plan: Plan) -> list[str]:
    """The content of each event of a text answer; joined, the text of the answer that is not streamed."""
    return [f"word{index:03d} " for index in range(plan.chunks)]


def call_arguments(serial: int | None) -> str:
    return orjson.dumps({"city": CITY if serial is None else f"{CITY} {serial:09d}", "units": "celsius"}).decode()


def fault_of(plan: Plan, stream: bool, status: int, body: bytes) -> str | None:
    """What is wrong with an answer, None when it is the answer that was asked for."""
    if status != 200:
        return f"status {status}"
    try:
        text, name, arguments, finish = _read_stream(body) if stream else _read_whole(body)
    except (ValueError, KeyError, IndexError, TypeError):
        return "unreadable body"
    if plan.answer is Answer.TEXT:
        right = not name and text == "".join(text_pieces(plan)) and finish == "stop"
    else:
        right = name == TOOL and not text and finish == "tool_calls" and _is_expected_call(plan.answer, arguments)
    return None if right else "another answer than the upstream's"


def _is_expected_call(answer: Answer, arguments: str) -> bool:
    city = orjson.loads(arguments)["city"]
    return bool(city == CITY) if answer is Answer.CALL else bool(city.startswith(CITY))


_Seen = tuple[str, str, str, str | None]  # text, name and arguments of the call, finish reason


def _read_whole(body: bytes) -> _Seen:
    choice = orjson.loads(body)["choices"][0]
    message = choice["message"]
    calls = message.get("tool_calls") or [{"function": {"name": "", "arguments": ""}}]
    function = calls[0]["function"]
    return message.get("content") or "", function["name"], function["arguments"], choice["finish_reason"]


def _read_stream(body: bytes) -> _Seen:
    text, name, arguments, finish = "", "", "", None
    for event in _events(body):
        choice = event["choices"][0]
        delta = choice["delta"]
        text += delta.get("content") or ""
        for call in delta.get("tool_calls") or ():
            name += call["function"].get("name") or ""
            arguments += call["function"].get("arguments") or ""
        finish = choice["finish_reason"] or finish
    return text, name, arguments, finish


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    if not lines or lines[-1] != b"[DONE]" or lines.count(b"[DONE]") != 1:
        raise ValueError("the stream does not end as a stream should")
    return map(orjson.loads, lines[:-1])
