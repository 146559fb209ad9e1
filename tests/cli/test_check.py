"""`guardproxy check`: faults of configurations and packs, told apart by what is in them."""

from pathlib import Path

import pytest

SHIPPED = Path(__file__).parents[2] / "policies" / "prefixes"

pytestmark = pytest.mark.e2e

PACK = """\
version: 1
pack: own
rules:
  - {id: no-rm, description: d, code: c_c, command: {program: rm}}
tests:
  - {name: rm, call: {tool: bash, arguments: {command: rm x}}, expect: EXPECT}
"""


def test_without_files_it_checks_what_ships_and_leaves_nothing_behind(program) -> None:
    result = program.run("check")
    assert result.returncode == 0, result.stderr
    assert "configuration (built in): ok" in result.stdout
    assert "pack default: ok" in result.stdout
    assert list(program.folder.iterdir()) == []


def test_configurations_and_packs_are_told_apart(program) -> None:
    (program.folder / "own.yaml").write_text(PACK.replace("EXPECT", "block"))
    (program.folder / "guardproxy.yaml").write_text("policy: [own.yaml]\nguards: {classifier: {enabled: false}}\n")
    result = program.run("check", ".", "own.yaml")
    assert result.returncode == 0, result.stderr
    assert ".: ok, 1 rules, 1 tests passed, upstreams embedded (embedded)" in result.stdout
    assert "own.yaml: ok, 1 rules, 1 tests passed" in result.stdout


def test_every_fault_of_every_file_is_told(program) -> None:
    (program.folder / "one.yaml").write_text("policy: [default]\nlisten: {prot: 1}\n")
    (program.folder / "two.yaml").write_text(PACK.replace("EXPECT", "allow"))
    (program.folder / "three.yaml").write_text("version: 1\npack: third\nrules: []\n")
    result = program.run("check", "one.yaml", "two.yaml", "three.yaml", "gone.yaml")
    assert result.returncode == 64
    for place in (
        "one.yaml:2: listen.prot",
        "two.yaml:6: tests: rm",
        "three.yaml:1: a pack needs at least one rule",
        "gone.yaml: cannot be read",
    ):
        assert place in result.stderr.replace(f"{program.folder}/", "")
    assert "guardproxy: 4 faults in the configuration" in result.stderr


def test_a_prefix_is_checked_by_itself_and_where_a_configuration_names_it(program) -> None:
    starter = (SHIPPED / "starter.yaml").read_text()
    (program.folder / "prefix.yaml").write_text(starter)
    (program.folder / "altered.yaml").write_text(starter.replace("carry out", "do"))
    guards = "guards: {classifier: {enabled: false}}\n"
    (program.folder / "guardproxy.yaml").write_text(f"prefix: {{file: prefix.yaml, floor: 0.9}}\n{guards}")
    whole = program.run("check", "prefix.yaml")
    assert (whole.returncode, whole.stdout) == (0, "prefix.yaml: ok, prefix starter, prefill, not measured, no gate\n")
    result = program.run("check", "prefix.yaml", "altered.yaml", "guardproxy.yaml")
    assert result.returncode == 64
    assert "digest: does not belong to this content" in result.stderr
    assert "scores: was not measured, and prefix.floor asks for 90% of benign tasks done" in result.stderr
