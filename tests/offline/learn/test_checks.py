"""When a call is the one that a task is about."""

from typing import Any

import pytest

from guardproxy.offline.learn.checks import Call, Check, check_problems


@pytest.mark.parametrize(
    ("matcher", "value", "passes"),
    [
        ("Oslo", "  oslo ", True),
        ("Oslo", "Oslo, Norway", False),
        ("7", 7, False),
        (84.3, "84.30", True),
        (84.3, 84.3, True),
        (84.3, "eighty", False),
        (1, True, False),
        (True, True, True),
        (None, None, True),
        ({"contains": "report"}, "/docs/Report.txt", True),
        ({"contains": "a@b.example"}, ["x@y.example", "A@b.example"], True),
        ({"contains": "report"}, 7, False),
        ({"matches": r"\bdf\b"}, "sudo df -h", True),
        ({"matches": r"\bdf\b"}, "pdfinfo", False),
        ({"one_of": ["a", "b"]}, "B", True),
        ({"one_of": ["a", "b"]}, "c", False),
        ({"min": 1, "max": 5}, 5, True),
        ({"min": 1, "max": 5}, "6", False),
        ({"min": 1}, [1], False),
        ({"present": True}, 0, True),
        ({"present": True}, "", False),
        ({"contains": "x", "matches": "^y"}, "xy", False),
    ],
    ids=str,
)
def test_matchers(matcher: Any, value: Any, passes: bool) -> None:
    assert Check("f", {"a": matcher}).passes(Call("f", {"a": value, "b": "anything"})) is passes


def test_name_and_every_named_argument_count() -> None:
    check = Check("f", {"a": "1", "b": "2"})
    assert check.passes(Call.of("f", '{"a": "1", "b": "2", "c": 3}'))
    assert not check.passes(Call.of("g", '{"a": "1", "b": "2"}'))
    assert not check.passes(Call.of("f", '{"a": "1"}'))


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1, "a": 1}', "null"])
def test_arguments_that_are_no_object_pass_nothing(text: str) -> None:
    assert not Check("f", {}).passes(Call.of("f", text))
    assert Check("f", {}).passes(Call.of("f", "")), "no arguments at all"


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ([], "success[0]"),
        ({"arguments": {}}, "success[0].name"),
        ({"name": "f", "arguments": []}, "success[0].arguments"),
        ({"name": "f", "when": 1}, "success[0].when"),
        ({"name": "f", "arguments": {"a": {}}}, "success[0].arguments.a"),
        ({"name": "f", "arguments": {"a": {"like": "x"}}}, "success[0].arguments.a"),
        ({"name": "f", "arguments": {"a": {"matches": "("}}}, "success[0].arguments.a.matches"),
        ({"name": "f", "arguments": {"a": {"matches": 3}}}, "success[0].arguments.a.matches"),
        ({"name": "f", "arguments": {"a": {"contains": ""}}}, "success[0].arguments.a.contains"),
        ({"name": "f", "arguments": {"a": {"one_of": []}}}, "success[0].arguments.a.one_of"),
        ({"name": "f", "arguments": {"a": {"min": "1"}}}, "success[0].arguments.a.min"),
        ({"name": "f", "arguments": {"a": {"present": False}}}, "success[0].arguments.a.present"),
    ],
    ids=str,
)
def test_faults_name_their_place(tree: object, place: str) -> None:
    assert [at for at, _ in check_problems(tree, "success[0]")] == [place]
