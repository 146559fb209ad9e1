"""Providers that do not speak the OpenAI API, through litellm, which translates.

litellm takes seconds to import and much memory, so it is imported by `start`, on a thread, and only where an upstream
of this kind is configured. It is kept to translation: no callbacks, no telemetry, no retries, no gateway for tools that
it would run itself, no download of price lists, no .env file, nothing printed. Of a client's request it sees only the
fields named here, because its keyword arguments also choose addresses, keys and callbacks.

Two things it would hide are looked for: a stream that broke off, which it ends with a `stop` of its own making, and
error texts that hold the provider's whole answer (see `litellm_shapes`).
"""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from guardproxy import strict_json
from guardproxy.errors import (
    ConfigurationError,
    Fault,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefusal,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from guardproxy.model import Credential
from guardproxy.quiet_litellm import load as _load
from guardproxy.strict_json import JsonObject
from guardproxy.upstream import headers
from guardproxy.upstream.litellm_shapes import chunk_tree, completion_tree, error_fields, finishes
from guardproxy.upstream.upstream import Reply, UpstreamRequest

_log = logging.getLogger(__name__)
_running: "set[LitellmUpstream]" = set()

_BEHIND_OURS_S = 5.0  # litellm's own timeouts come after ours, whose errors are clear

_FIELDS = frozenset(
    {
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    },
)
_OPTIONS = frozenset({"api_version", "custom_llm_provider", "deployment_id", "organization", "region_name"})
_OPTION_PREFIXES = ("aws_", "azure_", "vertex_", "watsonx_")
# Their credentials are no bearer tokens, so a client's key would only get in the way of them.
_SIGNED = ("bedrock", "sagemaker", "vertex_ai")


class LitellmUpstream:
    """One provider. The client's model name follows `model_prefix`: "anthropic/" makes "anthropic/claude-…" of it.

    `api_key` is sent; without one the client's own; without that litellm looks into the environment. `options` go to
    litellm with every request (regions, versions, cloud credentials). `models` is what GET /models lists.
    """

    remembers = False

    def __init__(
        self,
        *,
        name: str,
        api_key: str | None = None,
        base_url: str | None = None,
        model_prefix: str = "",
        options: Mapping[str, str] | None = None,
        models: Sequence[str] = (),
        idle_timeout_s: float = 300.0,
        max_response_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.name = name
        self._api_key = api_key
        self._base_url = base_url
        self._model_prefix = model_prefix
        self._options = _checked_options(name, options or {})
        self._models = tuple(model for model in models if not set(model) & set("*?["))
        self._idle_timeout_s = idle_timeout_s
        self._max_response_bytes = max_response_bytes

    async def start(self) -> None:
        """Raises ConfigurationError where litellm is not installed."""
        try:
            await asyncio.to_thread(_load)
        except ImportError:
            problem = "litellm is not installed; install guardproxy[litellm]"
            raise ConfigurationError([Fault("upstreams", None, f"{self.name}.kind", problem)]) from None
        _running.add(self)

    async def close(self) -> None:
        """The last one closes litellm's connections, which all upstreams of this kind share."""
        _running.discard(self)
        if not _running and "litellm" in sys.modules:
            await _load().close_litellm_async_clients()

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncIterator[Reply]:
        match request.method, request.path:
            case "POST", "/chat/completions":
                pass
            case "GET", "/models":
                yield _Whole(self._listing(), (), self._max_response_bytes)
                return
            case _:
                raise UpstreamRefusal(501, "this upstream answers chat completions only", code="not_supported")
        answer = await self._ask(request)
        if not request.stream:
            yield _Whole(completion_tree(answer.model_dump(mode="json")), _headers_of(answer), self._max_response_bytes)
            return
        try:
            yield _Stream(self, answer, request.deadline)
        finally:
            await answer.aclose()

    async def _ask(self, request: UpstreamRequest) -> Any:
        """litellm's answer: a ModelResponse, or a CustomStreamWrapper for a stream. Raises UpstreamError."""
        arguments = self._arguments(request)
        litellm = await asyncio.to_thread(_load)
        try:
            async with asyncio.timeout(_seconds_left(request.deadline, self._idle_timeout_s)):
                return await litellm.acompletion(**arguments)
        except Exception as error:
            raise self.failure(error, begun=False) from None

    def _arguments(self, request: UpstreamRequest) -> dict[str, Any]:
        tree = request.tree or {}
        if request.stream and (tree.get("n") or 1) != 1:
            raise UpstreamRefusal(400, "this upstream streams one choice only; ask for n = 1", param="n")
        arguments = {name: tree[name] for name in _FIELDS if tree.get(name) is not None}
        if request.stream and tree.get("stream_options") is not None:
            arguments["stream_options"] = tree["stream_options"]
        model = self._model_prefix + str(tree.get("model") or "")
        return {
            **arguments,
            **self._options,
            "model": model,
            "stream": request.stream,
            "api_key": self._key(model, request.credential),
            "api_base": self._base_url,
            "timeout": _seconds_left(request.deadline, self._idle_timeout_s) + _BEHIND_OURS_S,
            "drop_params": True,
            "max_retries": 0,
            "num_retries": 0,
            "caching": False,
            "no-log": True,
            "_skip_mcp_handler": True,  # or it would run the tools of MCP servers itself, past every guard
        }

    def _key(self, model: str, credential: Credential | None) -> str | None:
        provider = self._options.get("custom_llm_provider") or model.partition("/")[0]
        if self._api_key or provider.startswith(_SIGNED):
            return self._api_key
        if credential is None:
            return None
        if credential.header == "x-api-key":
            return credential.value
        scheme, _, token = credential.value.partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None

    def failure(self, error: BaseException, *, begun: bool) -> UpstreamError:
        """`error` as one of ours. Once an answer has `begun` its status is no longer the provider's."""
        ours = self._translated(error, begun)
        _log.warning("upstream %s failed: %s (%s)", self.name, ours.code or ours.type, type(error).__name__)
        return ours

    def _translated(self, error: BaseException, begun: bool) -> UpstreamError:
        status = getattr(error, "status_code", None)
        causes = list(_causes(error))
        if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in causes):
            return UpstreamTimeout("the provider did not answer in time")
        if not begun and any(isinstance(cause, OSError) for cause in causes):
            return UpstreamUnavailable("the provider cannot be reached")
        passed = getattr(error, "litellm_response_headers", None)
        made_up = status == 500 and passed is None  # how litellm reports whatever it did not expect
        if begun or not isinstance(status, int) or not 400 <= status < 600 or made_up:
            return UpstreamProtocolError("the provider's answer is broken or incomplete")
        if type(error).__name__ == "APIConnectionError":
            return UpstreamProtocolError("the provider's answer cannot be read")
        fields = error_fields(str(getattr(error, "message", error)), getattr(error, "body", None), status)
        return UpstreamRefusal(
            status,
            self._redacted(fields.message),
            type=fields.type,
            param=fields.param,
            code=fields.code,
            headers=headers.to_client(dict(passed or {})),
        )

    def _redacted(self, message: str) -> str:
        for secret in (self._api_key, self._base_url, *self._options.values()):
            if secret and len(secret) > 5:
                message = message.replace(secret, "[redacted]")
        return message

    def _listing(self) -> JsonObject:
        return {
            "object": "list",
            "data": [{"id": model, "object": "model", "created": 0, "owned_by": self.name} for model in self._models],
        }

    async def events(self, answer: Any, deadline: float) -> AsyncIterator[bytes]:
        """The server-sent events of a stream. Raises UpstreamError."""
        left = self._max_response_bytes
        while True:
            tree = await self._next(answer, deadline)
            if tree is None:
                yield b"data: [DONE]\n\n"
                return
            if finishes(tree) and answer.received_finish_reason is None and answer.intermittent_finish_reason is None:
                raise UpstreamProtocolError("the provider's stream broke off")
            event = b"data: " + strict_json.encode(tree) + b"\n\n"
            left -= len(event)
            if left < 0:
                raise _too_large()
            yield event

    async def _next(self, answer: Any, deadline: float) -> JsonObject | None:
        try:
            async with asyncio.timeout(_seconds_left(deadline, self._idle_timeout_s)):
                chunk = await anext(answer)
        except StopAsyncIteration:
            return None
        except Exception as error:
            raise self.failure(error, begun=True) from None
        return chunk_tree(chunk.model_dump(mode="json", exclude_none=True))


class _Whole:
    __slots__ = ("_limit", "_tree", "content_type", "headers", "status")

    def __init__(self, tree: JsonObject, passed: tuple[tuple[str, str], ...], limit: int) -> None:
        self.status = 200
        self.headers = passed
        self.content_type = "application/json"
        self._tree = tree
        self._limit = limit

    async def chunks(self) -> AsyncIterator[bytes]:
        body = strict_json.encode(self._tree)
        if len(body) > self._limit:
            raise _too_large()
        yield body


class _Stream:
    __slots__ = ("_answer", "_deadline", "_upstream", "content_type", "headers", "status")

    def __init__(self, upstream: LitellmUpstream, answer: Any, deadline: float) -> None:
        self.status = 200
        self.headers = _headers_of(answer)
        self.content_type = "text/event-stream"
        self._upstream = upstream
        self._answer = answer
        self._deadline = deadline

    def chunks(self) -> AsyncIterator[bytes]:
        return self._upstream.events(self._answer, self._deadline)


def _headers_of(answer: Any) -> tuple[tuple[str, str], ...]:
    """The provider's own headers, which litellm hands on under a prefix."""
    hidden = getattr(answer, "_hidden_params", None) or {}
    found = hidden.get("additional_headers") or {}
    return headers.to_client((name.removeprefix("llm_provider-"), str(value)) for name, value in found.items())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """litellm wraps errors several deep, and keeps the one that broke a stream in an attribute of its own."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = getattr(error, "original_exception", None) or error.__cause__ or error.__context__


def _too_large() -> UpstreamProtocolError:
    return UpstreamProtocolError("the provider's answer is larger than the limit", code="upstream_answer_too_large")


def _seconds_left(deadline: float, idle_timeout_s: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise UpstreamTimeout("the deadline passed before the provider was asked")
    return min(left, idle_timeout_s)


def _checked_options(name: str, options: Mapping[str, str]) -> dict[str, str]:
    unknown = [key for key in options if key not in _OPTIONS and not key.startswith(_OPTION_PREFIXES)]
    if unknown:
        raise ConfigurationError(
            [Fault("upstreams", None, f"{name}.options.{key}", "is no option that is passed on") for key in unknown]
        )
    return dict(options)
