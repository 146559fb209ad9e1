"""One exchange as one line of JSON. Pure.

Names, ids and arguments come from a model that may be hostile, so the shape of a line owes nothing to them: every key
is ours (what the model names goes into values), every string is bounded and scrubbed, and the line is ASCII without
control characters, so that no reader can be made to see two lines, a forged field or a terminal escape.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias, Union

import orjson

from guardproxy import strict_json
from guardproxy.decision import Block, Decision, Finding, GuardReport, Outcome, Verdict, verdict_of
from guardproxy.exchange import Attempt, Exchange
from guardproxy.model import Message, ToolCall, Turn
from guardproxy.telemetry.redact import scrub

Field: TypeAlias = Union[bool, int, float, str, "Fields", Sequence["Field"], None]
Fields: TypeAlias = Mapping[str, Field]

VERSION = 1
MAX_NAME = 256
MAX_TEXT = 2048
MAX_VALUES = 128  # arguments of one call that are listed one by one; the digest of the whole covers the rest
MAX_PARSED = 1_048_576  # longer argument texts are digested as a whole, so that no call can keep the writer busy


class Content(StrEnum):
    """How much of the arguments is written: one keyed digest, a length and keyed hash of each value, or all of it."""

    DIGEST = "digest"
    REDACTED = "redacted"
    FULL = "full"


class Renderer:
    """Renders exchanges. Equal values have equal hashes under one key; without the key a hash tells nothing."""

    def __init__(self, content: Content, key: bytes) -> None:
        self._content = content
        self._key = key[:64]  # blake2b takes no more
        self._key_id = blake2b(b"guardproxy audit key id", key=self._key, digest_size=4).hexdigest()

    def line(self, exchange: Exchange, *, prev: str = "", dropped: int = 0) -> bytes:
        """The record with a newline. `prev` is the chain: the digest of the line before; `dropped` counts lost ones."""
        return encode({**self.fields(exchange), "dropped": dropped, "prev": prev})

    def chain(self, line: bytes) -> str:
        """The keyed digest of a line without its newline. Who lacks the key cannot mend a chain that was cut."""
        return blake2b(line.rstrip(b"\n"), key=self._key, digest_size=16, person=b"gp-audit-chain").hexdigest()

    def fields(self, exchange: Exchange) -> dict[str, Field]:
        decision = exchange.decision
        return {
            "v": VERSION,
            "id": _name(exchange.id),
            "time": timestamp(exchange.started_at),
            "revision": _name(exchange.revision),
            "surface": _name(exchange.surface),
            "model": _name(exchange.model),
            "upstream": _name(exchange.upstream),
            "upstream_request_id": _request_id(exchange.upstream_headers),
            "stream": bool(exchange.stream),
            "status": int(exchange.status),
            "outcome": _name(exchange.outcome),
            "error_code": _name(exchange.error_code),
            "verdict": decision.verdict.label if decision else None,
            "action": decision.action.label if decision else None,
            "attempts": [self._attempt(attempt) for attempt in exchange.attempts],
            "prefix": {
                "position": _name(exchange.prefix_position),
                "outcome": _name(exchange.prefix_outcome),
                "id": _name(exchange.prefix_id),
                "arm": _name(exchange.prefix_arm),
                "reply": _name(exchange.prefix_reply),
                "tampering": [
                    {"kind": _name(kind), "count": int(count)}
                    for kind, count in sorted(exchange.prefix_tampering.items())
                ],
            },
            "tainted_results": [_name(digest) for digest in exchange.tainted_results],
            "request_risk": _finite(exchange.request_risk, 6),
            "request_flagged": bool(exchange.request_flagged),
            "uninspected": [
                {"reason": _name(reason), "count": int(count)} for reason, count in sorted(exchange.uninspected.items())
            ],
            "usage": _usage(exchange.usage),
            "timings": _timings(exchange),
            "content": self._content.value,
            "key_id": self._key_id,
            **self._conversation(exchange),
        }

    def _conversation(self, exchange: Exchange) -> dict[str, Field]:
        """What replay and learning need, and nothing else shows: the messages, with full content only."""
        if self._content is not Content.FULL or exchange.request is None:
            return {}
        return {"messages": [_message(message) for message in exchange.request.messages]}

    def _attempt(self, attempt: Attempt) -> Fields:
        decision = attempt.decision
        fields: dict[str, Field] = {
            "verdict": decision.verdict.label,
            "action": decision.action.label,
            "failures_allowed": [_name(guard) for guard in decision.failures_allowed],
            "guards": [_report(report) for report in attempt.reports],
            "calls": [self._call(call, decision) for call in attempt.turn.calls],
        }
        if self._content is Content.FULL:
            fields["texts"] = _texts(attempt.turn)
        return fields

    def _call(self, call: ToolCall, decision: Decision) -> Fields:
        outcome = decision.outcomes.get(call.key)
        findings = decision.findings.get(call.key, ())
        return {
            "choice": call.key.choice,
            "index": call.key.position,
            "id": _name(call.id),
            "kind": call.kind.value,
            "tool": _name(call.name),
            "arguments": self._arguments(call.arguments),
            "verdict": max((f.verdict for f in findings), default=Verdict.ALLOW).label,
            "action": verdict_of(outcome).label if outcome is not None else None,
            "code": _outcome_code(outcome),
            "findings": [_finding(finding) for finding in findings],
        }

    def _arguments(self, text: str) -> Fields:
        whole: dict[str, Field] = {"length": len(text), "hash": self._hash(text)}
        match self._content:
            case Content.DIGEST:
                return whole
            case Content.REDACTED:
                return {**whole, "values": self._values(text)}
            case Content.FULL:
                return {**whole, "text": _well_formed(text)}

    def _values(self, text: str) -> list[Fields] | None:
        """Length and hash of each argument; None where the text is no JSON object (custom tools, broken calls)."""
        if len(text) > MAX_PARSED:
            return None
        try:
            tree = strict_json.decode_object(text.encode("utf-8", "surrogatepass"))
        except ValueError:
            return None
        return [self._value(name, value) for name, value in list(tree.items())[:MAX_VALUES]]

    def _value(self, name: str, value: strict_json.Json) -> Fields:
        text = value if isinstance(value, str) else strict_json.encode(value).decode()
        return {"name": _name(name), "type": _type(value), "length": len(text), "hash": self._hash(text)}

    def _hash(self, text: str) -> str:
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).hexdigest()


def encode(fields: Mapping[str, Field]) -> bytes:
    """One line: ASCII, no control character but the newline at its end. JSON itself lets DEL and U+2028 through."""
    try:
        line = orjson.dumps(fields)
    except TypeError:  # an integer beyond 64 bits
        line = b"\x7f"
    if not line.isascii() or b"\x7f" in line:
        line = json.dumps(fields, separators=(",", ":"), allow_nan=False).replace("\x7f", "\\u007f").encode()
    return line + b"\n"


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _finding(finding: Finding) -> Fields:
    return {
        "guard": _name(finding.guard),
        "rule": _name(finding.rule),
        "code": _name(finding.code),
        "verdict": finding.verdict.label,
        "mode": finding.mode.value,
        "score": _finite(finding.score, 6),
        "advice": _text(finding.advice, MAX_TEXT),
    }


def _report(report: GuardReport) -> Fields:
    return {
        "guard": _name(report.guard),
        "mode": report.mode.value,
        "on_error": report.on_error.value,
        "outcome": _name(report.outcome),
        "ms": _milliseconds(report.seconds),
        "cached": report.cached,
    }


def _message(message: Message) -> Fields:
    result = message.result
    return {
        "role": _name(message.role),
        "text": _well_formed(message.text),
        "calls": [
            {"id": _name(c.id), "tool": _name(c.name), "arguments": _well_formed(c.arguments)} for c in message.calls
        ],
        "result_for": _name(result.call_id) if result else None,
        "result_digest": _name(result.digest) if result else None,
    }


def _texts(turn: Turn) -> list[Fields]:
    return [
        {"choice": choice, "text": _well_formed(text), "finish_reason": _name(turn.finish_reasons.get(choice, ""))}
        for choice, text in sorted(turn.texts.items())
    ]


def _timings(exchange: Exchange) -> Fields:
    return {
        "total_ms": _milliseconds(exchange.total_seconds),
        "added_ms": _milliseconds(exchange.added_seconds),
        "upstream_ms": _milliseconds(exchange.upstream_seconds),
        "guard_ms": _milliseconds(exchange.guard_seconds),
        "hold_ms": _milliseconds(exchange.hold_seconds),
    }


_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")


def _usage(usage: Mapping[str, Any] | None) -> Fields | None:
    """The token counts alone: whatever else an upstream puts there is not ours to write down."""
    if usage is None:
        return None
    counts = ((name, usage.get(name)) for name in _USAGE)
    return {name: count for name, count in counts if type(count) is int and 0 <= count < 2**53}


def _request_id(headers: Sequence[tuple[str, str]]) -> str:
    """The name under which the provider's own log knows the request."""
    ids = (value for name, value in headers if name.lower() in ("x-request-id", "request-id"))
    return _name(next(ids, ""))


def _outcome_code(outcome: Outcome | None) -> str:
    return _name(outcome.code) if isinstance(outcome, Block) else ""


def _type(value: strict_json.Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"


def _name(text: str) -> str:
    return _short_name(text) if len(text) <= MAX_NAME else _text(text, MAX_NAME)


@lru_cache(maxsize=2048)  # the same few models, tools and rules come by again and again
def _short_name(text: str) -> str:
    return _text(text, MAX_NAME)


def _text(text: str, limit: int) -> str:
    """Scrubbed before it is cut: half a credential is not recognised."""
    if len(text) > limit:
        text = text[: 4 * limit]
    clean = scrub(_well_formed(text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _well_formed(text: str) -> str:
    """Without lone surrogates, which strict readers of JSON refuse."""
    return text.encode("utf-8", "replace").decode()


def _finite(number: float | None, digits: int) -> float | None:
    return round(number, digits) if number is not None and math.isfinite(number) else None


def _milliseconds(seconds: float) -> float | None:
    return _finite(seconds * 1000, 3)
