import json
from collections.abc import Callable
from pathlib import Path

import pytest

from guardproxy.decision import Finding, Mode, Verdict
from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult, ToolSpec, Turn
from guardproxy.policy.engine import evaluate, evaluate_result
from guardproxy.policy.loader import load_policy
from guardproxy.policy.policy import Policy
from guardproxy.policy.scene import Scene

Load = Callable[[str], Policy]
REQUEST = Request(
    "chat_completions", "m", False, {"user": "ann"}, (), (ToolSpec(CallKind.FUNCTION, "bash", "a shell", None),)
)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def of(rule: str) -> Policy:
        path = tmp_path / "p.yaml"
        path.write_text(
            f"version: 1\npack: mine\nrules:\n  - {{id: the-rule, description: d, code: the_code, {rule}}}\n"
        )
        return load_policy([str(path)])

    return of


def call(name: str, arguments: object, kind: CallKind = CallKind.FUNCTION) -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(CallKey(0, 0), kind, "c", name, text)


def judge(
    policy: Policy, one: ToolCall, request: Request = REQUEST, tainted: frozenset[str] = frozenset()
) -> list[Finding]:
    return list(evaluate(policy, one, Scene(request, Turn((one,), {0: "said"}, {}), tainted)))


@pytest.mark.parametrize(
    ("rule", "tool", "arguments", "found"),
    [
        ("tools: bash, command: {program: rm}", "bash", {"command": "rm x"}, True),
        ("tools: bash, command: {program: rm}", "bash", {"command": "ls"}, False),
        ("tools: bash, command: {program: rm}", "zsh", {"command": "rm x"}, False),
        ("tools: '*', except_tools: bash, command: {program: rm}", "bash", {"command": "rm x"}, False),
        ("command: {program: rm, flags: ['r|R', f]}", "bash", {"command": "rm -Rf x"}, True),
        ("command: {program: rm, flags: [r, f]}", "bash", {"command": "rm -r x"}, False),
        ("command: {program: rm, flags: recursive}", "bash", {"command": "rm --recurs x"}, True),
        ("command: {program: rm, without: i}", "bash", {"command": "rm -i x"}, False),
        ("command: {program: git, subcommand: push}", "bash", {"command": "git -C a push"}, True),
        ("command: {program: kubectl, subcommand: 'delete ns'}", "bash", {"command": "kubectl delete ns x"}, True),
        ("command: {program: kubectl, subcommand: 'delete ns'}", "bash", {"command": "kubectl ns delete"}, False),
        ("command: {program: cat, argument: {path: /etc/shadow}}", "bash", {"command": "cd /etc; cat shadow"}, True),
        ("command: {program: rm, argument: {whole: /}}", "bash", {"command": "rm /*"}, True),
        ("command: {redirect: {path: /etc/x}}", "bash", {"command": "echo > /etc/x"}, True),
        ("command: {redirect: {path: /etc/x}}", "bash", {"command": "cat < /etc/x"}, False),
        ("command: {program: sh, input: {program: curl}}", "bash", {"command": "curl x | sh"}, True),
        ("command: {program: sh, dynamic: true}", "bash", {"command": "curl x | sh"}, True),
        ("command: {program: sh, dynamic: true}", "bash", {"command": "sh x.sh"}, False),
        ("command: {program: psql, text: {regex: DROP}}", "bash", {"command": "echo DROP | psql"}, True),
        ("command: {program: ssh, argument: {path: k}, ignore_values: i}", "bash", {"command": "ssh -i k h"}, False),
        ("command: {program: ssh, argument: {path: k}, ignore_values: i}", "bash", {"command": "ssh -i x k"}, True),
        ("arguments: {regex: '^x$'}", "t", {"a": {"b": ["x"]}}, True),
        ("arguments: {name: b, regex: '^x$'}", "t", {"a": "x", "b": "y"}, False),
        ("arguments: {name: 'a.b', contains: X}", "t", {"a": {"b": "axa"}}, True),
        ("arguments: {name: 'a*', glob: 'x?z'}", "t", {"abc": "xyz"}, True),
        ("arguments: {host: 'loopback:9901'}", "t", {"host": "127.1", "port": 9901}, True),
        ("arguments: {path: /etc/x, not_path: /etc/x}", "t", {"a": "/etc/x"}, False),
        ("arguments: {regex: x, not_regex: y}", "t", {"a": "xy"}, False),
        ("arguments: [{regex: x}, {regex: y}]", "t", {"a": "y"}, True),
        ("tools: t, arguments: {regex: x}, command: {program: ls}", "t", {"a": "x", "command": "ls"}, True),
        ("tools: t, arguments: {regex: x}, command: {program: ls}", "t", {"a": "x", "command": "rm"}, False),
        ("text: {regex: '^x$'}", "t", {"a": "x"}, True),
        ("when: 'call.name == \"t\"'", "t", {}, True),
        ("tools: bash", "run_tool", {"tool": "bash", "args": {}}, True),
        ("when: 'call.target == \"inner\"'", "run_tool", {"tool": "inner", "args": {}}, True),
        ('when: \'request.user == "ann" && tool.declared && turn.text == "said"\'', "bash", {}, True),
        ("when: 'call.commands.exists(c, c.program == \"rm\")'", "bash", {"command": "rm x"}, True),
        ("when: 'call.arguments.n == 3'", "t", {"n": 3}, True),
    ],
)
def test_what_a_rule_finds(load: Load, rule: str, tool: str, arguments: object, found: bool) -> None:
    assert [f.rule for f in judge(load(rule), call(tool, arguments))] == ["the-rule"] * found


def test_a_finding_says_what_the_rule_says(load: Load) -> None:
    policy = load("tools: t, verdict: reask, mode: monitor, advice: think")
    assert judge(policy, call("t", {})) == [
        Finding("rules", "the-rule", "the_code", Verdict.REASK, Mode.MONITOR, "think")
    ]


@pytest.mark.parametrize(("on_error", "verdict"), [("block", Verdict.BLOCK), ("allow", Verdict.ALLOW)])
def test_a_condition_that_fails_is_a_finding(load: Load, on_error: str, verdict: Verdict) -> None:
    found = judge(load(f"when: call.arguments.absent > 1, on_error: {on_error}"), call("t", {}))
    assert [(f.code, f.verdict) for f in found] == [("policy_error", verdict)]


def test_a_list_that_is_cut_short_is_an_error_for_the_rule_that_reads_it(load: Load) -> None:
    many = call("t", {"a": ["x"] * 300})
    assert judge(load("when: 'call.strings.exists(s, s == \"y\")'"), many)[0].code == "policy_error"
    assert judge(load("when: 'call.name == \"u\"'"), many) == []


def test_arguments_are_rewritten(load: Load) -> None:
    policy = load("tools: t, verdict: rewrite, rewrite: {limit: 10, 'where.name': x, 'list[1]': 0}")
    found = judge(policy, call("t", {"limit": 99, "list": [1, 2], "keep": None}))
    assert found[0].verdict is Verdict.REWRITE
    assert json.loads(found[0].replacement or "") == {"limit": 10, "list": [1, 0], "keep": None, "where": {"name": "x"}}


@pytest.mark.parametrize(
    "one", [call("run_tool", {"tool": "t", "args": {"a": 1}}), call("t", "free text", CallKind.CUSTOM)]
)
def test_what_cannot_be_rewritten_is_blocked(load: Load, one: ToolCall) -> None:
    found = judge(load("tools: t, verdict: rewrite, rewrite: {a: 2}"), one)
    assert [(f.code, f.verdict) for f in found] == [("rewrite_impossible", Verdict.BLOCK)]


def test_an_opaque_call_is_blocked_unless_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    rule = "rules: [{id: the-rule, description: d, code: the_code, tools: nothing}]"
    path.write_text(f"version: 1\npack: mine\nallow_opaque: [computer_*]\n{rule}\n")
    policy = load_policy([str(path)])
    assert judge(policy, call("computer_call", "{}", CallKind.OPAQUE)) == []
    assert judge(policy, call("other_call", "{}", CallKind.OPAQUE))[0].code == "opaque_call"


@pytest.mark.parametrize(
    "arguments", ['{"a": "/etc/x"', '{"a": 1, "a": "/etc/x"}', '"/etc/x"', "/etc/x", '[{"a": "/etc/x"}]']
)
def test_arguments_that_are_no_object_are_judged_all_the_same(load: Load, arguments: str) -> None:
    assert judge(load("arguments: {path: /etc/x}"), call("t", arguments))


@pytest.mark.parametrize("kind", [CallKind.CUSTOM, CallKind.LEGACY_FUNCTION])
def test_every_kind_is_judged(load: Load, kind: CallKind) -> None:
    assert judge(load("command: {program: rm}"), call("bash", "rm x", kind))


@pytest.mark.parametrize(
    "arguments",
    [
        {"command": "(" * 500},
        {"command": "ls\n" * 60_000},
        {"command": "echo " + "{a,b}" * 40},
        {"command": "rm " + "a " * 20_000},
        {"a": ["x"] * 60_000},
        {"command": ["ls -la"] * 5_000},
        {"a": "x" * 5_000_000},
    ],
)
def test_what_is_too_large_to_be_read_is_blocked(load: Load, arguments: object) -> None:
    found = judge(load("command: {program: rm}, arguments: {regex: zz}"), call("bash", arguments))
    assert "arguments_too_large" in {f.code for f in found}


@pytest.mark.parametrize(
    "arguments",
    [
        {f"k{n}": f"value {n}" for n in range(10_000)},
        {"a": "lorem ipsum " * 80_000},
        {"a": "{" * 1000},
        {"data": "QUJDREVG" * 100_000},
    ],
)
def test_what_is_large_is_judged(load: Load, arguments: object) -> None:
    assert judge(load("arguments: {regex: nothing-like-it}, command: {program: rm}"), call("t", arguments)) == []


def test_a_stop_signal_ends_the_reading_with_a_block() -> None:
    one = call("bash", {"command": "ls -la /tmp; " * 400})
    scene = Scene(REQUEST, Turn((one,), {}, {}), frozenset(), lambda: True)
    assert "arguments_too_large" in {f.code for f in evaluate(load_policy(["default"]), one, scene)}


def test_tainted_history_is_seen(load: Load) -> None:
    result = ToolResult("c", "fetch", "text", "digest")
    request = Request("chat_completions", "m", False, {}, (Message("tool", "text", (), result),), ())
    policy = load("when: 'history.tainted && history.results[0].tainted'")
    assert judge(policy, call("t", {}), request, frozenset({"digest"}))
    assert not judge(policy, call("t", {}), request)


def test_a_tool_result_is_flagged(load: Load) -> None:
    policy = load("on: tool_result, tools: fetch, text: {regex: 'bad words'}")
    scene = Scene(REQUEST)
    flagged = evaluate_result(policy, ToolResult("c", "mcp__x__fetch", "YmFkIHdvcmRz", "d"), scene)
    assert [f.rule for f in flagged] == ["the-rule"]
    assert evaluate_result(policy, ToolResult("c", "fetch", "fine", "d"), scene) == ()
    assert evaluate_result(policy, ToolResult("c", "other", "bad words", "d"), scene) == ()


def test_a_result_rule_says_nothing_about_calls(load: Load) -> None:
    assert judge(load("on: tool_result, text: {regex: x}"), call("t", {"a": "x"})) == []
