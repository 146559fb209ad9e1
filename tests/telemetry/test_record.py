import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy import strict_json
from guardproxy.decision import (
    Allow,
    Block,
    Decision,
    Finding,
    GuardReport,
    Mode,
    OnError,
    Reask,
    Rewrite,
    Verdict,
    decide,
)
from guardproxy.exchange import Attempt, Exchange
from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult, Turn
from guardproxy.telemetry.record import MAX_NAME, MAX_TEXT, Content, Renderer, encode, timestamp

KEY = b"k" * 32

# Every key that a record may hold, at any depth.
KEYS = set(
    """v id time revision surface model upstream upstream_request_id stream status outcome error_code verdict action
    attempts prefix arm reply tampering tainted_results request_risk request_flagged uninspected usage timings
    content key_id dropped prev
    failures_allowed guards calls texts choice index kind tool arguments code findings
    length hash values text name type guard rule mode score advice on_error ms cached position finish_reason
    reason count prompt_tokens completion_tokens total_tokens input_tokens output_tokens
    total_ms added_ms upstream_ms guard_ms hold_ms""".split()
)

hostile_text = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.sampled_from([
        '"}\n{"id":"forged"}', "\r\n", "\u2028", "\u2029", "\x00", "\x1b[2J", "\x7f", "\x85", "\ud800", "\u202e",
        '\\"', "x" * 3000,
    ]),
)  # fmt: skip
numbers = st.floats()
finding = st.builds(
    Finding, hostile_text, hostile_text, hostile_text, st.sampled_from(Verdict), st.sampled_from(Mode), hostile_text,
    st.none() | numbers, st.none() | hostile_text,
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)
arguments = hostile_text | st.dictionaries(hostile_text, json_values, max_size=4).map(json.dumps)


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    calls = tuple(
        ToolCall(
            CallKey(0, i), draw(st.sampled_from(CallKind)), draw(hostile_text), draw(hostile_text), draw(arguments)
        )
        for i in range(draw(st.integers(0, 3)))
    )
    turn = Turn(calls, {0: draw(hostile_text)}, {0: draw(hostile_text)})
    said = {call.key: draw(st.lists(finding, max_size=2)) for call in calls}
    reports = [GuardReport(draw(hostile_text), Mode.ENFORCE, OnError.BLOCK, said, draw(hostile_text), draw(numbers))]
    return Attempt(turn, decide(turn, reports).decision, reports)


exchanges = st.builds(
    Exchange,
    id=hostile_text, surface=hostile_text, revision=hostile_text, started_at=st.floats(0, 4e9), model=hostile_text,
    upstream=hostile_text, stream=st.booleans(), status=st.integers(0, 999), outcome=hostile_text,
    error_code=hostile_text, attempts=st.lists(attempts(), max_size=2), prefix_position=hostile_text,
    prefix_outcome=hostile_text, prefix_id=hostile_text, prefix_arm=hostile_text, prefix_reply=hostile_text,
    prefix_tampering=st.dictionaries(hostile_text, st.integers(0, 9), max_size=2).map(Counter),
    tainted_results=st.tuples(hostile_text),
    uninspected=st.dictionaries(hostile_text, st.integers(0, 9), max_size=2).map(Counter),
    usage=st.none() | st.dictionaries(hostile_text | st.just("total_tokens"), json_values, max_size=3),
    upstream_headers=st.lists(st.tuples(st.just("x-request-id"), hostile_text), max_size=1),
    upstream_seconds=numbers, guard_seconds=numbers, hold_seconds=numbers, total_seconds=numbers,
)  # fmt: skip


def keys_of(tree: strict_json.Json) -> Iterator[str]:
    match tree:
        case dict():
            yield from tree
            for value in tree.values():
                yield from keys_of(value)
        case list():
            for value in tree:
                yield from keys_of(value)
        case _:
            return


def render(exchange: Exchange, content: Content = Content.REDACTED) -> dict[str, Any]:
    return dict(strict_json.decode_object(Renderer(content, KEY).line(exchange)))


@settings(max_examples=300)
@given(exchanges, st.sampled_from(Content))
def test_no_exchange_can_forge_or_split_a_line(exchange: Exchange, content: Content) -> None:
    line = Renderer(content, KEY).line(exchange)
    assert line.endswith(b"\n")
    body = line[:-1]
    assert all(0x20 <= byte < 0x7F for byte in body)
    tree = strict_json.decode_object(body)
    assert set(keys_of(tree)) <= KEYS
    assert len(body.decode().splitlines()) == 1


@given(exchanges)
def test_no_argument_value_is_in_a_redacted_line(exchange: Exchange) -> None:
    secret = "a-value-that-no-one-may-read"
    call = ToolCall(CallKey(9, 9), CallKind.FUNCTION, "c", "t", json.dumps({"x": {"deep": [secret]}, "y": secret}))
    turn = Turn((call,), {0: secret}, {})
    exchange.attempts.append(Attempt(turn, decide(turn, []).decision, []))
    for content in (Content.DIGEST, Content.REDACTED):
        assert secret.encode() not in Renderer(content, KEY).line(exchange)


@pytest.mark.parametrize(
    "name",
    ['x","action":"allow', "a\nb", "a\u2028b", "a\u2029b", "a\x85b", "a\x7fb", "a\x1b[31mb", "a\x00b", "é\u202e"],
)
def test_hostile_names_come_back_as_they_were(build: Any, name: str) -> None:
    record = render(build(build.attempt(build.call(name=name)), model=name))
    assert record["model"] == name
    assert record["attempts"][0]["calls"][0]["tool"] == name


def test_lone_surrogates_and_long_names_are_made_harmless(build: Any) -> None:
    record = render(build(build.attempt(build.call(name="a\ud800b", id="i" * 5000)), error_code="e" * (MAX_NAME + 1)))
    call = record["attempts"][0]["calls"][0]
    assert call["tool"] == "a?b"
    assert len(call["id"]) == len(record["error_code"]) == MAX_NAME
    assert call["id"].endswith("…")


def test_secrets_in_names_and_advice_are_scrubbed(build: Any) -> None:
    key = "sk-" + "proj-abcdefghijklmnop1234"
    say = Finding("rules", "r", "c", Verdict.BLOCK, advice=f"do not send {key} " + "x" * 5000)
    record = render(
        build(build.attempt(build.call(name=key, arguments=json.dumps({key: 1})), findings=(say,)), model=key)
    )
    assert key not in json.dumps(record)
    assert len(record["attempts"][0]["calls"][0]["findings"][0]["advice"]) == MAX_TEXT


def test_a_blocked_call_is_told_in_full(build: Any) -> None:
    exchange = build(build.attempt(build.call(), findings=(build.block(),)), uninspected=Counter(opaque=2))
    record = render(exchange)
    assert record["time"] == "2023-11-14T22:13:20.123Z"
    assert (record["id"], record["surface"], record["status"]) == ("d-1", "chat_completions", 200)
    assert (record["verdict"], record["action"]) == ("block", "block")
    assert record["uninspected"] == [{"reason": "opaque", "count": 2}]
    assert record["timings"] == {
        "total_ms": 21.0, "added_ms": 1.0, "upstream_ms": 20.0, "guard_ms": 0.0, "hold_ms": 0.0,
    }  # fmt: skip
    (attempt,) = record["attempts"]
    assert attempt["guards"] == [
        {"guard": "rules", "mode": "enforce", "on_error": "block", "outcome": "ok", "ms": 0.4, "cached": False}
    ]
    (call,) = attempt["calls"]
    assert (call["tool"], call["verdict"], call["action"], call["code"]) == ("bash", "block", "block", "destructive")
    assert call["findings"] == [
        {
            "guard": "rules", "rule": "no-root-removal", "code": "destructive", "verdict": "block", "mode": "enforce",
            "score": 0.75, "advice": "Not that.",
        }
    ]  # fmt: skip


def test_verdict_and_action_differ_in_monitor_mode(build: Any) -> None:
    record = render(build(build.attempt(build.call(), findings=(build.block(Mode.MONITOR),))))
    assert (record["verdict"], record["action"]) == ("block", "allow")


@pytest.mark.parametrize(
    ("outcome", "action", "code"),
    [
        (Allow(), "allow", ""),
        (Rewrite("{}"), "rewrite", ""),
        (Reask("again"), "reask", ""),
        (Block("why"), "block", "why"),
    ],
)
def test_each_outcome_has_its_name(build: Any, outcome: Any, action: str, code: str) -> None:
    call = build.call()
    turn = Turn((call,), {}, {})
    (told,) = render(build(Attempt(turn, Decision({call.key: outcome}), [])))["attempts"][0]["calls"]
    assert (told["action"], told["code"]) == (action, code)


def test_without_an_attempt_there_is_no_verdict(build: Any) -> None:
    record = render(build(outcome="cancelled", status=0))
    assert record["verdict"] is record["action"] is None
    assert record["attempts"] == []


def test_contents_hold_what_they_say(build: Any) -> None:
    exchange = build(build.attempt(build.call(arguments='{"command":"ls","n":3,"deep":{"a":[1]}}'), text="hello"))
    shown = {content: render(exchange, content)["attempts"][0] for content in Content}
    digest, redacted, full = (
        shown[c]["calls"][0]["arguments"] for c in (Content.DIGEST, Content.REDACTED, Content.FULL)
    )
    assert set(digest) == {"length", "hash"}
    assert [(v["name"], v["type"], v["length"]) for v in redacted["values"]] == [
        ("command", "string", 2), ("n", "number", 1), ("deep", "object", 9),
    ]  # fmt: skip
    assert full["text"] == '{"command":"ls","n":3,"deep":{"a":[1]}}'
    assert shown[Content.FULL]["texts"] == [{"choice": 0, "text": "hello", "finish_reason": "tool_calls"}]
    assert "texts" not in shown[Content.REDACTED]
    assert digest["hash"] == redacted["hash"] == full["hash"]


@pytest.mark.parametrize(
    "text", ["", "rm -rf /", "[1]", '{"a":1,"a":2}', '{"a":NaN}', "{", '{"a":"' + "x" * 1_100_000 + '"}']
)
def test_arguments_that_are_no_plain_object_are_digested_whole(build: Any, text: str) -> None:
    told = render(build(build.attempt(build.call(arguments=text))))["attempts"][0]["calls"][0]["arguments"]
    assert told["values"] is None
    assert told["length"] == len(text)


def test_hashes_compare_under_one_key_and_tell_nothing_without_it(build: Any) -> None:
    exchange = build(build.attempt(build.call(), build.call(index=1)))

    def hashes(key: bytes) -> list[str]:
        record = strict_json.decode_object(Renderer(Content.REDACTED, key).line(exchange))
        return [c["arguments"]["hash"] for c in record["attempts"][0]["calls"]]  # type: ignore[call-overload,index,union-attr]

    first, other = hashes(b"a" * 32), hashes(b"b" * 32)
    assert first[0] == first[1]
    assert first[0] != other[0]


def test_usage_keeps_plausible_token_counts_only(build: Any) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": -1, "total_tokens": True, "output_tokens": 2**70, "x": "secret"}
    assert render(build(usage=usage))["usage"] == {"prompt_tokens": 3}
    assert render(build(usage=None))["usage"] is None


def test_the_providers_request_id_is_found(build: Any) -> None:
    assert (
        render(build(upstream_headers=(("retry-after", "1"), ("X-Request-Id", "req_7"))))["upstream_request_id"]
        == "req_7"
    )


def test_encode_writes_what_orjson_cannot() -> None:
    assert strict_json.decode_object(encode({"n": 2**80, "s": "\x7f\u2028"})) == {"n": 2**80, "s": "\x7f\u2028"}


@pytest.mark.parametrize(("seconds", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1.5, "1970-01-01T00:00:01.500Z")])
def test_timestamp_is_rfc_3339_in_utc(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


def test_full_content_holds_the_conversation_and_no_other_does() -> None:
    result = ToolResult("call_1", "web", "a page", "d1")
    messages = (Message("user", "hello"), Message("tool", "a page", result=result))
    exchange = Exchange("1", "chat_completions", "r", request=Request("chat_completions", "m", False, {}, messages, ()))
    shown = {content: json.loads(Renderer(content, b"key").line(exchange)) for content in Content}
    assert [m["text"] for m in shown[Content.FULL]["messages"]] == ["hello", "a page"]
    assert shown[Content.FULL]["messages"][1]["result_for"] == "call_1"
    assert all("hello" not in json.dumps(shown[content]) for content in (Content.DIGEST, Content.REDACTED))
