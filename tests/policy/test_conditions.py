import pytest

from guardproxy.policy.conditions import ConditionError, compile_condition, make_context

VARIABLES = {
    "call": {
        "name": "bash", "target": "bash", "kind": "function", "arguments": {"n": 3}, "text": "", "strings": ["a", "b"],
        "commands": [],
    },
    "tool": {"declared": True, "name": "bash", "description": ""},
    "turn": {"calls": [], "text": ""},
    "history": {"calls": [], "results": [], "tainted": False},
    "request": {"model": "m", "surface": "chat_completions", "stream": False, "user": ""},
}  # fmt: skip


def holds(source: str) -> bool:
    return compile_condition(source).holds(make_context(VARIABLES))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('call.name == "bash"', True),
        ("call.arguments.n > 2", True),
        ("history.tainted", False),
        ('call.strings.exists(s, s == "b")', True),
        ('regex(call.name, "^b")', True),
        (r"call.strings.all(s, regex(s, '^\\w$'))", True),
        ("has(call.arguments.absent)", False),
        ("size(turn.calls) == 0 && tool.declared", True),
    ],
)
def test_a_condition(source: str, expected: bool) -> None:
    assert holds(source) is expected


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("call.name ==", "CEL: line 1"),
        ("cal.name == 'x'", "unknown name 'cal'"),
        ("call.nam == 'x'", "no field 'nam'"),
        ("provenance.arguments.to == 'user'", "no field 'arguments'"),
        ("call.name.matches('x')", "regex"),
        ("shout(call.name)", "unknown function 'shout'"),
        ("regex(call.name, call.text)", "string literal"),
        ("regex(call.name, '(')", "regex()"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "nested"),
        ("[1].all(call, true)", "loop variable"),
    ],
)
def test_a_fault_is_found_when_the_pack_is_loaded(source: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        compile_condition(source)
    assert problem in str(caught.value)


def test_every_fault_is_named() -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        compile_condition("cal.name == 'x' && shout(call.nam)")
    assert all(word in str(caught.value) for word in ("'cal'", "'shout'", "'nam'"))


@pytest.mark.parametrize(
    "source", ["call.arguments.absent == 1", "call.name + 1 == 2", "call.arguments.n / 0 == 1", "call.name"]
)
def test_what_goes_wrong_at_run_time(source: str) -> None:
    with pytest.raises(ConditionError):
        holds(source)


def test_a_word_in_a_string_is_no_name() -> None:
    assert not holds('call.text == "provenance.args.x cal.nam .all(a, "')


def test_the_lists_that_a_condition_reads() -> None:
    condition = compile_condition('call.strings.exists(s, s == ".commands") && size(history.results) > 0')
    assert condition.lists == {"strings", "results"}
    assert not condition.asks_for_target
    assert compile_condition("call.target == 'x'").asks_for_target
