from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy import strict_json
from guardproxy.decision import Decision, Mode, Reask
from guardproxy.exchange import Attempt, Exchange
from guardproxy.model import Turn
from guardproxy.telemetry.explain import find, tell
from guardproxy.telemetry.record import Content, Renderer


def write(path: Path, exchanges: Sequence[Exchange], content: Content = Content.REDACTED) -> Path:
    path.write_bytes(b"".join(Renderer(content, b"k" * 32).line(exchange) for exchange in exchanges))
    return path


def story(exchange: Exchange, content: Content = Content.REDACTED) -> str:
    return tell(dict(strict_json.decode_object(Renderer(content, b"k" * 32).line(exchange))))


def test_a_record_is_found_wherever_it_is(tmp_path: Path, build: Any) -> None:
    path = write(tmp_path / "audit.jsonl", [build(id=f"new-{n}") for n in range(300)])
    write(tmp_path / "audit.jsonl.1", [build(id="older")])
    write(tmp_path / "audit.jsonl.2", [build(id="oldest")])
    for id in ("new-0", "new-150", "new-299", "older", "oldest"):
        record = find(path, id)
        assert record is not None
        assert record["id"] == id


@pytest.mark.parametrize("id", ["none", "", "new-", "some-model", '"'])
def test_what_is_not_there_is_not_found(tmp_path: Path, build: Any, id: str) -> None:
    assert find(write(tmp_path / "audit.jsonl", [build(id="new-1")]), id) is None


def test_a_cut_line_is_passed_over(tmp_path: Path, build: Any) -> None:
    path = write(tmp_path / "audit.jsonl", [build(id="d-1")])
    path.write_bytes(path.read_bytes() + b'{"id":"d-1",')
    assert find(path, "d-1") is not None


def test_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find(tmp_path / "none", "d-1")


def test_the_story_of_a_block(build: Any) -> None:
    exchange = build(
        build.attempt(build.call(), findings=(build.block(),)),
        outcome="blocked",
        upstream_headers=(("x-request-id", "req_7"),),
    )
    assert story(exchange) == (
        "Exchange d-1 at 2023-11-14T22:13:20.123Z\n"
        "  A client asked for model some-model on chat_completions (whole); upstream main was to answer.\n"
        "  It ended as blocked (HTTP status 200); revision 0a1b2c3d4e5f.\n"
        "  The provider knows it as req_7.\n"
        "  Call of bash (call_1): BLOCK\n"
        "    arguments: 29 characters: command (string, 2), cwd (string, 4)\n"
        "    rules says block: rule no-root-removal, code destructive, score 0.75 [enforce]\n"
        "      Not that.\n"
        "  Guards: rules ok in 0.4 ms\n"
        "  Time: total 21.0 ms, added 1.0 ms, upstream 20.0 ms, guard 0.0 ms, hold 0.0 ms\n"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "cancelled", "status": 0}, "It ended as cancelled (HTTP status none)"),
        ({"error_code": "upstream_timeout", "status": 504}, "HTTP status 504, upstream_timeout"),
        ({"uninspected": Counter(opaque=2)}, "NOT inspected: opaque (2)"),
        ({"prefix_outcome": "applied", "prefix_id": "p1"}, "Learned prefix p1: none, applied."),
        ({"prefix_outcome": "shadow", "prefix_id": "p1", "prefix_arm": "b"}, "Learned prefix p1: none, shadow, arm b."),
        ({"prefix_tampering": Counter(user_closed=2)}, "Something works against the prefix: user_closed (2)."),
        ({"tainted_results": ("aa", "bb")}, "2 tool result(s) of the conversation were flagged"),
        ({"request_risk": 0.25}, "The user's request was judged: risk 0.250, not flagged."),
        ({"request_risk": 0.9, "request_flagged": True}, "risk 0.900, flagged, which makes its calls more suspect."),
        ({"request_flagged": True}, "A guard gave no verdict on the user's request"),
        ({"stream": True}, "(streamed)"),
    ],
)  # fmt: skip
def test_what_else_is_told(build: Any, fields: dict[str, Any], expected: str) -> None:
    assert expected in story(build(**fields))


def test_a_turn_without_calls_says_so(build: Any) -> None:
    assert "The model called no tool." in story(build(build.attempt()))


def test_monitor_mode_and_lost_reasks_are_explained(build: Any) -> None:
    monitored = story(build(build.attempt(build.call(), findings=(build.block(Mode.MONITOR),))))
    assert "Said: block. Done: allow, as findings in monitor mode are recorded and not acted on." in monitored


def test_each_turn_of_a_reask_is_told(build: Any) -> None:
    call = build.call()
    asked = Attempt(Turn((call,), {}, {}), Decision({call.key: Reask("again")}, failures_allowed=("rules",)), [])
    told = story(build(asked, build.attempt(build.call(id="call_2"))))
    assert "Turn 1 of 2: reask" in told
    assert "Failed, and let pass by on_error: rules" in told
    assert "No guard found anything." in told


def test_full_content_shows_the_arguments(build: Any) -> None:
    assert '{"command":"ls","cwd":"/srv"}' in story(build(build.attempt(build.call())), Content.FULL)


def test_nothing_in_a_record_moves_the_cursor(build: Any) -> None:
    told = story(build(build.attempt(build.call(name="a\x1b[2J\u202e\nBLOCK")), model="m\r\n"))
    assert "\\x1b[2J" in told
    assert all(line.isprintable() for line in told.split("\n"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
fields = ("id", "attempts", "prefix", "tainted_results", "uninspected", "timings", "status", "error_code")
fields += ("request_risk", "request_flagged")


@given(st.dictionaries(st.sampled_from(fields), json_values))
def test_a_tampered_record_is_told_as_far_as_it_goes(record: dict[str, Any]) -> None:
    assert tell(record).startswith("Exchange ")
