"""POST /v1/chat/completions, streamed and whole."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.decision import Permit
from guardproxy.model import CallKey, Injection, Request, Turn
from guardproxy.stream.frame import Frame
from guardproxy.stream.gate import Read
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.chat_completions import amend, answer
from guardproxy.surfaces.chat_completions import request as requests
from guardproxy.surfaces.surface import Refusal, RequestRules

_CONTINUED = ("id", "created", "model")


class ChatCompletions:
    """The chat completions surface. Stateless."""

    name = "chat_completions"
    path = "/v1/chat/completions"
    upstream_path = "/chat/completions"

    def parse(self, tree: JsonObject, rules: RequestRules) -> Request:
        return requests.parse(tree, rules)

    def with_injection(self, request: Request, injection: Injection) -> Request:
        return requests.with_injection(request, injection)

    def with_feedback(self, request: Request, turn: Turn, feedback: Mapping[CallKey, str]) -> Request:
        return requests.with_feedback(request, turn, feedback)

    def without_results(self, request: Request, digests: frozenset[str], notice: str) -> Request:
        return requests.without_results(request, digests, notice)

    def reader(self, request: Request) -> Read:
        read = answer.read_chunk if request.stream else answer.read_completion
        return lambda tree: read(tree, request.choices)

    def amend(self, request: Request, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        amend_held = amend.amend_chunks if request.stream else amend.amend_completion
        return amend_held(held, permit, refusal)

    def continued(self, frame: Frame, head: Mapping[str, Any]) -> Frame:
        """Under the first attempt's identity, and without a second role: some clients concatenate roles."""
        if frame.tree is None:
            return frame
        choices: list[Json] = [_without_role(choice) for choice in _choices(frame)]
        return frame._replace(tree={**frame.tree, **{n: head[n] for n in _CONTINUED if n in head}, "choices": choices})

    def question(self, model: str, text: str, max_tokens: int) -> Request:
        message: JsonObject = {"role": "user", "content": text}
        tree: JsonObject = {"model": model, "messages": [message], "max_tokens": max_tokens, "temperature": 0}
        return requests.parse(tree, RequestRules())

    def finished_in(self, frame: Frame) -> Sequence[int]:
        choices = _choices(frame)
        return [choice["index"] for choice in choices if "message" in choice or choice.get("finish_reason") is not None]

    def usage_of(self, frame: Frame) -> Mapping[str, Any] | None:
        return answer.usage_of(frame.tree or {})

    def with_usage(self, frame: Frame, usage: Mapping[str, Any]) -> Frame:
        return frame._replace(tree={**(frame.tree or {}), "usage": dict(usage)})

    def texts_of(self, frame: Frame) -> Mapping[int, str]:
        return {
            choice["index"]: part["content"]
            for choice in _choices(frame)
            if isinstance(part := choice.get("delta", choice.get("message")), dict)
            and isinstance(part.get("content"), str)
        }

    def with_texts(self, frame: Frame, texts: Mapping[int, str]) -> Frame:
        choices: list[Json] = [_with_text(choice, texts) for choice in _choices(frame)]
        return frame._replace(tree={**(frame.tree or {}), "choices": choices})


def _choices(frame: Frame) -> list[Any]:
    """Of a frame that was read before, so that its shape is known to be right."""
    choices = (frame.tree or {}).get("choices")
    return choices if isinstance(choices, list) else []


def _without_role(choice: dict[str, Any]) -> dict[str, Any]:
    delta = choice.get("delta")
    if not isinstance(delta, dict) or "role" not in delta:
        return choice
    return choice | {"delta": {name: value for name, value in delta.items() if name != "role"}}


def _with_text(choice: dict[str, Any], texts: Mapping[int, str]) -> dict[str, Any]:
    name = "delta" if "delta" in choice else "message"
    if choice.get("index") not in texts:
        return choice
    return choice | {name: {**(choice.get(name) or {}), "content": texts[choice["index"]]}}
