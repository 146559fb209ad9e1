"""A report as a plain tree. A number that does not exist is null."""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from guardproxy.offline.evaluate.metrics import METRICS, Estimate
from guardproxy.offline.evaluate.results import Average, Report, Table
from guardproxy.offline.evaluate.rows import Kind

Tree: TypeAlias = dict[str, Any]


def tree_of(report: Report) -> Tree:
    sources = _sources(report.rows)
    for (source, kind), (total, harmful) in report.unjudged.items():
        sources.setdefault(source, {})[kind.value] = {"n": total, "harmful": harmful, **_NOTHING}
    return {
        "sources": dict(sorted(sources.items())),
        "macro": _every_kind(report, _macro(report.rows.macro)),
        "latency_ms": _latency(report, None),
        "latency_ms_by_kind": {kind.value: _latency(report, kind) for kind in Kind if kind in report.latency},
        "episodes": _table(report.episodes),
        "apart": {
            "aux_read_step": _sources(report.read_steps),
            "soft": list(report.soft),
            "macro_without_soft": _macro(report.firm),
        },
        "not_judged": sorted({kind.value for _, kind in report.unjudged}),
        "failures": dict(sorted(report.failures.items())),
        "guards": list(report.guards),
        "resamples": report.resamples,
        **({} if report.baseline is None else {"baseline": _table(report.baseline)}),
    }


def _every_kind(report: Report, macro: Tree) -> Tree:
    """The kinds too of which no source has enough rows of both labels."""
    present = {kind for _, kind in (*report.rows.groups, *report.unjudged)}
    return {
        kind.value: macro.get(kind.value, {"sources": [], "n": 0, "harmful": 0, **_NOTHING})
        for kind in Kind
        if kind in present
    }


_NOTHING: Tree = {**dict.fromkeys(METRICS), "ci": dict.fromkeys(METRICS)}


def _table(table: Table) -> Tree:
    return {"sources": _sources(table), "macro": _macro(table.macro)}


def _sources(table: Table) -> Tree:
    sources: Tree = {}
    for (source, kind), group in table.groups.items():
        counts = {"n": len(group.sample), "harmful": group.sample.positives}
        sources.setdefault(source, {})[kind.value] = counts | _numbers(group.estimate)
    return sources


def _macro(averages: Mapping[Kind, Average]) -> Tree:
    return {
        kind.value: {"sources": list(each.sources), "n": each.total, "harmful": each.harmful} | _numbers(each.estimate)
        for kind, each in averages.items()
    }


def _numbers(estimate: Estimate) -> Tree:
    values = {metric: _number(estimate.values[metric]) for metric in METRICS}
    return values | {"ci": {metric: _interval(estimate, metric) for metric in METRICS}}


def _interval(estimate: Estimate, metric: str) -> list[float | None] | None:
    found = estimate.interval(metric)
    return None if found is None else [_number(each) for each in found]


def _latency(report: Report, kind: Kind | None) -> Tree:
    latency = report.latency.get(kind)
    return {"p50": None, "p99": None} if latency is None else {"p50": _number(latency.p50), "p99": _number(latency.p99)}


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
