from pathlib import Path

import pytest

from guardproxy.decision import Mode
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.policy.loader import load_policy, shipped_packs

PACK = """\
version: 1
pack: mine
rules:
  - id: no-rm
    description: why
    tools: ["bash"]
    command: {program: rm}
    code: removed
"""


def faults(*packs: str | Path) -> list[Fault]:
    with pytest.raises(ConfigurationError) as caught:
        load_policy([str(p) for p in packs])
    return list(caught.value.faults)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(PACK)
    return path


def test_the_shipped_packs() -> None:
    assert shipped_packs() == ("coding-agent", "default", "strict", "web-agent")


@pytest.mark.parametrize("name", shipped_packs())
def test_a_shipped_pack_loads_from_any_directory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_policy([name]).rules


def test_a_pack_from_a_file(pack: Path) -> None:
    policy = load_policy([str(pack)])
    assert [r.id for r in policy.rules] == ["no-rm"]
    assert policy.packs == ("mine",)


def test_the_revision_is_of_the_content(pack: Path, tmp_path: Path) -> None:
    first = load_policy([str(pack)]).revision
    assert len(first) == 12
    other = tmp_path / "other.yaml"
    other.write_text("# a comment\n" + PACK.replace("[", "[ "))
    assert load_policy([str(other)]).revision == first
    other.write_text(PACK.replace("program: rm", "program: dd"))
    assert load_policy([str(other)]).revision != first


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("[]", "dictionary"),
        ("version: 1\npack: mine\nrules: []\n", "at least one rule"),
        ("version: 2\npack: mine\nrules: []\n", "1"),
        ("a: {", "not YAML"),
    ],
)
def test_a_pack_that_is_none(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    assert any(problem in f.problem for f in faults(path))


def test_no_pack_at_all() -> None:
    assert "no pack" in faults()[0].problem


@pytest.mark.parametrize("name", ["absent", "/nowhere/x.yaml"])
def test_a_pack_that_is_missing(name: str) -> None:
    assert "cannot be read" in faults(name)[0].problem


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "problem"),
    [
        ("code: removed", "code: removed\n    colour: red", 9, "rules[0].colour", "unknown key"),
        ("    code: removed\n", "", 4, "rules[0].code", "is missing"),
        ("program: rm", "programme: rm", 7, "rules[0].command.programme", "unknown key"),
        ("{program: rm}", "{}", 7, "rules[0].command", "every command"),
        ("{program: rm}", '{text: {regex: "("}}', 7, "rules[0].command", "unclosed"),
        ('tools: ["bash"]', 'tools: ["@shel"]', 6, "rules[0].tools", "no such tool group"),
        ("code: removed", "code: removed\n    when: cal.x", 9, "rules[0].when", "unknown name"),
        ("code: removed", "code: removed\n    when: provenance.to == 'x'", 9, "rules[0].when", "no field"),
        ("code: removed", "code: Removed Things", 8, "rules[0].code", "pattern"),
        ("code: removed", "code: removed\n    verdict: maybe", 9, "rules[0].verdict", "one of"),
        ("code: removed", "code: removed\n    verdict: rewrite", 4, "rules[0]", "belong together"),
        ("code: removed", "code: removed\n    on: tool_result", 4, "rules[0]", "tool_result"),
        ("id: no-rm", "id: no-rm\n    id: again", 5, "rules[0].id", "duplicate key"),
        ("program: rm", "program: [$absent]", 7, "rules[0].command.program[0]", "there is no list"),
    ],
)
def test_a_fault_has_its_place(pack: Path, old: str, new: str, line: int, path: str, problem: str) -> None:
    pack.write_text(PACK.replace(old, new))
    found = faults(pack)
    assert any(f.line == line and f.path.startswith(path) and problem in f.problem for f in found), found


def test_all_faults_of_all_files_are_named(pack: Path, tmp_path: Path) -> None:
    pack.write_text(PACK.replace("code: removed", "code: removed\n    a: 1\n    b: 2"))
    other = tmp_path / "other.yaml"
    other.write_text(PACK.replace("program: rm", "c: 3"))
    found = faults(pack, other, "absent")
    assert {f.path for f in found} >= {"rules[0].a", "rules[0].b", "rules[0].command.c"}
    assert any("cannot be read" in f.problem for f in found)


def test_a_rule_id_is_there_once(pack: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(PACK.replace("pack: mine", "pack: theirs"))
    assert "there already" in faults(pack, other)[0].problem


def test_a_pack_extends_another(pack: Path, tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text(
        PACK.replace("pack: mine", "pack: child\nextends: ./mine.yaml\nmodes: {no-rm: monitor}").replace(
            "id: no-rm", "id: no-dd"
        )
    )
    policy = load_policy([str(child)])
    assert {r.id: r.mode for r in policy.rules} == {"no-rm": Mode.MONITOR, "no-dd": Mode.ENFORCE}


def test_packs_that_extend_each_other_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        text = PACK.replace("pack: mine", f"pack: {name}x\nextends: ./{other}.yaml").replace("no-rm", f"no-{name}")
        (tmp_path / f"{name}.yaml").write_text(text)
    assert len(load_policy([str(tmp_path / "a.yaml")]).rules) == 2


def test_a_mode_or_a_test_of_a_rule_that_is_not_there(pack: Path) -> None:
    case = "tests:\n  - {name: x, call: {tool: bash}, expect: block, rule: absent}\n"
    pack.write_text(PACK.replace("pack: mine", "pack: mine\nmodes: {gone: monitor}") + case)
    assert {f.path for f in faults(pack)} == {"modes.gone", "tests[0].rule"}


def test_a_list_is_used_by_name(pack: Path) -> None:
    pack.write_text(
        PACK.replace("rules:", "lists: {removers: [rm, rmdir]}\nrules:").replace(
            "program: rm", "program: [$removers, dd]"
        )
    )
    rule = load_policy([str(pack)]).rules[0]
    assert rule.commands is not None
    assert rule.commands[0].programs is not None
    assert rule.commands[0].programs.exact == {"rm", "rmdir", "dd"}


def test_words_that_yaml_used_to_read_as_truth_are_words(pack: Path) -> None:
    pack.write_text(PACK.replace("program: rm", "program: [yes, no, on]"))
    assert load_policy([str(pack)]).rules
