"""The model servers that a configuration names."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import assert_never

from pydantic import SecretStr

from guardproxy.config.settings import Api, Server, Settings, UpstreamKind
from guardproxy.config.settings import Upstream as UpstreamSettings
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.telemetry.metrics import Metrics
from guardproxy.upstream.upstream import Upstream


def make_upstreams(
    settings: Settings, metrics: Metrics, old: Settings | None, made: Mapping[str, Upstream]
) -> dict[str, Upstream]:
    """Those of `made` that are as in `old` go on: they have connections, and know what their servers speak."""
    upstreams: dict[str, Upstream] = {}
    for each in settings.upstreams:
        if old is not None and _same_upstream(each, settings, old):
            upstreams[each.name] = made[each.name]
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

    capability = Capability(settings.prefill.value, settings.software)
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


def _same_upstream(settings: UpstreamSettings, whole: Settings, old: Settings) -> bool:
    """Its limits among what has to be the same: they are the whole proxy's."""
    now, then = whole.limits, old.limits
    same_sizes = (now.held_bytes, now.response_bytes) == (then.held_bytes, then.response_bytes)
    same_limits = same_sizes and now.concurrent_requests == then.concurrent_requests
    return same_limits and settings in old.upstreams


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
