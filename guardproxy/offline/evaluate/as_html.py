"""A report as one page that needs nothing from anywhere else."""

import math
from collections.abc import Iterator, Mapping
from html import escape

from guardproxy import __version__
from guardproxy.offline.evaluate.metrics import METRICS, MIN_ROWS, Estimate
from guardproxy.offline.evaluate.plots import reliability_plot, roc_plot
from guardproxy.offline.evaluate.results import Average, Group, Report, Table
from guardproxy.offline.evaluate.rows import Kind

_HEADINGS = ("AUROC", "recall", "false positives", "precision", "recall at 1 % fp", "ECE")
_STYLE = """
:root { color-scheme: light dark; --text: #1d1f23; --back: #fff; --soft: #6b7280; --rule: #d9dce1; --own: #1f6feb;
  --bag: #b45309; --here: #c11d4e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #14171b; --soft: #9aa3ae; --rule: #343a42;
  --own: #6ea8ff; --bag: #f0a64b; --here: #ff6f9c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; }
td small, p.note, figcaption { color: var(--soft); }
tr.macro td { font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: 0; } svg { display: inline-block; max-width: 100%; }
svg text { font: 10px system-ui, sans-serif; fill: var(--soft); }
path { fill: none; } .grid { stroke: var(--rule); stroke-width: .5; } .chance { stroke: var(--soft);
  stroke-dasharray: 3 3; }
.own { stroke: var(--own); stroke-width: 2; } .bag { stroke: var(--bag); stroke-width: 1.5; stroke-dasharray: 5 3; }
.here { fill: var(--here); } .bin { fill: var(--own); fill-opacity: .6; }
"""


def page_of(report: Report) -> str:
    body = "\n".join(_body(report))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = "<title>guardproxy evaluate</title>"
    head = f'<html lang="en"><head>{head}{title}<style>{_STYLE}</style></head>'
    return f"<!doctype html>\n{head}\n<body>{body}</body></html>\n"


def _body(report: Report) -> Iterator[str]:
    yield "<h1>How well the guards judge</h1>"
    yield (
        f"<p>guardproxy {escape(__version__)}. Guards: {escape(', '.join(report.guards))}, all taken as enforcing. "
        f"In small print the 95 % interval, from {report.resamples} resamples of the cases.</p>"
    )
    for kind in report.kinds():
        yield f"<h2>{kind.value}</h2>"
        yield from _table("By row", report.rows, kind, report)
        if report.baseline is not None:
            yield from _table("Bag of words, the judged family left out", report.baseline, kind, report)
        yield from _table("Steps of an attack that only read (in no table of rows)", report.read_steps, kind, report)
        yield from _table("By episode", report.episodes, kind, report)
        yield from _plots(report, kind)
    yield from _closing(report)


def _table(title: str, table: Table, kind: Kind, report: Report) -> Iterator[str]:
    groups = table.of(kind)
    if not groups:
        return
    headings = "".join(f"<th>{heading}</th>" for heading in ("source", "n", "harmful", *_HEADINGS))
    yield f'<h3>{title}</h3><div class="wide"><table><tr>{headings}</tr>'
    for source, group in groups:
        name = escape(source) + (" *" if source in report.soft else "")
        counts = f"<td>{len(group.sample)}</td><td>{group.sample.positives}</td>"
        yield f"<tr><td>{name}</td>{counts}{_cells(group.estimate)}</tr>"
    yield from _macro("macro", table.macro, kind)
    if table is report.rows and report.soft:
        yield from _macro("macro, without soft labels", report.firm, kind)
    yield "</table></div>"


def _macro(name: str, averages: Mapping[Kind, Average], kind: Kind) -> Iterator[str]:
    if kind in averages:
        average = averages[kind]
        sources = escape(", ".join(average.sources))
        named = f'<td title="{sources}">{name} ({len(average.sources)})</td>'
        named += f"<td>{average.total}</td><td>{average.harmful}</td>"
        yield f'<tr class="macro">{named}{_cells(average.estimate)}</tr>'


def _cells(estimate: Estimate) -> str:
    return "".join(f"<td>{_cell(estimate, metric)}</td>" for metric in METRICS)


def _cell(estimate: Estimate, metric: str) -> str:
    value, interval = estimate.values[metric], estimate.interval(metric)
    if not math.isfinite(value):
        return "-"
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} <small>{interval[0]:.3f}-{interval[1]:.3f}</small>"


def _plots(report: Report, kind: Kind) -> Iterator[str]:
    baseline = {} if report.baseline is None else dict(report.baseline.of(kind))
    figures = [figure for source, group in report.rows.of(kind) for figure in _figures(source, group, baseline)]
    if figures:
        told = "The dot is where the guards stand." + (" Dashed: the bag of words." if baseline else "")
        yield f'<h3>Plots</h3><p class="note">{told}</p><div class="plots">{"".join(figures)}</div>'


def _figures(source: str, group: Group, baseline: Mapping[str, Group]) -> Iterator[str]:
    """A curve needs both labels, a diagram needs probabilities."""
    sample, name = group.sample, escape(source)
    if 0 < sample.positives < len(sample):
        other = baseline[source].sample if source in baseline else None
        yield f"<figure>{roc_plot(sample, other, source)}<figcaption>{name}: ROC</figcaption></figure>"
    if sample.scored:
        yield f"<figure>{reliability_plot(sample, source)}<figcaption>{name}: reliability</figcaption></figure>"


def _closing(report: Report) -> Iterator[str]:
    yield "<h2>Notes</h2><ul>"
    for (source, kind), (total, harmful) in report.unjudged.items():
        counts = f"{total} rows, {harmful} harmful"
        yield f"<li>Not judged, as no guard reads it: {kind.value} of {escape(source)} ({counts}).</li>"
    if report.soft:
        yield f"<li>* Soft labels: {escape(', '.join(report.soft))}.</li>"
    yield f"<li>macro: the mean over sources with {MIN_ROWS} of each label or more.</li>"
    for failure, rows in sorted(report.failures.items()):
        yield f"<li>On {rows} rows a guard gave no verdict ({escape(failure)}).</li>"
    for each, latency in report.latency.items():
        name = each.value if each else "all"
        yield f"<li>Latency, {name}: p50 {latency.p50:.3f} ms, p99 {latency.p99:.3f} ms.</li>"
    yield "</ul>"
