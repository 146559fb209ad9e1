"""The guards that an evaluation asks: those of the configuration, or those of it that are named."""

from collections.abc import Sequence

from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.runtime import Build, build, lay_foundation
from guardproxy.config.settings import Guards, Settings, Stages

FIRST_STAGE = "provenance"
"""The classifier without llama.cpp: wording and provenance alone."""

KNOWN = (*Guards.model_fields, FIRST_STAGE)


class UnknownGuard(ValueError):
    """A name that is no guard of the configuration."""


def build_with(settings: Settings, names: Sequence[str] | None) -> Build:
    """As `serve` builds, with only the guards that are named, and no verdict cache: each row is judged anew.

    Raises UnknownGuard and ConfigurationError.
    """
    guards = {name: getattr(settings.guards, name) for name in Guards.model_fields}
    for name in names or ():
        if name not in KNOWN:
            raise UnknownGuard(f"{name!r} is no guard of this version; known are {', '.join(KNOWN)}")
    for name, guard in guards.items():
        update: dict[str, object] = {"enabled": name in names} if names else {}
        if name == "classifier" and names and FIRST_STAGE in names and name not in names:
            update = {"enabled": True, "stages": Stages.FIRST}
        if "cache_size" in type(guard).model_fields:
            update["cache_size"] = 0
        guards[name] = guard.model_copy(update=update)
    settings = settings.model_copy(update={"guards": Guards(**guards)})
    return build(settings, lay_foundation(settings, AuditTarget(None)))
