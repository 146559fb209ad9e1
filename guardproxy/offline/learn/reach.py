"""The upstreams of a configuration, and the guard that tells the risk of a request. No guard judges what the model
does: it is the model that is measured.
"""

from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.runtime import Build, build, lay_foundation
from guardproxy.config.settings import Settings
from guardproxy.offline.learn.risk import RiskOf, risk_by
from guardproxy.prefix.capability import Capability

_DEADLINE_S = 60.0  # for one request's risk: here nobody waits for it


def build_upstreams(settings: Settings, *, gate: bool = False) -> Build:
    """`gate`: with the classifier, where the configuration has it. Raises ConfigurationError."""
    own = settings.guards.classifier
    classifier = own.model_copy(update={"enabled": own.enabled and gate, "deadline_s": _DEADLINE_S})
    guards = settings.guards.model_copy(update={"classifier": classifier})
    bare = {"file": None, "files": (), "arms": ()}  # the old prefix is in no episode
    prefix = settings.prefix.model_copy(update=bare)
    history = settings.history.model_copy(update={"redis_url": None})
    alone = settings.model_copy(update={"guards": guards, "prefix": prefix, "history": history})
    return build(alone, lay_foundation(alone, AuditTarget(None)), test_packs=False)


def risk_in(build: Build) -> RiskOf | None:
    """None where no model reads requests."""
    from guardproxy.guards.classifier import ClassifierGuard

    readers = [guard for guard in build.runtime.guards if isinstance(guard, ClassifierGuard) and guard.reads_requests]
    return risk_by(readers) if readers else None


def capability_of(settings: Settings, upstream: str) -> Capability:
    found = next(each for each in settings.upstreams if each.name == upstream)
    return Capability(found.prefill.value, found.software)
