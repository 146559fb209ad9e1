"""One decision's story, read back from the audit log: `find` looks it up, `tell` puts it into words.

The log's strings came from models and may have been tampered with since: whatever is shown is escaped for a terminal.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from guardproxy import strict_json
from guardproxy.telemetry.audit_file import backup, lines_backwards
from guardproxy.telemetry.log import one_line

Record: TypeAlias = dict[str, Any]


def find(path: Path, id: str) -> Record | None:
    """The record of a decision, newest first, rotated files included. Raises OSError where `path` cannot be read."""
    wanted = id.encode()
    for line in _all_lines(path):
        if wanted in line:
            record = _parse(line)
            if record is not None and record.get("id") == id:
                return record
    return None


def _all_lines(path: Path) -> Iterator[bytes]:
    yield from lines_backwards(path)
    for number in count(1):
        if not backup(path, number).exists():
            return
        yield from lines_backwards(backup(path, number))


def _parse(line: bytes) -> Record | None:
    """None for a line that a crash cut short."""
    try:
        return dict(strict_json.decode_object(line))
    except strict_json.MalformedJson:
        return None


def tell(record: Record) -> str:
    """The story in plain text, a few lines long."""
    lines = [*_asked(record), *_prefix(record), *_attempts(record), *_gaps(record), *_timings(record)]
    return "\n".join(map(one_line, lines)) + "\n"


def _asked(record: Record) -> Iterator[str]:
    how = "streamed" if record.get("stream") else "whole"
    yield f"Exchange {_get(record, 'id')} at {_get(record, 'time')}"
    yield (
        f"  A client asked for model {_get(record, 'model')} on {_get(record, 'surface')} ({how}); "
        f"upstream {_get(record, 'upstream')} was to answer."
    )
    status = record.get("status") or "none"
    code = f", {record['error_code']}" if record.get("error_code") else ""
    yield f"  It ended as {_get(record, 'outcome')} (HTTP status {status}{code}); revision {_get(record, 'revision')}."
    if record.get("upstream_request_id"):
        yield f"  The provider knows it as {record['upstream_request_id']}."


def _prefix(record: Record) -> Iterator[str]:
    prefix = _object(record.get("prefix"))
    if prefix.get("outcome", "off") != "off":
        arm = f", arm {_get(prefix, 'arm')}" if prefix.get("arm") else ""
        yield f"  Learned prefix {_get(prefix, 'id')}: {_get(prefix, 'position')}, {_get(prefix, 'outcome')}{arm}."
    kinds = [f"{_get(each, 'kind')} ({_get(each, 'count')})" for each in _objects(prefix.get("tampering"))]
    if kinds:
        yield f"  Something works against the prefix: {', '.join(kinds)}."
    tainted = record.get("tainted_results")
    if isinstance(tainted, list) and tainted:
        yield f"  {len(tainted)} tool result(s) of the conversation were flagged, which makes its calls more suspect."
    risk = record.get("request_risk")
    if isinstance(risk, float | int) and 0 <= risk <= 1:
        flagged = "flagged, which makes its calls more suspect" if record.get("request_flagged") else "not flagged"
        yield f"  The user's request was judged: risk {risk:.3f}, {flagged}."
    elif record.get("request_flagged"):
        yield "  A guard gave no verdict on the user's request, which makes its calls more suspect."


def _attempts(record: Record) -> Iterator[str]:
    attempts = _objects(record.get("attempts"))
    for number, attempt in enumerate(attempts, 1):
        if len(attempts) > 1:
            yield f"  Turn {number} of {len(attempts)}: {_get(attempt, 'action')}"
        if not attempt.get("calls"):
            yield "  The model called no tool."
        for call in _objects(attempt.get("calls")):
            yield from _call(call)
        yield from _guards(attempt)


def _call(call: Record) -> Iterator[str]:
    arguments = _object(call.get("arguments"))
    yield f"  Call of {_get(call, 'tool')} ({_get(call, 'id')}): {_get(call, 'action').upper()}"
    yield f"    arguments: {_get(arguments, 'length')} characters{_values(arguments)}"
    if "text" in arguments:
        yield f"    {arguments['text']}"
    findings = _objects(call.get("findings"))
    for finding in findings:
        yield from _finding(finding)
    if not findings:
        yield "    No guard found anything."
    elif call.get("verdict") != call.get("action"):
        yield f"    Said: {_get(call, 'verdict')}. Done: {_get(call, 'action')}, as {_difference(findings)}"


def _values(arguments: Record) -> str:
    values = _objects(arguments.get("values"))
    return (
        ": " + ", ".join(f"{_get(v, 'name')} ({_get(v, 'type')}, {_get(v, 'length')})" for v in values)
        if values
        else ""
    )


def _finding(finding: Record) -> Iterator[str]:
    score = f", score {finding['score']}" if finding.get("score") is not None else ""
    yield (
        f"    {_get(finding, 'guard')} says {_get(finding, 'verdict')}: rule {_get(finding, 'rule')}, "
        f"code {_get(finding, 'code')}{score} [{_get(finding, 'mode')}]"
    )
    if finding.get("advice"):
        yield f"      {finding['advice']}"


def _difference(findings: list[Record]) -> str:
    if any(finding.get("mode") == "monitor" for finding in findings):
        return "findings in monitor mode are recorded and not acted on."
    return "asking again was not possible."


def _guards(attempt: Record) -> Iterator[str]:
    reports = [
        f"{_get(r, 'guard')} {_get(r, 'outcome')} in {_get(r, 'ms')} ms{' (cached)' if r.get('cached') else ''}"
        for r in _objects(attempt.get("guards"))
    ]
    if reports:
        yield f"  Guards: {'; '.join(reports)}"
    failed = attempt.get("failures_allowed")
    if isinstance(failed, list) and failed:
        yield f"  Failed, and let pass by on_error: {', '.join(map(str, failed))}"


def _gaps(record: Record) -> Iterator[str]:
    for gap in _objects(record.get("uninspected")):
        yield f"  NOT inspected: {_get(gap, 'reason')} ({_get(gap, 'count')})"


def _timings(record: Record) -> Iterator[str]:
    timings = _object(record.get("timings"))
    shown = (f"{name.removesuffix('_ms')} {value} ms" for name, value in timings.items())
    yield f"  Time: {', '.join(shown)}"


def _get(record: Record, name: str) -> str:
    value = record.get(name)
    return "-" if value is None or value == "" else str(value)


def _object(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Record]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
