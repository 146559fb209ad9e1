"""From Settings to what runs. The only place that knows every part by its class.

Two lifetimes: a `Foundation` is made once for the process (what is counted, recorded and remembered must outlive a
reload); a `Build` is made whole from one reading of the settings and swapped whole. What is dear to make and did not
change (connection pools, the classifier's engine) goes over from one build to the next.
"""

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from guardproxy import strict_json
from guardproxy.config.attempts import Attempts
from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.classifying import NONE, Models, load_models
from guardproxy.config.guarding import make_guards
from guardproxy.config.settings import HiddenContent, HistoryStore, Hold, Settings
from guardproxy.config.upstreams import make_upstreams
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.history import History, MemoryHistory
from guardproxy.policy.loader import load_policy
from guardproxy.policy.policy import Policy
from guardproxy.policy.testing import run_tests
from guardproxy.runtime import Access, Limits, Runtime
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.surface import RequestRules
from guardproxy.taint import TaintMemory
from guardproxy.telemetry.audit import AuditLog, read_key
from guardproxy.telemetry.metrics import Metrics
from guardproxy.upstream.router import Router
from guardproxy.upstream.upstream import Upstream

if TYPE_CHECKING:
    from guardproxy.classifier.engine import Engine
    from guardproxy.judge.judge import Judge
    from guardproxy.prefix.arms import Arm
    from guardproxy.prefix.injector import Prefixer


@dataclass(frozen=True, slots=True)
class Foundation:
    """What lives as long as the process."""

    metrics: Metrics
    audit: AuditLog
    audit_target: AuditTarget
    history: History = field(default_factory=MemoryHistory)
    taint: TaintMemory = field(default_factory=TaintMemory)

    async def start(self) -> None:
        await self.metrics.start()
        await self.audit.start()

    async def close(self) -> None:
        await self.history.close()
        await self.audit.close()
        await self.metrics.close()


def lay_foundation(settings: Settings, target: AuditTarget) -> Foundation:
    """Raises ConfigurationError."""
    audit, metrics = settings.audit, Metrics()
    log = AuditLog(
        path=target.path,
        content=audit.content,
        key=read_key(audit.key_file),
        max_bytes=audit.max_bytes,
        backups=audit.backups,
        queue=audit.queue,
        on_drop=metrics.audit_dropped,
    )
    return Foundation(metrics, log, target, _history(settings.history))


def _history(settings: HistoryStore) -> History:
    if settings.redis_url is None:
        return MemoryHistory(settings.max_bytes)
    if find_spec("redis") is None:
        problem = "needs a library that is not installed: pip install 'guardproxy[redis]'"
        raise ConfigurationError([Fault("history", None, "redis_url", problem)])
    from guardproxy.history_redis import RedisHistory

    return RedisHistory(settings.redis_url.get_secret_value(), keep_s=settings.keep_s)


@dataclass(frozen=True, slots=True)
class Build:
    """One reading of the settings, built. `revision` of the runtime covers all that decides."""

    settings: Settings
    runtime: Runtime
    policy: Policy
    classifier: Models
    arms: "Sequence[Arm]"  # the learned prefixes
    upstreams: Mapping[str, Upstream]

    def cache_lookups(self) -> tuple[int, int]:
        """Hits and misses of the classifier's verdict cache."""
        if not self.settings.guards.classifier.enabled:
            return 0, 0
        from guardproxy.guards.classifier import ClassifierGuard

        guard = next((guard for guard in self.runtime.guards if isinstance(guard, ClassifierGuard)), None)
        return (guard.cache_hits, guard.cache_misses) if guard else (0, 0)

    @property
    def models(self) -> "Sequence[Engine | Judge]":
        """What judges on threads of its own."""
        return self.classifier.running

    def close_models(self) -> None:
        """For a build that serves nobody."""
        self.classifier.close_unshared(None)

    async def start(self) -> None:
        for upstream in self.upstreams.values():
            await upstream.start()

    async def close(self) -> None:
        await self.close_unshared(None)

    async def close_unshared(self, heir: "Build | None") -> None:
        """Closes what `heir` did not take over."""
        inherited = [] if heir is None else list(heir.upstreams.values())
        for upstream in self.upstreams.values():
            if not any(upstream is other for other in inherited):
                await upstream.close()
        await asyncio.to_thread(self.classifier.close_unshared, heir.classifier if heir else None)


def build(
    settings: Settings, foundation: Foundation, previous: Build | None = None, *, test_packs: bool = True
) -> Build:
    """Raises ConfigurationError with every fault of every part. Slow: on a live event loop, call it in a thread."""
    attempts = Attempts()
    policy = attempts.make(lambda: _policy(settings, test_packs))
    old = previous.settings if previous else None
    made = previous.classifier if previous else NONE
    models = attempts.make(
        lambda: load_models(settings.guards.classifier, old.guards.classifier if old else None, made)
    )
    arms = attempts.make(lambda: _arms(settings)) or ()
    upstreams = attempts.make(
        lambda: make_upstreams(settings, foundation.metrics, old, previous.upstreams if previous else {})
    )
    attempts.make(lambda: _check_tls(settings))
    if attempts.faults or policy is None or models is None or upstreams is None:
        if models is not None:
            models.close_unshared(made)
        raise ConfigurationError(attempts.faults)
    runtime = Runtime(
        revision=_revision(settings, policy, models, arms),
        guards=tuple(make_guards(settings, policy, models)),
        router=Router(
            tuple(upstreams.values()), [(model, each.name) for each in settings.upstreams for model in each.models]
        ),
        taint=foundation.taint,
        observers=(foundation.metrics, foundation.audit),
        prefixer=_prefixer(settings, arms, previous),
        request_rules=_request_rules(settings),
        on_block=settings.on_block,
        block_message=settings.block_message,
        reask_max=settings.reask.max,
        tool_results=settings.tool_results,
        hold_turn=settings.hold is Hold.TURN,
        text_calls=settings.request.text_calls,
        hold_text_actions=policy.hold_text_actions,
        history=foundation.history,
        limits=_limits(settings),
        access=_access(settings),
    )
    return Build(settings, runtime, policy, models, arms, upstreams)


def build_runtime(settings: Settings, foundation: Foundation) -> Runtime:
    return build(settings, foundation).runtime


def _policy(settings: Settings, test_packs: bool) -> Policy:
    policy = load_policy(settings.policy)
    if test_packs and (faults := run_tests(policy)):
        raise ConfigurationError(faults)
    return policy


def _arms(settings: Settings) -> "Sequence[Arm]":
    if not (settings.prefix.file or settings.prefix.files or settings.prefix.arms):
        return ()
    from guardproxy.config.prefixing import load_arms

    return load_arms(settings.prefix)


def _prefixer(settings: Settings, arms: "Sequence[Arm]", previous: Build | None) -> "Prefixer | None":
    """The old one where a new one would be the same: it remembers what the servers refused."""
    if not arms:
        return None
    from guardproxy.config.prefixing import make_prefixer

    if previous is not None and previous.arms == arms:
        old = previous.settings
        if (old.prefix, old.upstreams) == (settings.prefix, settings.upstreams):
            return previous.runtime.prefixer
    return make_prefixer(settings, arms)


def _check_tls(settings: Settings) -> None:
    """The files are read again by the server, but a fault in them is told with all the others."""
    tls = settings.listen.tls
    if tls is None:
        return
    import ssl

    for name, file in (("cert_file", tls.cert_file), ("key_file", tls.key_file)):
        if not os.access(file, os.R_OK):
            raise ConfigurationError([Fault(str(file), None, f"listen.tls.{name}", "cannot be read")])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert_file, tls.key_file)
    except ssl.SSLError as error:
        problem = f"certificate and key cannot be used: {error.reason or 'not PEM'}"
        raise ConfigurationError([Fault(str(tls.cert_file), None, "listen.tls", problem)]) from None


def _request_rules(settings: Settings) -> RequestRules:
    request = settings.request
    return RequestRules(
        allow_fields=frozenset(request.allow_fields),
        allow_provider_tools=frozenset(request.allow_provider_tools),
        provider_tools=request.provider_tools,
        refuse_hidden_content=request.hidden_content is HiddenContent.REFUSE,
    )


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        body_bytes=limits.body_bytes,
        event_bytes=limits.held_bytes,
        deadline_s=limits.deadline_s,
        keepalive_s=limits.keepalive_s,
        concurrent_requests=limits.concurrent_requests,
    )


def _access(settings: Settings) -> Access:
    listen = settings.listen
    keys = (key.get_secret_value() for key in listen.client_keys)
    return Access(
        client_keys=frozenset(hashlib.sha256(key.encode()).hexdigest() for key in keys),
        allowed_hosts=frozenset(host.lower() for host in listen.allowed_hosts),
        allowed_origins=frozenset(listen.allowed_origins),
    )


def _revision(settings: Settings, policy: Policy, models: Models, arms: "Sequence[Arm]") -> str:
    """Twelve hex digits of all that decides. Secrets are masked in the dump, so none goes into it."""
    parts: JsonObject = {
        "settings": settings.model_dump(mode="json", exclude={"listen", "audit", "log"}),
        "policy": policy.revision,
        "first_stage": models.first.revision if models.first else None,
        "model": models.engine.revision if models.engine else None,
        "judge": models.judge.revision if models.judge else None,
        "prefix": [[artifact.digest for artifact in arm.artifacts] for arm in arms],
    }
    return hashlib.sha256(strict_json.encode(parts)).hexdigest()[:12]
