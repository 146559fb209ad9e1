import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from guardproxy.decision import Finding, Verdict
from guardproxy.model import ToolCall
from guardproxy.offline.evaluate.judging import Judge
from guardproxy.offline.evaluate.results import Report, Sampling
from guardproxy.offline.evaluate.rows import Kind
from guardproxy.offline.evaluate.run import BadData, judge_all, plan
from guardproxy.runtime import Runtime
from guardproxy.surfaces.surface import RequestRules
from guardproxy.taint import TaintMemory
from guardproxy.testing.fakes import FakeGuard, FakeRouter, FakeUpstream

RULES = RequestRules()


def written(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def faults(*files: Path) -> list[str]:
    with pytest.raises(BadData) as bad:
        plan(files, None, RULES)
    return list(map(str, bad.value.faults))


def suspects_wiping(call: ToolCall) -> list[Finding]:
    bad = "wipe" in call.arguments
    return [Finding("model", "r", "c", Verdict.BLOCK if bad else Verdict.ALLOW, score=0.9 if bad else 0.1)]


def measured(file: Path, *, baseline: bool = False) -> Report:
    runtime = Runtime("r1", (FakeGuard(suspects_wiping),), FakeRouter(FakeUpstream([])), TaintMemory())
    made = plan([file], None, RULES)
    run = asyncio.run(judge_all(made, Judge(runtime), Sampling(50, 0), lambda: None, baseline))
    return run.report(["fake"])


def call(command: str) -> dict[str, Any]:
    return {"name": "bash", "arguments": {"command": command}}


def test_every_fault_of_every_file_is_told(make, tmp_path: Path) -> None:
    one = written(tmp_path / "one.jsonl", [make(label="?"), make(), make(id="")])
    two = written(tmp_path / "two.jsonl", [make(history=[{"role": 3}]), make(tools=[{"type": "search"}])])
    assert faults(one, two, tmp_path / "gone.jsonl") == [
        f"{one}:1: label: must be harmful or benign",
        f"{one}:3: id: must be a non-empty string",
        f"{two}:1: as a request: 'messages[0].role' must be a non-empty string.",
        f"{two}:2: as a request: 'tools[0].type' must be function or custom: "
        "tools that the provider runs itself are refused.",
        f"{tmp_path}/gone.jsonl: cannot be read: No such file or directory",
    ]


def test_rows_are_not_counted_twice(make, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [make(id="a"), make(id="b"), make(id="a")])
    assert faults(file) == [f"{file}:3: id: the same as that of an earlier row"]


def test_nothing_to_judge_is_a_fault(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [])
    assert faults(file) == [f"{file}: holds no row"]


def test_a_limit_holds_for_each_source_and_does_not_depend_on_the_order(make, tmp_path: Path) -> None:
    rows = [make(source=source, id=f"{source}-{i}") for source in ("a", "b") for i in range(30)]
    forward = plan([written(tmp_path / "f.jsonl", rows)], 7, RULES)
    backward = plan([written(tmp_path / "b.jsonl", rows[::-1])], 7, RULES)
    chosen = [row.id for row in forward.rows()]
    assert forward.total == len(chosen) == 14
    assert Counter(id[0] for id in chosen) == {"a": 7, "b": 7}
    assert set(chosen) == {row.id for row in backward.rows()}
    assert chosen != [f"a-{i}" for i in range(7)] + [f"b-{i}" for i in range(7)]


def test_a_limit_above_what_there_is_takes_everything(make, tmp_path: Path) -> None:
    made = plan([written(tmp_path / "rows.jsonl", [make() for _ in range(3)])], 100, RULES)
    assert made.total == len(list(made.rows())) == 3


def test_rows_are_measured_by_source_and_kind(make, tmp_path: Path) -> None:
    rows = [
        make(tool_call=call("wipe"), label="harmful"),
        make(tool_call=call("hide"), label="harmful"),
        make(),
        make(kind="tool_result", tool_result="x"),
        make(source="theirs", tool_call=call("wipe cache")),
    ]
    report = measured(written(tmp_path / "rows.jsonl", rows))
    ours = report.rows.groups["ours", Kind.TOOL_CALL]
    assert set(report.rows.groups) == {
        ("ours", Kind.TOOL_CALL),
        ("ours", Kind.TOOL_RESULT),
        ("theirs", Kind.TOOL_CALL),
    }
    assert (len(ours.sample), ours.sample.positives) == (3, 2)
    assert (ours.estimate.values["recall"], ours.estimate.values["fpr"]) == (0.5, 0.0)
    assert report.rows.groups["theirs", Kind.TOOL_CALL].estimate.values["fpr"] == 1.0
    assert report.rows.macro == {}


def test_read_steps_stand_apart_but_count_in_their_episode(make, tmp_path: Path) -> None:
    rows = [
        make(tool_call=call("wipe a"), label="harmful", note="case=1; aux_read_step"),
        make(tool_call=call("send a"), label="harmful", note="case=1"),
        make(note="case=1"),
    ]
    report = measured(written(tmp_path / "rows.jsonl", rows))
    at = "ours", Kind.TOOL_CALL
    assert report.rows.groups[at].estimate.values["recall"] == 0.0
    assert report.read_steps.groups[at].estimate.values["recall"] == 1.0
    episodes = report.episodes.groups[at]
    assert (len(episodes.sample), episodes.sample.positives) == (2, 1)
    assert (episodes.estimate.values["recall"], episodes.estimate.values["fpr"]) == (1.0, 0.0)


def test_a_false_alarm_does_not_stop_an_attack(make, tmp_path: Path) -> None:
    rows = [make(tool_call=call("wipe cache"), note="case=1"), make(label="harmful", note="case=1")]
    values = measured(written(tmp_path / "rows.jsonl", rows)).episodes.groups["ours", Kind.TOOL_CALL].estimate.values
    assert (values["recall"], values["fpr"]) == (0.0, 1.0)


def test_soft_labels_are_named_and_left_out_of_the_second_average(make, tmp_path: Path) -> None:
    rows = [
        make(source=source, tool_call=call(f"wipe {i}"), label=("benign", "harmful")[i % 2], user_task=f"{i}")
        for source in ("firm", "toolemu")
        for i in range(40)
    ]
    report = measured(written(tmp_path / "rows.jsonl", rows))
    assert report.soft == ("toolemu",)
    assert report.rows.macro[Kind.TOOL_CALL].sources == ("firm", "toolemu")
    assert report.firm[Kind.TOOL_CALL].sources == ("firm",)


def test_what_no_guard_reads_is_said(make, tmp_path: Path) -> None:
    rows = [make(kind="user_request", label=label) for label in ("harmful", "benign")]
    report = measured(written(tmp_path / "rows.jsonl", rows))
    assert report.unjudged == {("ours", Kind.USER_REQUEST): (2, 1)}
    assert report.rows.groups == {}
    assert report.latency == {}


def test_the_baseline_is_measured_on_the_same_rows(make, tmp_path: Path) -> None:
    rows = [
        make(source=source, tool_call=call(f"{word} {i}"), label=label, note="aux_read_step" if i == 9 else None)
        for source in ("a", "b")
        for word, label in (("wipe", "harmful"), ("list", "benign"))
        for i in range(10)
    ]
    report = measured(written(tmp_path / "rows.jsonl", rows), baseline=True)
    assert report.baseline is not None
    for at, group in report.baseline.groups.items():
        assert len(group.sample) == len(report.rows.groups[at].sample) == 18
        assert group.estimate.values["auroc"] == 1.0


def test_without_being_asked_for_there_is_no_baseline(make, tmp_path: Path) -> None:
    assert measured(written(tmp_path / "rows.jsonl", [make()])).baseline is None
