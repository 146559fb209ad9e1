"""A report as plain text, for a terminal or a log."""

import math
from collections.abc import Iterator, Mapping

from guardproxy.offline.evaluate.metrics import METRICS, MIN_ROWS, Estimate
from guardproxy.offline.evaluate.results import Average, Report, Table
from guardproxy.offline.evaluate.rows import Kind

_HEADINGS = ("AUROC", "recall", "false pos.", "precision", "rec@1%fp", "ECE")
_CELL = 14


def text_of(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"guards: {', '.join(report.guards)}, all taken as enforcing; 95 % intervals of {report.resamples} resamples"
    for kind in report.kinds():
        yield from _table(f"{kind.value}, by row", report.rows, kind, report.soft)
        if any(source in report.soft for source, _ in report.rows.of(kind)):
            yield from _macro("macro, no soft", report.firm, kind)
        if report.baseline is not None:
            yield from _table(f"{kind.value}, bag of words (family left out)", report.baseline, kind, report.soft)
        yield from _table(f"{kind.value}, steps that only read (in no table of rows)", report.read_steps, kind, ())
        yield from _table(f"{kind.value}, by episode", report.episodes, kind, report.soft)
    yield from _closing(report)


def _table(title: str, table: Table, kind: Kind, soft: tuple[str, ...]) -> Iterator[str]:
    groups = table.of(kind)
    if not groups:
        return
    yield ""
    yield title
    yield _line("", "n", "harmful", _HEADINGS)
    for source, group in groups:
        name = f"{source} *" if source in soft else source
        yield _line(name, str(len(group.sample)), str(group.sample.positives), _cells(group.estimate))
    yield from _macro("macro", table.macro, kind)


def _macro(name: str, averages: Mapping[Kind, Average], kind: Kind) -> Iterator[str]:
    if kind in averages:
        average = averages[kind]
        counts = str(average.total), str(average.harmful)
        yield _line(f"{name} ({len(average.sources)})", *counts, _cells(average.estimate))


def _line(name: str, n: str, harmful: str, cells: tuple[str, ...]) -> str:
    return f"  {name:<20} {n:>5} {harmful:>7}  {'  '.join(f'{cell:<{_CELL}}' for cell in cells)}".rstrip()


def _cells(estimate: Estimate) -> tuple[str, ...]:
    return tuple(_cell(estimate, metric) for metric in METRICS)


def _cell(estimate: Estimate, metric: str) -> str:
    value = estimate.values[metric]
    if not math.isfinite(value):
        return "-"
    interval = estimate.interval(metric)
    return _short(value) if interval is None else f"{_short(value)} {_short(interval[0])}-{_short(interval[1])}"


def _short(value: float) -> str:
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text[:4]


def _closing(report: Report) -> Iterator[str]:
    yield ""
    for (source, kind), (total, harmful) in report.unjudged.items():
        yield f"not judged: {kind.value} of {source} ({total} rows, {harmful} harmful): no guard reads it"
    if report.soft:
        yield f"* soft labels: {', '.join(report.soft)}"
    yield f"macro: the mean over sources with {MIN_ROWS} of each label or more (their number in brackets)"
    for failure, rows in sorted(report.failures.items()):
        yield f"WARNING: on {rows} rows a guard gave no verdict ({failure})"
    for each, latency in report.latency.items():
        yield f"latency {each.value if each else 'of all'}: p50 {latency.p50:.3f} ms, p99 {latency.p99:.3f} ms"
