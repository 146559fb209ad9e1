"""What is wrong with settings whose parts are each right: rules that span several of them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from guardproxy.config.address import is_loopback, is_wildcard, leads_to
from guardproxy.config.settings import STDOUT, Settings, Stages, Upstream, UpstreamKind
from guardproxy.strict_yaml import Place
from guardproxy.telemetry.record import Content


class Contradiction(NamedTuple):
    """`place` is what should be changed, `reads` what else the rule looked at."""

    place: Place
    problem: str
    reads: tuple[Place, ...] = ()


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    for rule in _RULES:
        yield from rule(settings)


def _exposure(settings: Settings) -> Iterator[Contradiction]:
    listen = settings.listen
    if not is_loopback(listen.host) and not listen.client_keys:
        yield Contradiction(
            ("listen", "host"),
            "other machines can reach this address: it needs listen.client_keys, or use 127.0.0.1",
            (("listen", "client_keys"),),
        )
    if not is_loopback(listen.admin_host) and not listen.admin_exposed:
        yield Contradiction(
            ("listen", "admin_host"),
            "other machines can reach this address, and the admin port asks for no key: "
            "say listen.admin_exposed: true, or use 127.0.0.1",
            (("listen", "admin_exposed"),),
        )


def _ports(settings: Settings) -> Iterator[Contradiction]:
    listen = settings.listen
    overlap = listen.host == listen.admin_host or is_wildcard(listen.host) or is_wildcard(listen.admin_host)
    if overlap and listen.port == listen.admin_port != 0:
        reads = (("listen", "port"), ("listen", "host"), ("listen", "admin_host"))
        yield Contradiction(("listen", "admin_port"), "is the same as listen.port", reads)


def _guards(settings: Settings) -> Iterator[Contradiction]:
    guards = settings.guards
    if not (guards.rules.enabled or guards.declared_tools.enabled or guards.classifier.enabled):
        yield Contradiction(("guards",), "no guard is enabled; to let everything pass, set a guard's mode to monitor")


def _thresholds(settings: Settings) -> Iterator[Contradiction]:
    classifier: Place = ("guards", "classifier")
    if settings.guards.classifier.model is not None and settings.guards.classifier.stages is Stages.FIRST:
        problem = "is asked of nothing where stages is first"
        yield Contradiction((*classifier, "model"), problem, ((*classifier, "stages"),))
    threshold, tainted = settings.guards.classifier.threshold, settings.guards.classifier.tainted_threshold
    if threshold is not None and tainted is not None and tainted > threshold:
        problem = "must not be above threshold: taint never loosens"
        yield Contradiction((*classifier, "tainted_threshold"), problem, ((*classifier, "threshold"),))


def _second_stage(settings: Settings) -> Iterator[Contradiction]:
    place: Place = ("guards", "classifier", "second_stage")
    second = settings.guards.classifier.second_stage
    if second is None:
        return
    if (second.model is None) == (second.litellm is None):
        problem = "needs a model file or the name of a litellm model, and not both"
        yield Contradiction((*place, "model"), problem, ((*place, "litellm"),))
    if second.band.low > second.band.high:
        yield Contradiction((*place, "band", "low"), "must not be above high", ((*place, "band", "high"),))
    if second.litellm is None and (second.api_key is not None or second.base_url is not None):
        problem = "api_key and base_url are of use with litellm only"
        yield Contradiction((*place, "litellm"), problem, ((*place, "api_key"), (*place, "base_url")))


def _audit(settings: Settings) -> Iterator[Contradiction]:
    if settings.audit.content is Content.FULL and settings.audit.path == STDOUT:
        problem = "full needs a file, which is made readable for its owner alone; standard output is not"
        yield Contradiction(("audit", "content"), problem, (("audit", "path"),))


def _names(settings: Settings) -> Iterator[Contradiction]:
    seen: dict[str, int] = {}
    for index, upstream in enumerate(settings.upstreams):
        first = seen.setdefault(upstream.name, index)
        if first != index:
            reads: Place = ("upstreams", first, "name")
            yield Contradiction(("upstreams", index, "name"), "another upstream has this name already", (reads,))


def _kinds(settings: Settings) -> Iterator[Contradiction]:
    for index, upstream in enumerate(settings.upstreams):
        kind: Place = ("upstreams", index, "kind")
        if upstream.kind is UpstreamKind.OPENAI and upstream.base_url is None:
            yield Contradiction(("upstreams", index, "base_url"), "is required for kind openai", (kind,))
        for field in _strangers(upstream):
            yield Contradiction(("upstreams", index, field), f"means nothing for kind {upstream.kind}", (kind,))


_OWN_FIELDS = {
    UpstreamKind.OPENAI: frozenset({"base_url", "api_key", "ca_file", "connect_timeout_s", "idle_timeout_s"}),
    UpstreamKind.LITELLM: frozenset({"base_url", "api_key", "model_prefix", "options", "idle_timeout_s"}),
    UpstreamKind.EMBEDDED: frozenset[str](),
}
_ALL_FIELDS = frozenset[str]().union(*_OWN_FIELDS.values())


def _strangers(upstream: Upstream) -> Iterator[str]:
    """Fields that were set and belong to another kind."""
    for field in sorted((_ALL_FIELDS - _OWN_FIELDS[upstream.kind]) & upstream.model_fields_set):
        if getattr(upstream, field) not in (None, "", {}):
            yield field


def _arms(settings: Settings) -> Iterator[Contradiction]:
    """Of prefixes."""
    prefix, seen = settings.prefix, set[str]()
    if prefix.arms and (prefix.file is not None or prefix.files):
        problem = "stand in place of file and files: name those in an arm"
        yield Contradiction(("prefix", "arms"), problem, (("prefix", "file"), ("prefix", "files")))
    if prefix.arms and not any(arm.files for arm in prefix.arms):
        yield Contradiction(("prefix", "arms"), "no arm has a prefix")
    for index, arm in enumerate(prefix.arms):
        if arm.name in seen:
            yield Contradiction(("prefix", "arms", index, "name"), "another arm has this name already")
        seen.add(arm.name)
        if arm.shadow and not arm.files:
            yield Contradiction(("prefix", "arms", index, "shadow"), "means nothing without files")
    if prefix.gate_threshold is not None and not prefix.gate:
        yield Contradiction(("prefix", "gate_threshold"), "means nothing where gate is false", (("prefix", "gate"),))


def _loops(settings: Settings) -> Iterator[Contradiction]:
    listen = settings.listen
    for index, upstream in enumerate(settings.upstreams):
        url = upstream.base_url or ""
        if leads_to(url, listen.host, listen.port) or leads_to(url, listen.admin_host, listen.admin_port):
            problem = "is this proxy's own address: a request would go round for ever"
            yield Contradiction(("upstreams", index, "base_url"), problem, (("listen",),))


_RULES: tuple[Callable[[Settings], Iterator[Contradiction]], ...] = (
    _exposure,
    _ports,
    _guards,
    _thresholds,
    _second_stage,
    _audit,
    _names,
    _kinds,
    _arms,
    _loops,
)
