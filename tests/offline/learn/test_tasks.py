"""Reading tasks: every line's fault, and the tasks that are shipped."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.offline.learn.judging import Said, judge
from guardproxy.offline.learn.tasks import BadTasks, Kind, parse_line, read_tasks, shipped_files
from guardproxy.prefix.refusals import is_refusal

KEYS = ("name", "arguments", "type", "function", "parameters", "matches", "one_of", "min", "properties", "$ref", "x")


def written(folder: Path, *rows: object, name: str = "tasks.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return file


def test_a_line_is_a_task(row) -> None:
    task, problems = parse_line(json.dumps(row(results={"bash": "12 %"})).encode())
    assert not problems
    assert task is not None
    assert (task.id, task.kind, task.pair, task.system) == ("disk", Kind.BENIGN, "disk", "")
    assert task.results == {"bash": "12 %"}
    assert task.example is not None
    assert task.done_by(task.example)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"id": ""}, "id"),
        ({"user": "  "}, "user"),
        ({"domain": 3}, "domain"),
        ({"kind": "bad"}, "kind"),
        ({"system": 1}, "system"),
        ({"pair": []}, "pair"),
        ({"note": "x"}, "note"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        (
            {"tools": [{"type": "function", "function": {"name": "bash", "parameters": {"type": 3}}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [{"type": "function", "function": {"name": "bash", "description": 7}}], "example": None}, ""),
        ({"success": []}, "success"),
        ({"success": [{"name": "sh"}], "example": None}, "success[0].name"),
        ({"results": {"bash": 1}}, "results"),
        ({"results": {"sh": "x"}}, "results.sh"),
        ({"example": {"name": "bash"}}, "example"),
        ({"example": {"name": "bash", "arguments": {"command": "ls"}}}, "example"),
        ({"success": [{"name": "bash"}], "example": {"name": "bash", "arguments": {}}}, "example.arguments"),
    ],
    ids=str,
)
def test_a_fault_names_its_place(row, fields: dict, place: str) -> None:
    task, problems = parse_line(json.dumps(row(**fields)).encode())
    assert task is None
    assert [at for at, _ in problems] == [place]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | st.text(max_size=5) | st.just("("),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_line_with_anything_anywhere_is_a_task_or_has_faults(row, data: st.DataObject) -> None:
    tree = json.loads(json.dumps(row(results={"bash": "x"})))
    node: Any = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            node[key] = data.draw(ANYTHING)
            break
        node = node[key]
    task, problems = parse_line(json.dumps(tree).encode())
    assert (task is None) is bool(problems)


def test_every_fault_of_every_line_of_every_file(row, tmp_path: Path) -> None:
    first = written(tmp_path, row(), row(id="a", kind="x", user=""), "{\n", "\n", row())
    second = written(tmp_path, row(id="b", kind="harmful", tools=7), name="more.jsonl")
    with pytest.raises(BadTasks) as caught:
        read_tasks([first, second, tmp_path / "gone.jsonl"])
    told = [str(fault).replace(str(tmp_path), "") for fault in caught.value.faults]
    assert [line.split(": ")[0] for line in told] == [
        "/tasks.jsonl:2",
        "/tasks.jsonl:2",
        "/tasks.jsonl:3",
        "/tasks.jsonl:5",
        "/more.jsonl:1",
        "/gone.jsonl",
    ]
    assert told[3].endswith("id: the same as that of an earlier task")


def test_both_kinds_are_needed(row, tmp_path: Path) -> None:
    with pytest.raises(BadTasks, match="no harmful task"):
        read_tasks([written(tmp_path, row())])


def test_the_digest_is_of_the_content(row, tmp_path: Path) -> None:
    rows = [row(), row(id="b", kind="harmful")]
    one, same = written(tmp_path, *rows), written(tmp_path, *rows, name="other.jsonl")
    assert read_tasks([one]).digest == read_tasks([same]).digest
    assert read_tasks([one]).digest != read_tasks([written(tmp_path, rows[1], rows[0])]).digest


class TestShipped:
    tasks = read_tasks(shipped_files()).tasks

    def test_there_are_enough_of_each_kind_and_domain(self) -> None:
        assert len(self.tasks) >= 100
        domains = Counter((task.domain, task.kind) for task in self.tasks)
        assert {domain for domain, _ in domains} == {
            *("calendar", "cloud", "code", "files"),
            *("mail", "office", "payments", "shell", "web"),
        }
        assert min(domains.values()) >= 6

    def test_they_come_in_pairs_over_the_same_tools(self) -> None:
        for pair in {task.pair for task in self.tasks}:
            benign, harmful = sorted((t for t in self.tasks if t.pair == pair), key=lambda task: task.kind)
            assert (benign.kind, harmful.kind) == (Kind.BENIGN, Kind.HARMFUL)
            assert benign.tools == harmful.tools
            assert benign.system == harmful.system

    def test_no_check_passes_every_call(self) -> None:
        for task in self.tasks:
            assert task.example is not None, task.id
            assert judge(task, Said((), (task.example,))).done
            assert all(check.arguments for check in task.success), task.id

    def test_an_attack_does_not_do_the_benign_task_of_its_pair(self) -> None:
        by_pair = {(task.pair, task.kind): task for task in self.tasks}
        for pair in {task.pair for task in self.tasks}:
            benign, harmful = by_pair[pair, Kind.BENIGN], by_pair[pair, Kind.HARMFUL]
            assert harmful.example is not None
            assert not benign.done_by(harmful.example), pair

    def test_no_two_ask_the_same_and_none_reads_as_a_refusal(self) -> None:
        assert len({task.user for task in self.tasks}) == len(self.tasks)
        assert not any(is_refusal(task.user) for task in self.tasks if task.kind is Kind.BENIGN)

    def test_every_address_is_reserved_for_examples(self) -> None:
        text = json.dumps([[task.user, task.example.arguments] for task in self.tasks if task.example])
        hosts = re.findall(r"(?:https?://|@)([\w.-]+\w)", text)
        assert hosts
        assert [host for host in hosts if not host.endswith(".example")] == []
