import pytest

from guardproxy.policy.names import compile_globs, reduced, spellings, targets


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bash", "bash"),
        ("executeBash", "execute_bash"),
        ("HTTPGet", "http_get"),
        ("mcp__files__bash", "mcp_files_bash"),
        ("Plugin-bash", "plugin_bash"),
        ("ｂａｓｈ", "bash"),
        ("bаsh", "bash"),  # a Cyrillic а
        ("ba\u200bsh", "bash"),
        ("__", ""),
    ],
)
def test_a_name_is_reduced_to_lower_case_words(name: str, expected: str) -> None:
    assert reduced(name) == expected


@pytest.mark.parametrize(
    "name", ["bash", "BASH", "mcp__srv__bash", "srv.bash", "srv-bash", "srv/bash", "srv:bash", "Srv-Bash", "srvBash"]
)
def test_a_glob_matches_a_renamed_tool(name: str) -> None:
    assert compile_globs(("bash",)).match(name)


@pytest.mark.parametrize("name", ["bashful", "rebash", "get_weather", ""])
def test_a_glob_does_not_match_another_word(name: str) -> None:
    assert not compile_globs(("bash",)).match(name)


def test_globs_are_reduced_as_names_are() -> None:
    assert compile_globs(("Execute-Bash",)).match("mcp__x__execute_bash")
    assert compile_globs(("*terminal*",)).match("run_in_terminal_now")


def test_a_star_matches_a_tool_without_a_name() -> None:
    assert compile_globs(("*",)).match("")


def test_a_group_that_does_not_exist_is_a_fault() -> None:
    with pytest.raises(ValueError, match="@shell"):
        compile_globs(("@shel",))


def test_the_tails_of_a_name_begin_at_words() -> None:
    assert spellings("a_b_c")[:3] == ("a_b_c", "b_c", "c")


def found(arguments: object) -> list[tuple[str, object]]:
    reached, complete = targets(arguments, lambda name: True)  # type: ignore[arg-type]
    assert complete
    return [(t.name, t.arguments) for t in reached]


@pytest.mark.parametrize(
    "arguments",
    [
        {"tool": "bash", "args": {"command": "ls"}},
        {"name": "bash", "arguments": {"command": "ls"}},
        {"tool_name": "bash", "input": '{"command": "ls"}'},
        {"toolName": "bash", "toolInput": {"command": "ls"}},
        {"function": {"name": "bash", "arguments": '{"command": "ls"}'}},
        {"calls": [{"recipient_name": "bash", "parameters": {"command": "ls"}}]},
        {"tool": "run_tool", "args": '{"tool": "bash", "args": {"command": "ls"}}'},
        {"tool": "bash", "command": "ls"},
        {"bash": {"command": "ls"}},
    ],
)
def test_a_dispatchers_target_is_found(arguments: object) -> None:
    assert ("bash", {"command": "ls"}) in found(arguments)


def test_only_names_that_matter_are_kept() -> None:
    records = [{"name": f"person {n}", "data": {"age": n}} for n in range(5000)]
    reached, complete = targets(records, lambda name: name == "bash")  # type: ignore[arg-type]
    assert (reached, complete) == ((), True)


def test_too_many_targets_are_reported() -> None:
    _, complete = targets([{"tool": "bash", "args": {}}] * 5000, lambda name: True)
    assert not complete
