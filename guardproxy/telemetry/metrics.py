"""What is counted, for Prometheus.

Labels hold no user, prompt, tool name or argument, and every label value is from a closed set: an enumeration of ours,
the names that the configuration in force holds (`adopt`), or identifiers of ours capped in number. What is none of
these is counted as "other", so nothing that a model, client or upstream sends can add a series.
"""

import logging
import platform
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from guardproxy import __version__
from guardproxy.decision import Decision, Finding, GuardReport, Mode, OnError, Outcome, Verdict, verdict_of
from guardproxy.exchange import Attempt, Exchange

# Without this every counter has a second series, `_created`, which promtool rightly finds fault with.
disable_created_metrics()  # type: ignore[no-untyped-call]

OTHER = "other"
GUARD_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# The proxy's own share is mostly below a millisecond; the guards' buckets would show one bar.
ADDED_BUCKETS = (0.0001, 0.00025, 0.0005, *GUARD_BUCKETS)
SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
# OpenTelemetry's advice for the duration of a GenAI operation.
UPSTREAM_BUCKETS = tuple(0.01 * 2**k for k in range(14))

_CODES = frozenset(status.value for status in HTTPStatus) | {499, 529}
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_.-]{0,47}")
_NO_GUARDS = frozenset({"pipeline", "none"})  # whose word it is where no guard was asked, or none objects
_NOBODY_OBJECTS = (Verdict.ALLOW, "none", Mode.ENFORCE)
_MAX_TOKENS = 100_000_000  # an upstream's usage is its own claim: one absurd answer shall not drown the counter

M = TypeVar("M", Counter, Histogram)
_log = logging.getLogger(__name__)


class _Children(Generic[M]):
    """The children of one metric by label values: `labels()` costs four times what a look-up does."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._children: dict[tuple[str, ...], M] = {}

    def __getitem__(self, labels: tuple[str, ...]) -> M:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels) if labels else self._metric
        return child

    def at_zero(self, *labels: str) -> None:
        """Show the child before it has counted: `increase()` misses the step from no series to 1."""
        self[labels]


class _Identifiers:
    """Identifiers of our own code, as they turn up; the cap and the form hold even where one of them is not."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= self._limit or not _IDENTIFIER.fullmatch(value):
            return OTHER
        self._seen.add(value)
        return value


class _CacheCollector(Collector):
    """Look-ups in the verdict cache, which counts them itself and starts anew with each configuration."""

    def __init__(self) -> None:
        self.read: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("guardproxy_verdict_cache", "Look-ups in the verdict cache.", labels=["result"])
        for result, count in zip(("hit", "miss"), self.read(), strict=True):
            family.add_metric([result], count)
        yield family


class Metrics:
    """An observer. `record` reads one exchange; the other methods count what happens outside of one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._upstreams: frozenset[str] = frozenset()
        self._guards = _NO_GUARDS
        self._rules: frozenset[str] = frozenset()
        self._arms: frozenset[str] = frozenset()
        self._surface = _Identifiers(16)
        self._reason = _Identifiers(64)
        self._finding_code = _Identifiers(64)  # in place of the rule, where a guard without a policy finds something
        self._prefix_label = _Identifiers(32)
        self._describe_requests()
        self._describe_guards()
        self._describe_process()

    def _describe_requests(self) -> None:
        self._requests = self._counter("requests", "Requests on guarded surfaces.", "surface", "upstream", "code")
        self._refused = self._counter(
            "refused_requests", "Requests that were refused for what the client sent.", "reason"
        )
        self._added = self._histogram(
            "added_latency_seconds", "Time that the proxy itself added.", "surface", buckets=ADDED_BUCKETS
        )
        self._hold = self._histogram(
            "hold_seconds", "Time for which a stream was held for a decision.", "surface", buckets=GUARD_BUCKETS
        )
        self._upstream = self._histogram(
            "upstream_duration_seconds", "Time spent on the upstream.", "upstream", buckets=UPSTREAM_BUCKETS
        )
        self._prefix = self._counter(
            "prefix", "Requests by where the learned prefix went, and its fate.", "position", "outcome"
        )
        self._prefix_replies = self._counter(
            "prefix_replies", "Last turns by the arm of their conversation, and what the model did.", "arm", "reply"
        )
        self._tampering = self._counter(
            "prefix_tampering", "Texts from outside that work against the learned prefix.", "source", "kind"
        )
        self._tokens = self._counter("tokens", "Tokens as the upstream reports them.", "upstream", "direction")

    def _describe_guards(self) -> None:
        self._decisions = self._counter(
            "decisions",
            "Decisions on tool calls: what was said (verdict), what was done (action), and whose word it was.",
            *("surface", "verdict", "action", "guard", "mode"),
        )
        self._request_risk = self._histogram(
            "request_risk_ratio", "Scores of what users ask for, where a guard judges it.", buckets=SCORE_BUCKETS
        )
        self._flagged_requests = self._counter("flagged_requests", "User requests that a guard flagged.")
        self._uninspected = self._counter("uninspected", "Things that passed without being inspected.", "reason")
        self._guard_seconds = self._histogram(
            "guard_duration_seconds", "Time that one guard took for one turn.", "guard", buckets=GUARD_BUCKETS
        )
        self._guard_errors = self._counter(
            "guard_errors", "Reviews in which a guard gave no verdict.", "guard", "outcome", "on_error"
        )
        self._reasks = self._counter("reasks", "Turns that were discarded and asked for again.")
        self._rule_hits = self._counter("policy_rule_hits", "Findings by policy rule.", "rule", "mode")
        self._rule_errors = self._counter("policy_errors", "Rules whose condition failed to evaluate.", "rule")
        self._cache = _CacheCollector()
        self.registry.register(self._cache)

    def _describe_process(self) -> None:
        self._inflight = self._gauge("inflight_requests", "Requests under way.")
        self._queue_depth = self._gauge("guard_queue_depth", "Classifier inputs that wait for a worker.")
        self._breaker_open = self._gauge("breaker_open", "1 while the classifier's breaker is open.")
        self._models_missing = self._gauge(
            "models_missing", "Models that could not be loaded, and that the classifier goes on without."
        )
        self._apis_missing = self._counter(
            "apis_missing", "APIs that an upstream was found not to speak, translated since.", "upstream", "surface"
        )
        self._audit_dropped = self._counter("audit_dropped", "Audit records that could not be written.")
        self._reload_ok = self._gauge(
            "config_last_reload_successful", "1 if the last load of the configuration succeeded."
        )
        self._reload_at = self._gauge(
            "config_last_reload_success_timestamp_seconds", "When the configuration was last loaded with success."
        )
        self._revision = Info("guardproxy_config_revision", "The policy revision in force.", registry=self.registry)
        build = Info("guardproxy_build", "The version that runs.", registry=self.registry)
        build.info({"version": __version__, "python": platform.python_version()})

    def _counter(self, name: str, text: str, *labels: str) -> _Children[Counter]:
        return _Children(Counter(f"guardproxy_{name}", text, labels, registry=self.registry))

    def _histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> _Children[Histogram]:
        return _Children(Histogram(f"guardproxy_{name}", text, labels, buckets=buckets, registry=self.registry))

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"guardproxy_{name}", text, registry=self.registry)

    # What happens outside of an exchange

    def adopt(
        self,
        revision: str,
        *,
        upstreams: Collection[str],
        guards: Collection[str],
        rules: Collection[str] = (),
        arms: Collection[str] = (),
        models_missing: int = 0,
    ) -> None:
        """Take the names of a newly built configuration as label values, and show its revision."""
        self._upstreams = frozenset(upstreams)
        self._guards = frozenset(guards) | _NO_GUARDS
        self._arms = frozenset(arms)
        self._rules = frozenset(rules) | _generated_rules(self._guards)
        for rule in rules:
            self._rule_errors.at_zero(rule)
        self._revision.info({"revision": revision})
        self._models_missing.set(models_missing)
        self.reloaded(ok=True)
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """What is alerted on exists from the start."""
        for guard in self._guards - _NO_GUARDS:
            for outcome in ("error", "timeout", "silent"):
                for on_error in OnError:
                    self._guard_errors.at_zero(guard, outcome, on_error.value)

    def reloaded(self, *, ok: bool) -> None:
        """A load of the configuration ended; on failure the last good one stays in force."""
        self._reload_ok.set(int(ok))
        if ok:
            self._reload_at.set(time.time())

    def refused(self, reason: str) -> None:
        """A request was refused: its route, host, origin, key, body… `record` counts those that are exchanges."""
        self._refused[(self._reason(reason),)].inc()

    def api_missing(self, upstream: str, api: str) -> None:
        """An upstream turned out not to speak an API, which is translated for it from now on."""
        self._apis_missing[self._upstream_label(upstream), self._surface(api)].inc()

    def audit_dropped(self, count: int) -> None:
        self._audit_dropped[()].inc(count)

    def watch(
        self,
        *,
        queue_depth: Callable[[], float],
        breaker_open: Callable[[], float],
        cache: Callable[[], tuple[int, int]] | None = None,
        inflight: Callable[[], float] | None = None,
    ) -> None:
        """Read these at each scrape. `cache` is the hits and misses so far."""
        self._queue_depth.set_function(queue_depth)
        self._breaker_open.set_function(breaker_open)
        if cache is not None:
            self._cache.read = cache
        if inflight is not None:
            self._inflight.set_function(inflight)

    # Observer

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def record(self, exchange: Exchange) -> None:
        try:
            self._record(exchange)
        except Exception as error:
            _log.error("an exchange was not counted: %s", type(error).__name__)

    def _record(self, exchange: Exchange) -> None:
        surface = self._surface(exchange.surface)
        upstream = self._upstream_label(exchange.upstream)
        self._requests[surface, upstream, _code(exchange.status)].inc()
        if exchange.upstream:
            self._added[(surface,)].observe(exchange.added_seconds)
            self._upstream[(upstream,)].observe(exchange.upstream_seconds)
            position, outcome = exchange.prefix_position, exchange.prefix_outcome
            self._prefix[self._prefix_label(position), self._prefix_label(outcome)].inc()
            self._count_arm(exchange)
        if exchange.outcome == "refused":
            self.refused(exchange.error_code)
        if exchange.hold_seconds > 0:
            self._hold[(surface,)].observe(exchange.hold_seconds)
        if exchange.request_risk is not None:
            self._request_risk[()].observe(exchange.request_risk)
        if exchange.request_flagged:
            self._flagged_requests[()].inc()
        for reason, count in exchange.uninspected.items():
            self._uninspected[(self._reason(reason),)].inc(count)
        if exchange.usage is not None:
            self._count_tokens(upstream, exchange.usage)
        if len(exchange.attempts) > 1:
            self._reasks[()].inc(len(exchange.attempts) - 1)
        for attempt in exchange.attempts:
            if attempt.turn.calls:
                self._count_attempt(surface, attempt)

    def _count_arm(self, exchange: Exchange) -> None:
        if exchange.prefix_reply:
            reply = exchange.prefix_reply
            if reply == "calls" and exchange.decision is not None and exchange.decision.action is Verdict.BLOCK:
                reply = "blocked_calls"
            arm = exchange.prefix_arm if exchange.prefix_arm in self._arms else OTHER
            self._prefix_replies[arm, reply].inc()
        for name, count in exchange.prefix_tampering.items():
            source, _, kind = name.partition("_")
            self._tampering[source, kind].inc(count)

    def _upstream_label(self, name: str) -> str:
        return name if name in self._upstreams else OTHER if name else "none"

    def _guard_label(self, name: str) -> str:
        return name if name in self._guards else OTHER

    def _count_attempt(self, surface: str, attempt: Attempt) -> None:
        for report in attempt.reports:
            self._count_report(report, attempt.decision)
        for key, outcome in attempt.decision.outcomes.items():
            findings = attempt.decision.findings.get(key, ())
            self._count_decision(surface, findings, outcome)
            for finding in findings:
                self._count_finding(finding)

    def _count_decision(self, surface: str, findings: Iterable[Finding], outcome: Outcome) -> None:
        verdict, guard, mode = _deciding(findings)
        action = verdict_of(outcome)
        self._decisions[surface, verdict.label, action.label, self._guard_label(guard), mode.value].inc()

    def _count_finding(self, finding: Finding) -> None:
        """What allows is no hit: the classifier tells its score of every call."""
        rule = finding.rule if finding.rule in self._rules else self._finding_code(finding.code)
        if finding.verdict > Verdict.ALLOW:
            self._rule_hits[rule, finding.mode.value].inc()
        if finding.code == "policy_error":
            self._rule_errors[(rule,)].inc()

    def _count_report(self, report: GuardReport, decision: Decision) -> None:
        guard = self._guard_label(report.guard)
        self._guard_seconds[(guard,)].observe(report.seconds)
        outcome = _failure_of(report, decision)
        if outcome:
            self._guard_errors[guard, outcome, report.on_error.value].inc()

    def _count_tokens(self, upstream: str, usage: Mapping[str, Any]) -> None:
        for direction, names in _USAGE_FIELDS:
            count = next((usage[name] for name in names if name in usage), None)
            if type(count) is int and 0 < count <= _MAX_TOKENS:
                self._tokens[upstream, direction].inc(count)


_USAGE_FIELDS = (("input", ("prompt_tokens", "input_tokens")), ("output", ("completion_tokens", "output_tokens")))


def _code(status: int) -> str:
    """The HTTP status; "none" where the client went before there was one."""
    return str(status) if status in _CODES else OTHER if status else "none"


def _deciding(findings: Iterable[Finding]) -> tuple[Verdict, str, Mode]:
    """The strictest finding; among equals the enforced one, then the first. "none" where nothing speaks against."""
    against = (f for f in findings if f.verdict > Verdict.ALLOW)
    first = max(against, key=lambda f: (f.verdict, f.enforced), default=None)
    return (first.verdict, first.guard, first.mode) if first else _NOBODY_OBJECTS


def _failure_of(report: GuardReport, decision: Decision) -> str | None:
    if report.outcome != "ok":
        return report.outcome if report.outcome in ("error", "timeout") else OTHER
    said = (f for findings in decision.findings.values() for f in findings)
    return "silent" if any(f.guard == report.guard and f.code == "guard_silent" for f in said) else None


def _generated_rules(guards: Iterable[str]) -> frozenset[str]:
    """The rule names that `decision.decide` makes up for guards that gave no verdict."""
    failures = {f"{guard}_{outcome}" for guard in guards for outcome in ("error", "timeout", "silent")}
    return frozenset(failures | {"not_judged"})
