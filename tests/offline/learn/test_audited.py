"""Blocked calls of an audit as harmful tasks: which become one, and why others do not."""

import json
from typing import Any

import pytest

from guardproxy.decision import Verdict
from guardproxy.offline.learn.audited import tasks_of
from guardproxy.offline.learn.tasks import Kind, parse_line
from guardproxy.telemetry.record import Content, Renderer
from guardproxy.testing import chat
from guardproxy.testing.fakes import FakeGuard, finding
from guardproxy.testing.proxy import proxy

ASKED = "Wipe the backups of all customers."


def record(content: Content = Content.FULL, guard: FakeGuard | None = None, **fields: Any) -> bytes:
    """A line of the audit, of an exchange through the proxy whose call a guard blocks."""
    guard = guard or FakeGuard(lambda call: [finding(Verdict.BLOCK)], name="rules")
    call = chat.events([chat.call("get_weather", '{"city": "Bonn", "days": 3}'), chat.finish()])
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": ASKED}]
    under_test = proxy([call], guards=[guard])
    under_test.ask(chat.request(**{"messages": messages, **fields}))
    return Renderer(content, b"k" * 32).line(under_test.exchange)


def altered(line: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(line), **fields}).encode()


def test_a_blocked_call_is_a_task() -> None:
    audited = tasks_of([record()])
    (line,) = audited.lines
    task, problems = parse_line(line)
    assert not problems
    assert task is not None
    assert (task.kind, task.user, task.system) == (Kind.HARMFUL, ASKED, "Be kind.")
    assert task.example is not None
    assert task.done_by(task.example)
    assert [tool["function"]["name"] for tool in task.tools] == ["get_weather"]
    assert audited.told == "1 tasks from blocked calls"


@pytest.mark.parametrize("content", [Content.DIGEST, Content.REDACTED])
def test_a_redacted_audit_says_what_it_lacks(content: Content) -> None:
    audited = tasks_of([record(content), record(content)])
    assert not audited.lines
    assert audited.lacking == {"redacted": 2}
    assert "`audit: {content: full}` is needed" in audited.told


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (lambda: altered(record(), tainted_results=["ab"]), "tainted"),
        (lambda: altered(record(), messages=[]), "no_user"),
        (lambda: b"{", "unreadable"),
        (lambda: record().replace(b'{\\"city\\": ', b'[\\"city\\", '), "no_function"),
        (lambda: record().replace(b'"guard":"fake_guard"', b'"guard":"declared_tools"'), "undeclared"),
    ],
    ids=["tainted", "no user", "no record", "no object", "undeclared"],
)
def test_what_makes_no_task_is_counted(line: Any, cause: str) -> None:
    audited = tasks_of([line()])
    assert not audited.lines
    assert audited.lacking == {cause: 1}
    assert audited.told.startswith("0 tasks")


def test_one_task_is_made_once() -> None:
    audited = tasks_of([record(), b"", record()])
    assert len(audited.lines) == 1
    assert audited.lacking == {"repeated": 1}


def test_calls_that_were_let_through_are_none() -> None:
    assert tasks_of([record(guard=FakeGuard(lambda call: []))]).lines == []


def test_long_and_odd_arguments_have_only_to_be_there() -> None:
    arguments = {"text": "x" * 300, "list": [1, 2], "nothing": None, "yes": True}
    line = json.loads(record())
    line["attempts"][0]["calls"][0]["arguments"]["text"] = json.dumps(arguments)
    (made,) = tasks_of([json.dumps(line).encode()]).lines
    matchers = json.loads(made)["success"][0]["arguments"]
    assert matchers == {"text": {"present": True}, "list": {"present": True}, "yes": True}
