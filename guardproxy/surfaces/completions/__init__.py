"""POST /v1/completions, streamed and whole. Text only: the calls in it are those that an agent parses out of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.decision import Permit
from guardproxy.errors import MalformedRequest, VisibleError
from guardproxy.history import Past
from guardproxy.model import CallKey, Delta, Injection, Position, Request, Turn
from guardproxy.stream.frame import Frame
from guardproxy.stream.sse import KEEP_ALIVE
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.completions import answer
from guardproxy.surfaces.completions import request as requests
from guardproxy.surfaces.completions.amend import Amendment
from guardproxy.surfaces.surface import Reader, Refusal, RequestRules, Writer, openai_error

_CONTINUED = ("id", "created", "model")


class Completions:
    """The completions surface. Stateless."""

    name = "completions"
    path = "/v1/completions"
    upstream_path = "/completions"
    keep_alive = KEEP_ALIVE
    queries: frozenset[str] = frozenset()
    positions = frozenset({Position.TRAILING_ASSISTANT, Position.INSTRUCTION})

    def parse(self, tree: JsonObject, rules: RequestRules) -> Request:
        return requests.parse(tree, rules)

    def with_injection(self, request: Request, injection: Injection) -> Request:
        return requests.with_injection(request, injection)

    def with_feedback(self, request: Request, turn: Turn, feedback: Mapping[CallKey, str], reader: Reader) -> Request:
        return requests.with_feedback(request, turn, feedback)

    def without_results(self, request: Request, digests: frozenset[str], notice: str) -> Request:
        """A prompt has no results of its own."""
        return request

    def with_past(self, request: Request, past: Past, *, whole: bool) -> Request:
        raise MalformedRequest("Completions do not go on from a stored answer.")

    def with_references(self, request: Request, known: Mapping[str, JsonObject]) -> Request:
        return request

    def past(self, request: Request, reader: Reader, writer: Writer, permit: Permit, refusal: Refusal) -> Past | None:
        return None

    def reader(self, request: Request) -> Reader:
        return _Reader(request.choices, whole=not request.stream)

    def writer(self, request: Request) -> Writer:
        return _Writer()

    def question(self, model: str, text: str, max_tokens: int) -> Request:
        tree: JsonObject = {"model": model, "prompt": text, "max_tokens": max_tokens, "temperature": 0}
        return requests.parse(tree, RequestRules())

    def finished_in(self, frame: Frame) -> Sequence[int]:
        return [choice["index"] for choice in _choices(frame) if choice.get("finish_reason") is not None]

    def usage_of(self, frame: Frame) -> Mapping[str, Any] | None:
        usage = (frame.tree or {}).get("usage")
        return usage if isinstance(usage, dict) else None

    def with_usage(self, frame: Frame, usage: Mapping[str, Any]) -> Frame:
        return frame._replace(tree={**(frame.tree or {}), "usage": dict(usage)})

    def texts_of(self, frame: Frame) -> Mapping[int, str]:
        return {choice["index"]: choice["text"] for choice in _choices(frame) if isinstance(choice.get("text"), str)}

    def with_texts(self, frame: Frame, texts: Mapping[int, str]) -> Frame:
        choices: list[Json] = [
            choice | {"text": texts[choice["index"]]} if choice["index"] in texts else choice
            for choice in _choices(frame)
        ]
        return frame._replace(tree={**(frame.tree or {}), "choices": choices})

    def error_tree(self, error: VisibleError) -> JsonObject:
        return openai_error(error)

    def error_frame(self, error: VisibleError) -> Frame:
        """The SDK raises on an event with an `error` member."""
        return Frame(openai_error(error))


class _Reader:
    """`ended`: of a stream, the end mark says it."""

    def __init__(self, choices: int, *, whole: bool) -> None:
        self._choices = choices
        self.ended = whole

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        return answer.read(tree, self._choices, whole=self.ended)

    def amend(self, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        amendment = Amendment.of(refusal, _with_text_before(held, permit.turn))
        return amendment.whole(held) if self.ended else amendment.chunks(held)


class _Writer:
    """Later attempts go on under the first one's identity."""

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
            return (frame._replace(tree=frame.tree | head),)
        return (frame,)


def _with_text_before(held: Sequence[Frame], turn: Turn) -> set[int]:
    """The choices of which some text came before the held frames."""
    lengths: dict[int, int] = {}
    for frame in held:
        for choice in _choices(frame):
            lengths[choice["index"]] = lengths.get(choice["index"], 0) + len(choice.get("text") or "")
    return {index for index, text in turn.texts.items() if len(text) > lengths.get(index, 0)}


def _choices(frame: Frame) -> list[Any]:
    """Of a frame that was read before, so that its shape is known to be right."""
    choices = (frame.tree or {}).get("choices")
    return choices if isinstance(choices, list) else []
