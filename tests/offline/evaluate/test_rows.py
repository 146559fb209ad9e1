import json
from pathlib import Path
from typing import Any

import pytest

from guardproxy.offline.evaluate import rows
from guardproxy.offline.evaluate.rows import BadRow, Kind, Row, faults_of, parse, read


def problems(row: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(BadRow) as bad:
        parse(row)
    return bad.value.problems


def test_what_is_written_is_read(make) -> None:
    row = parse(make(label="harmful", system="Be brief.", note="case=1"))
    assert (row.source, row.kind, row.harmful, row.system) == ("ours", Kind.TOOL_CALL, True, "Be brief.")
    assert row.call == {"name": "bash", "arguments": {"command": "ls"}}


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"id": ""}, "id"),
        ({"source": None}, "source"),
        ({"label": "bad"}, "label"),
        ({"kind": "call"}, "kind"),
        ({"kind": ["tool_call"]}, "kind"),
        ({"user_task": 3}, "user_task"),
        ({"tools": {}}, "tools"),
        ({"history": "hello"}, "history"),
        ({"tool_call": "ls"}, "tool_call"),
        ({"tool_call": {"name": "", "arguments": {}}}, "tool_call.name"),
        ({"tool_call": {"name": "bash", "arguments": "{}"}}, "tool_call.arguments"),
        ({"tool_call": None}, "tool_call"),
        ({"kind": "tool_result"}, "tool_result"),
        ({"kind": "user_request", "user_task": None}, "user_task"),
        ({"note": ["case=1"]}, "note"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_fault_names_its_field(make, fields: dict[str, Any], where: str) -> None:
    assert [field for field, _ in problems(make(**fields))] == [where]


def test_all_that_is_wrong_with_a_row_is_said_at_once(make) -> None:
    assert [field for field, _ in problems(make(id=None, label=1, history=7))] == ["id", "label", "history"]


def test_lines_keep_their_numbers_and_bad_ones_do_not_hide_the_rest(make, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(make()), "", "{", '{"id": 1, "id": 2}', "[]", json.dumps(make()), '{"id": "\\ud800"}']
    file.write_bytes("\r\n".join(lines).encode())
    found = list(read(file))
    assert [(number, type(row)) for number, row in found] == [
        (1, Row),
        (3, BadRow),
        (4, BadRow),
        (5, BadRow),
        (6, Row),
        (7, BadRow),
    ]


def test_a_line_without_end_does_not_fill_the_memory(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = json.dumps(make())
    monkeypatch.setattr(rows, "MAX_LINE", len(good) + 1)
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{'x' * len(good) * 5}\n{good}\n{'y' * len(good) * 3}")
    assert [(number, type(row)) for number, row in read(file)] == [(1, BadRow), (2, Row), (3, BadRow)]


def test_a_fault_tells_file_line_and_field() -> None:
    bad = BadRow([("label", "must be harmful or benign"), ("", "not JSON")])
    assert list(map(str, faults_of(Path("a.jsonl"), 7, bad))) == [
        "a.jsonl:7: label: must be harmful or benign",
        "a.jsonl:7: not JSON",
    ]


def test_flags_come_from_the_note_and_the_source(make) -> None:
    plain, step, soft = (parse(make(note=note)) for note in (None, "x; aux_read_step", "ToolEmu official_1"))
    assert [(row.read_step, row.soft) for row in (plain, step, soft)] == [(False, False), (True, False), (False, True)]
    assert parse(make(source="r-judge")).soft
