"""From Settings to what runs. The only place that knows every part by its class.

Two lifetimes: a `Foundation` is made once for the process (what is counted, recorded and remembered must outlive a
reload); a `Build` is made whole from one reading of the settings and swapped whole. What is dear to make and did not
change (connection pools, the classifier's engine) goes over from one build to the next.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypedDict, TypeVar, assert_never

from pydantic import SecretStr

from guardproxy import strict_json
from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.settings import Api, HiddenContent, HistoryStore, Hold, Server, Settings, Stages, UpstreamKind
from guardproxy.config.settings import ClassifierGuard as ClassifierSettings
from guardproxy.config.settings import Guard as GuardSettings
from guardproxy.config.settings import Upstream as UpstreamSettings
from guardproxy.decision import Mode, OnError
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.guards.guard import Guard
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
    from guardproxy.classifier.bands import BandsByTool
    from guardproxy.classifier.engine import Engine
    from guardproxy.classifier.first_stage import FirstStage
    from guardproxy.guards.classifier import SecondOpinion
    from guardproxy.judge.judge import Judge
    from guardproxy.prefix.artifact import PrefixArtifact
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
    url = _revealed(settings.redis_url)
    if url is None:
        return MemoryHistory(settings.max_bytes)
    if find_spec("redis") is None:
        problem = "needs a library that is not installed: pip install 'guardproxy[redis]'"
        raise ConfigurationError([Fault("history", None, "redis_url", problem)])
    from guardproxy.history_redis import RedisHistory

    return RedisHistory(url, keep_s=settings.keep_s)


@dataclass(frozen=True, slots=True)
class Build:
    """One reading of the settings, built. `revision` of the runtime covers all that decides."""

    settings: Settings
    runtime: Runtime
    policy: Policy
    engine: "Engine | None"
    judge: "Judge | None"
    artifact: "PrefixArtifact | None"
    upstreams: Mapping[str, Upstream]

    def cache_lookups(self) -> tuple[int, int]:
        """Hits and misses of the classifier's verdict cache."""
        if not self.settings.guards.classifier.enabled:
            return 0, 0
        from guardproxy.guards.classifier import ClassifierGuard

        guard = next(guard for guard in self.runtime.guards if isinstance(guard, ClassifierGuard))
        return guard.cache_hits, guard.cache_misses

    @property
    def models(self) -> "Sequence[Engine | Judge]":
        """What judges on threads of its own."""
        return [model for model in (self.engine, self.judge) if model is not None]

    def close_models(self) -> None:
        """For a build that serves nobody."""
        for model in self.models:
            model.close()

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
        if self.engine is not None and (heir is None or heir.engine is not self.engine):
            await asyncio.to_thread(self.engine.close)
        if self.judge is not None and (heir is None or heir.judge is not self.judge):
            await asyncio.to_thread(self.judge.close)


def build(
    settings: Settings, foundation: Foundation, previous: Build | None = None, *, test_packs: bool = True
) -> Build:
    """Raises ConfigurationError with every fault of every part. Slow: on a live event loop, call it in a thread."""
    attempts = _Attempts()
    policy = attempts.make(lambda: _policy(settings, test_packs))
    first = attempts.make(lambda: _first_stage(settings.guards.classifier))
    engine = attempts.make(lambda: _engine(settings.guards.classifier, first, previous))
    judge = attempts.make(lambda: _judge(settings.guards.classifier, previous))
    artifact = attempts.make(lambda: _artifact(settings))
    upstreams = attempts.make(lambda: _upstreams(settings, foundation.metrics, previous))
    attempts.make(lambda: _check_tls(settings))
    if attempts.faults or policy is None or upstreams is None:
        if engine is not None and (previous is None or previous.engine is not engine):
            engine.close()
        if judge is not None and (previous is None or previous.judge is not judge):
            judge.close()
        raise ConfigurationError(attempts.faults)
    runtime = Runtime(
        revision=_revision(settings, policy, first, engine, judge, artifact),
        guards=tuple(_guards(settings, policy, first, engine, judge)),
        router=Router(
            tuple(upstreams.values()), [(model, each.name) for each in settings.upstreams for model in each.models]
        ),
        taint=foundation.taint,
        observers=(foundation.metrics, foundation.audit),
        prefixer=_prefixer(settings, artifact, previous),
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
    return Build(settings, runtime, policy, engine, judge, artifact, upstreams)


def build_runtime(settings: Settings, foundation: Foundation) -> Runtime:
    return build(settings, foundation).runtime


T = TypeVar("T")


@dataclass(slots=True)
class _Attempts:
    """Makes one part after the other and gathers what is wrong with all of them."""

    faults: list[Fault] = field(default_factory=list)

    def make(self, part: Callable[[], T]) -> T | None:
        try:
            return part()
        except ConfigurationError as error:
            self.faults += error.faults
            return None


def _policy(settings: Settings, test_packs: bool) -> Policy:
    policy = load_policy(settings.policy)
    if test_packs and (faults := run_tests(policy)):
        raise ConfigurationError(faults)
    return policy


def _first_stage(settings: ClassifierSettings) -> "FirstStage | None":
    if not settings.enabled:
        return None
    from guardproxy.classifier.model_file import load_first_stage

    return load_first_stage()


def _engine(settings: ClassifierSettings, first: "FirstStage | None", previous: Build | None) -> "Engine | None":
    if not settings.enabled or first is None or settings.stages is Stages.FIRST:
        return None
    if settings.model is None and not first.asks_second:
        return None
    if previous is not None and previous.engine is not None and _same_engine(settings, previous):
        return previous.engine
    from guardproxy.classifier.engine import load_engine  # llama.cpp: dear, and not every deployment runs a classifier

    return load_engine(settings.model, settings.threads, settings.queue)


def _judge(settings: ClassifierSettings, previous: Build | None) -> "Judge | None":
    if not settings.enabled or settings.second_stage is None:
        return None
    if previous is not None and settings.second_stage == previous.settings.guards.classifier.second_stage:
        return previous.judge
    from guardproxy.judge.build import build_judge

    return build_judge(settings.second_stage)


def _same_engine(settings: ClassifierSettings, previous: Build) -> bool:
    """The shipped model never changes under a running process; a file of the operator's may."""
    old = previous.settings.guards.classifier
    same = (settings.threads, settings.queue, settings.model) == (old.threads, old.queue, old.model)
    if not same or settings.model is None:
        return same
    from guardproxy.classifier.model_file import find_model

    return previous.engine is not None and find_model(settings.model).revision == previous.engine.revision


def _upstreams(settings: Settings, metrics: Metrics, previous: Build | None) -> dict[str, Upstream]:
    """Those that are as they were go on: they have connections, and know what their servers speak."""
    upstreams: dict[str, Upstream] = {}
    for each in settings.upstreams:
        if previous is not None and _same_upstream(each, settings, previous):
            upstreams[each.name] = previous.upstreams[each.name]
        else:
            upstreams[each.name] = _bridged(_upstream(each, settings), each, settings, metrics)
    return upstreams


def _upstream(settings: UpstreamSettings, whole: Settings) -> Upstream:
    match settings.kind:
        case UpstreamKind.EMBEDDED:
            from guardproxy.upstream.embedded import EmbeddedUpstream

            return EmbeddedUpstream(settings.name)
        case UpstreamKind.OPENAI:
            return _http_upstream(settings, whole)
        case UpstreamKind.LITELLM:
            return _litellm_upstream(settings, whole)
        case _:
            assert_never(settings.kind)


def _bridged(upstream: Upstream, settings: UpstreamSettings, whole: Settings, metrics: Metrics) -> Upstream:
    """The upstream with translations for what it does not speak itself."""
    serves = settings.serves if settings.kind is UpstreamKind.OPENAI else (Api.CHAT_COMPLETIONS,)
    if serves is not None and set(serves) == set(Api):
        return upstream
    from guardproxy.prefix.capability import Capability
    from guardproxy.upstream.bridge import BridgedUpstream, DiscoveringUpstream

    capability = Capability(settings.prefill.value, settings.server.value)
    event_bytes, answer_bytes = whole.limits.held_bytes, whole.limits.response_bytes
    if serves is None:
        return DiscoveringUpstream(
            upstream,
            capability=capability,
            max_event_bytes=event_bytes,
            max_answer_bytes=answer_bytes,
            on_missing=metrics.api_missing,
        )
    return BridgedUpstream(
        upstream,
        frozenset(api.value for api in serves),
        capability=capability,
        max_event_bytes=event_bytes,
        max_answer_bytes=answer_bytes,
    )


def _same_upstream(settings: UpstreamSettings, whole: Settings, previous: Build) -> bool:
    """Its limits among what has to be the same: they are the whole proxy's."""
    new, old = whole.limits, previous.settings.limits
    same_sizes = (new.held_bytes, new.response_bytes) == (old.held_bytes, old.response_bytes)
    same_limits = same_sizes and new.concurrent_requests == old.concurrent_requests
    return same_limits and settings in previous.settings.upstreams


def _http_upstream(settings: UpstreamSettings, whole: Settings) -> Upstream:
    from guardproxy.upstream.openai_http import HttpUpstream

    assert settings.base_url is not None, "`contradictions` refuses this kind without one"
    return HttpUpstream(
        name=settings.name,
        base_url=settings.base_url,
        api_key=_revealed(settings.api_key),
        ca_file=settings.ca_file,
        connect_timeout_s=settings.connect_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        max_connections=whole.limits.concurrent_requests,
        max_response_bytes=whole.limits.response_bytes,
        takes_api_key=settings.server is Server.ANTHROPIC,
        remembers=settings.remembers,
    )


def _litellm_upstream(settings: UpstreamSettings, whole: Settings) -> Upstream:
    if find_spec("litellm") is None:
        problem = "kind litellm needs a library that is not installed: pip install 'guardproxy[litellm]'"
        raise ConfigurationError([Fault("upstreams", None, f"{settings.name}.kind", problem)])
    from guardproxy.upstream.litellm import LitellmUpstream

    return LitellmUpstream(
        name=settings.name,
        api_key=_revealed(settings.api_key),
        base_url=settings.base_url,
        model_prefix=settings.model_prefix,
        options={name: value.get_secret_value() for name, value in settings.options.items()},
        models=settings.models,
        idle_timeout_s=settings.idle_timeout_s,
        max_response_bytes=whole.limits.response_bytes,
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _guards(
    settings: Settings,
    policy: Policy,
    first: "FirstStage | None",
    engine: "Engine | None",
    judge: "Judge | None",
) -> Iterator[Guard]:
    """Cheap before dear: what the first blocks, the next need not see."""
    guards = settings.guards
    if guards.rules.enabled:
        from guardproxy.guards.rules import RulesGuard

        yield RulesGuard(policy=policy, **_common(guards.rules))
    if guards.declared_tools.enabled:
        from guardproxy.guards.declared_tools import DeclaredToolsGuard

        yield DeclaredToolsGuard(allow_opaque=policy.allows_opaque, **_common(guards.declared_tools))
    if first is not None:
        from guardproxy.guards.classifier import ClassifierGuard

        first = (
            first
            if guards.classifier.model is None or engine is None
            else first.replaced_by(engine.calibration.threshold, engine.calibration.tainted_threshold)
        )
        yield ClassifierGuard(
            first=first,
            engine=engine,
            bands=_bands(guards.classifier, first),
            second=_second_opinion(guards.classifier, judge),
            result_threshold=guards.classifier.result_threshold,
            cache_size=guards.classifier.cache_size,
            policy_revision=policy.revision,
            **_common(guards.classifier),
        )


def _artifact(settings: Settings) -> "PrefixArtifact | None":
    if settings.prefix.file is None:
        return None
    from guardproxy.prefix.artifact import load_artifact

    return load_artifact(settings.prefix.file)


def _prefixer(settings: Settings, artifact: "PrefixArtifact | None", previous: Build | None) -> "Prefixer | None":
    """The old one where a new one would be the same: it remembers what the servers refused."""
    if artifact is None:
        return None
    from guardproxy.prefix.capability import Capability
    from guardproxy.prefix.injector import Prefixer

    if previous is not None and previous.artifact == artifact:
        old = previous.settings
        if (old.prefix, old.upstreams) == (settings.prefix, settings.upstreams):
            return previous.runtime.prefixer
    capabilities = {each.name: Capability(each.prefill.value, each.server.value) for each in settings.upstreams}
    return Prefixer([artifact], keep=settings.prefix.keep, upstreams=capabilities)


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


class _Common(TypedDict):
    mode: Mode
    on_error: OnError
    deadline_s: float


def _second_opinion(settings: ClassifierSettings, judge: "Judge | None") -> "SecondOpinion | None":
    if judge is None or settings.second_stage is None:
        return None
    from guardproxy.guards.classifier import SecondOpinion

    second = settings.second_stage
    return SecondOpinion(judge, second.band.low, second.band.high, second.deadline_s, second.on_error)


def _bands(settings: ClassifierSettings, first: "FirstStage") -> "BandsByTool":
    from guardproxy.classifier.bands import Bands, BandsByTool, with_changes

    default = with_changes(
        Bands(first.thresholds.call, first.thresholds.tainted),
        block=settings.threshold,
        tainted=settings.tainted_threshold,
        reask=settings.reask_threshold,
        review=settings.review_threshold,
    )
    tools = {
        pattern: with_changes(
            default,
            block=bands.threshold,
            reask=bands.reask_threshold,
            review=bands.review_threshold,
        )
        for pattern, bands in settings.tools.items()
    }
    return BandsByTool(default, tools)


def _common(settings: GuardSettings) -> _Common:
    return {"mode": settings.mode, "on_error": settings.on_error, "deadline_s": settings.deadline_s}


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


def _revision(
    settings: Settings,
    policy: Policy,
    first: "FirstStage | None",
    engine: "Engine | None",
    judge: "Judge | None",
    artifact: "PrefixArtifact | None",
) -> str:
    """Twelve hex digits of all that decides. Secrets are masked in the dump, so none goes into it."""
    parts: JsonObject = {
        "settings": settings.model_dump(mode="json", exclude={"listen", "audit", "log"}),
        "policy": policy.revision,
        "first_stage": first.revision if first else None,
        "model": engine.revision if engine else None,
        "judge": judge.revision if judge else None,
        "prefix": artifact.digest if artifact else None,
    }
    return hashlib.sha256(strict_json.encode(parts)).hexdigest()[:12]
