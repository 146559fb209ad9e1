"""The upstreams of a configuration and nothing else of it: what is measured is the model, not the guards."""

from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.runtime import Build, build, lay_foundation
from guardproxy.config.settings import Settings
from guardproxy.prefix.capability import Capability


def build_upstreams(settings: Settings) -> Build:
    """Raises ConfigurationError."""
    guards = settings.guards.model_copy(
        update={"classifier": settings.guards.classifier.model_copy(update={"enabled": False})}
    )
    prefix = settings.prefix.model_copy(update={"file": None})  # the old one is in no episode
    history = settings.history.model_copy(update={"redis_url": None})
    bare = settings.model_copy(update={"guards": guards, "prefix": prefix, "history": history})
    return build(bare, lay_foundation(bare, AuditTarget(None)), test_packs=False)


def capability_of(settings: Settings, upstream: str) -> Capability:
    found = next(each for each in settings.upstreams if each.name == upstream)
    return Capability(found.prefill.value, found.server.value)
