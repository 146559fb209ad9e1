"""Writes guardproxy.json, the Grafana dashboard: python deploy/grafana/dashboard.py

The panels are the table below; the rest is what Grafana wants around them (schema version 39, Grafana 11 and later).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WIDTH = 24  # Grafana's grid
HEIGHT = 7


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """`kind` is Grafana's panel type; `alarm` is the value from which a number turns red."""

    title: str
    says: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    alarm: float | None = None
    shows: str = "auto"  # a stat's text mode


def rate(metric: str, by: str, where: str = "") -> str:
    selector = ", ".join(filter(None, ('instance=~"$instance"', where)))
    return f"sum by ({by}) (rate(guardproxy_{metric}{{{selector}}}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str) -> str:
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', f'le, {by}')})"


def quantiles(metric: str, by: str, *qs: float) -> tuple[Query, ...]:
    return tuple(Query(quantile(q, metric, by), f"p{q * 100:g} {{{{{by}}}}}") for q in qs)


def gauge(metric: str, function: str = "sum") -> str:
    return f'{function}(guardproxy_{metric}{{instance=~"$instance"}})'


def lately(metric: str, by: str = "", where: str = "") -> str:
    """How much a counter grew over the time shown; 0 where nothing was ever counted."""
    selector = ", ".join(filter(None, ('instance=~"$instance"', where)))
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (increase(guardproxy_{metric}{{{selector}}}[$__range]))"


def share(metric: str, where: str) -> str:
    """Of all that a counter counted over the time shown; 0 where that is nothing."""
    return f"{lately(metric, where=where)} / clamp_min({lately(metric)}, 1)"


def share_by(metric: str, by: str, where: str) -> str:
    return f"{rate(metric, by, where)} / {rate(metric, by)}"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Panel("Blocked calls", "Tool calls blocked in the time shown.",
              (Query(lately("decisions_total", where='action="block"') + " or vector(0)", "blocked"),),
              kind="stat", width=4),
        Panel("Would be blocked", "Calls that a guard in monitor mode would have blocked, and that passed.",
              (Query(lately("decisions_total", where='verdict="block", action!="block"') + " or vector(0)", "passed"),),
              kind="stat", width=4),
        Panel("Not inspected", "What passed without having been judged. Anything but 0 wants a look.",
              (Query(lately("uninspected_total") + " or vector(0)", "uninspected"),), kind="stat", width=4, alarm=1),
        Panel("Guard failures", "Reviews in which a guard gave no verdict.",
              (Query(lately("guard_errors_total"), "failures"),), kind="stat", width=4, alarm=1),
        Panel("Audit records lost", "Records that could not be written.",
              (Query(lately("audit_dropped_total"), "lost"),), kind="stat", width=4, alarm=1),
        Panel("Configuration", "1: the last load succeeded everywhere. 0: somewhere the last good one still runs.",
              (Query(gauge("config_last_reload_successful", "min"), "loaded"),), kind="stat", width=4),
    ),
    "Traffic": (
        Panel("Requests", "By HTTP status.", (Query(rate("requests_total", "surface, code"), "{{surface}} {{code}}"),),
              unit="reqps"),
        Panel("Refused requests", "Refused for what the client sent: route, host, key, body…",
              (Query(rate("refused_requests_total", "reason"), "{{reason}}"),), unit="reqps"),
        Panel("Under way", "Requests that have not ended.", (Query(gauge("inflight_requests"), "requests"),)),
        Panel("Upstream", "How long the model servers take.",
              quantiles("upstream_duration_seconds", "upstream", 0.5, 0.99), unit="s"),
        Panel("Added latency", "What the proxy itself adds.",
              quantiles("added_latency_seconds", "surface", 0.5, 0.99), unit="s"),
        Panel("Hold", "How long streams with a call wait for its verdict.",
              quantiles("hold_seconds", "surface", 0.5, 0.99), unit="s"),
        Panel("Tokens", "As the upstreams report them.",
              (Query(rate("tokens_total", "upstream, direction"), "{{upstream}} {{direction}}"),)),
        Panel("Asked again", "Turns that were discarded and asked for again.",
              (Query(rate("reasks_total", "instance"), "{{instance}}"),), unit="reqps"),
        Panel("Translated", "APIs that an upstream was found not to speak; `serves` can say it ahead.",
              (Query('sum by (upstream, surface) (guardproxy_apis_missing_total{instance=~"$instance"})',
                     "{{upstream}}: {{surface}}"),)),
    ),
    "Learned prefix": (
        Panel("Injected, and not", "Where it was put, and its fate: skipped_gated is the gate's work, refused and "
              "no_position are what the server or the request has no place for.",
              (Query(rate("prefix_total", "position, outcome"), "{{position}}: {{outcome}}"),), unit="reqps"),
        Panel("Refusals by arm", "Share of the model's turns that refuse in the first person and call nothing.",
              (Query(share_by("prefix_replies_total", "arm", 'reply="refusal"'), "{{arm}}"),), unit="percentunit"),
        Panel("Tool calls by arm", "Share of the model's turns that call a tool, blocked calls among them.",
              (Query(share_by("prefix_replies_total", "arm", 'reply=~"calls|blocked_calls"'), "{{arm}}"),),
              unit="percentunit"),
        Panel("Blocked calls by arm", "Share of the model's turns whose calls a guard blocked.",
              (Query(share_by("prefix_replies_total", "arm", 'reply="blocked_calls"'), "{{arm}}"),),
              unit="percentunit"),
        Panel("Turns by arm", "How much there is to compare.",
              (Query(rate("prefix_replies_total", "arm, reply"), "{{arm}}: {{reply}}"),), unit="reqps"),
        Panel("Against the prefix", "Texts of users and tools that imitate it, end its turn or take it back.",
              (Query(rate("prefix_tampering_total", "source, kind"), "{{source}}: {{kind}}"),), unit="ops"),
    ),
    "Decisions": (
        Panel("Actions", "What was done with the model's tool calls.",
              (Query(rate("decisions_total", "action"), "{{action}}"),), unit="ops"),
        Panel("Whose word it was", "Calls that were not simply allowed, by guard and mode.",
              (Query(rate("decisions_total", "guard, verdict, mode", 'verdict!="allow"'),
                     "{{guard}}: {{verdict}} [{{mode}}]"),), unit="ops"),
        Panel("Rules that hit", "The ten that hit most in the time shown.",
              (Query(f"topk(10, {lately('policy_rule_hits_total', 'rule, mode')})", "{{rule}} [{{mode}}]"),),
              kind="bargauge"),
    ),
    "Guards": (
        Panel("Time of each guard", "99th percentile for one turn.",
              quantiles("guard_duration_seconds", "guard", 0.99), unit="s"),
        Panel("Failures", "By guard, kind and what on_error makes of them.",
              (Query(rate("guard_errors_total", "guard, outcome, on_error"), "{{guard}} {{outcome}} → {{on_error}}"),),
              unit="ops"),
        Panel("Not inspected", "By reason.",
              (Query(rate("uninspected_total", "reason"), "{{reason}}"),), unit="ops"),
        Panel("Classifier queue", "Inputs that wait for a worker, and whether the breaker is open.",
              (Query(gauge("guard_queue_depth"), "waiting"), Query(gauge("breaker_open", "max"), "breaker open"))),
        Panel("Verdict cache", "Share of look-ups that were answered without the model, in the time shown.",
              (Query(share("verdict_cache_total", 'result="hit"'), "hits"),), unit="percentunit", kind="stat"),
        Panel("Risk of requests", "What users ask for, as the classifier's model scores it, and how many are flagged.",
              (*(Query(f"histogram_quantile({q}, {rate('request_risk_ratio_bucket', 'le')})", f"p{q * 100:g}")
                 for q in (0.5, 0.99)),
               Query(f"{rate('flagged_requests_total', 'job')} / "
                     + rate("request_risk_ratio_bucket", "job", 'le="+Inf"'), "flagged")),
              unit="percentunit"),
        Panel("Models missing", "Models that could not be loaded, and that the classifier goes on without.",
              (Query(gauge("models_missing", "max"), "missing"),), kind="stat", alarm=1),
        Panel("Rule errors", "Rules whose condition could not be evaluated.",
              (Query(rate("policy_errors_total", "rule") + " or vector(0)", "{{rule}}"),), unit="ops"),
    ),
    "Processes": (
        Panel("Revision", "The policy revision in force; more than one means a roll-out under way.",
              (Query('count by (revision) (guardproxy_config_revision_info{instance=~"$instance"})', "{{revision}}"),),
              kind="stat", shows="name"),
        Panel("Version", "What runs.",
              (Query('count by (version) (guardproxy_build_info{instance=~"$instance"})', "{{version}}"),),
              kind="stat", width=4, shows="name"),
        Panel("Memory", "Resident, by process.",
              (Query('process_resident_memory_bytes{instance=~"$instance"} * on (job, instance) guardproxy_build_info',
                     "{{instance}}"),), unit="bytes", width=6),
        Panel("CPU", "Cores in use, by process.",
              (Query('rate(process_cpu_seconds_total{instance=~"$instance"}[$__rate_interval]) '
                     "* on (job, instance) guardproxy_build_info", "{{instance}}"),), width=6),
    ),
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(_row(title, y, len(panels) + 1))
        y += 1
        x = 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            panels.append(_panel(panel, x, y, len(panels) + 1))
            x += panel.width
        y += HEIGHT
    return {**_FRAME, "panels": panels}


_SOURCE = {"type": "prometheus", "uid": "$datasource"}

_FRAME: dict[str, Any] = {
    "uid": "guardproxy",
    "title": "guardproxy",
    "description": "Tool calls judged before they leave: what was decided, what it cost, and what was not inspected.",
    "tags": ["guardproxy"],
    "schemaVersion": 39,
    "editable": True,
    "graphTooltip": 1,
    "timezone": "browser",
    "refresh": "30s",
    "time": {"from": "now-1h", "to": "now"},
    "annotations": {"list": []},
    "links": [],
    "templating": {
        "list": [
            {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus", "current": {}},
            {
                "name": "instance",
                "label": "Instance",
                "type": "query",
                "datasource": _SOURCE,
                "query": {"query": "label_values(guardproxy_build_info, instance)", "refId": "instance"},
                "definition": "label_values(guardproxy_build_info, instance)",
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            },
        ]
    },
}


def _row(title: str, y: int, id: int) -> dict[str, Any]:
    position = {"x": 0, "y": y, "w": WIDTH, "h": 1}
    return {"id": id, "type": "row", "title": title, "collapsed": False, "gridPos": position, "panels": []}


def _panel(panel: Panel, x: int, y: int, id: int) -> dict[str, Any]:
    return {
        "id": id,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": HEIGHT},
        "targets": [_target(query, letter, panel.kind) for query, letter in zip(panel.queries, "ABCDEF", strict=False)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind] | ({"textMode": panel.shows} if panel.kind == "stat" else {}),
    }


def _target(query: Query, letter: str, kind: str) -> dict[str, Any]:
    over_time = kind == "timeseries"
    return {
        "refId": letter,
        "datasource": _SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "editorMode": "code",
        "range": over_time,
        "instant": not over_time,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.alarm is not None:
        steps.append({"color": "red", "value": panel.alarm})
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "stat":
        defaults["decimals"] = 0
    return defaults


_REDUCE = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _REDUCE, "colorMode": "value", "graphMode": "none"},
    "bargauge": {"reduceOptions": _REDUCE, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True},
}


def text() -> str:
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "guardproxy.json").write_text(text(), encoding="utf-8")
