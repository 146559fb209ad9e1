"""POST /v1/chat/completions, streamed and whole."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.decision import Permit
from guardproxy.errors import MalformedRequest, VisibleError
from guardproxy.history import Past
from guardproxy.model import CallKey, Delta, Injection, Position, Request, Turn
from guardproxy.stream.frame import Frame
from guardproxy.stream.sse import KEEP_ALIVE
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.chat_completions import amend, answer
from guardproxy.surfaces.chat_completions import request as requests
from guardproxy.surfaces.surface import Reader, Refusal, RequestRules, Writer, openai_error

_CONTINUED = ("id", "created", "model")


class ChatCompletions:
    """The chat completions surface. Stateless."""

    name = "chat_completions"
    path = "/v1/chat/completions"
    upstream_path = "/chat/completions"
    keep_alive = KEEP_ALIVE
    queries: frozenset[str] = frozenset()
    positions = frozenset(Position)

    def parse(self, tree: JsonObject, rules: RequestRules) -> Request:
        return requests.parse(tree, rules)

    def with_injection(self, request: Request, injection: Injection) -> Request:
        return requests.with_injection(request, injection)

    def with_feedback(self, request: Request, turn: Turn, feedback: Mapping[CallKey, str], reader: Reader) -> Request:
        return requests.with_feedback(request, turn, feedback)

    def without_results(self, request: Request, digests: frozenset[str], notice: str) -> Request:
        return requests.without_results(request, digests, notice)

    def with_past(self, request: Request, past: Past, *, whole: bool) -> Request:
        raise MalformedRequest("Chat completions do not go on from a stored answer.")

    def with_references(self, request: Request, known: Mapping[str, JsonObject]) -> Request:
        return request

    def past(self, request: Request, reader: Reader, writer: Writer, permit: Permit, refusal: Refusal) -> Past | None:
        return None

    def reader(self, request: Request) -> Reader:
        return _ChunkReader(request.choices) if request.stream else _CompletionReader(request.choices)

    def writer(self, request: Request) -> Writer:
        return _Writer()

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

    def error_tree(self, error: VisibleError) -> JsonObject:
        return openai_error(error)

    def error_frame(self, error: VisibleError) -> Frame:
        """The SDK raises on an event with an `error` member."""
        return Frame(openai_error(error))


class _ChunkReader:
    ended = False  # the end mark says it

    def __init__(self, choices: int) -> None:
        self._choices = choices

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        return answer.read_chunk(tree, self._choices)

    def amend(self, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        return amend.amend_chunks(held, permit, refusal)


class _CompletionReader:
    ended = True

    def __init__(self, choices: int) -> None:
        self._choices = choices

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        return answer.read_completion(tree, self._choices)

    def amend(self, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        return amend.amend_completion(held, permit, refusal)


class _Writer:
    """Later attempts go on under the first one's identity, and without a second role: some clients join roles."""

    def __init__(self) -> None:
        self._attempt = 0
        self._head: JsonObject | None = None

    def begin_attempt(self) -> None:
        self._attempt += 1

    def write(self, frame: Frame) -> Sequence[Frame]:
        if self._head is None:
            self._head = frame.tree
        elif self._attempt > 1 and frame.tree is not None:
            head = {name: self._head[name] for name in _CONTINUED if name in self._head}
            choices: list[Json] = [_without_role(choice) for choice in _choices(frame)]
            return (frame._replace(tree={**frame.tree, **head, "choices": choices}),)
        return (frame,)


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
