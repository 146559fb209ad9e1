"""POST /v1/responses, streamed and whole."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from guardproxy.decision import Permit
from guardproxy.errors import VisibleError
from guardproxy.history import Past
from guardproxy.model import CallKey, Injection, Position, Request, Turn
from guardproxy.stream.frame import Frame
from guardproxy.stream.sse import KEEP_ALIVE
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.responses import edit, frames
from guardproxy.surfaces.responses.contract import CONTRACT
from guardproxy.surfaces.responses.reader import ResponsesReader
from guardproxy.surfaces.responses.request import ResponsesRequest, parse
from guardproxy.surfaces.responses.writer import ResponsesWriter
from guardproxy.surfaces.surface import Reader, Refusal, RequestRules, Writer, openai_error

__all__ = ["CONTRACT", "Responses"]

_LEAST_TOKENS = 16  # that the API takes as a limit


class Responses:
    """The responses surface. Stateless."""

    name = "responses"
    path = "/v1/responses"
    upstream_path = "/responses"
    keep_alive = KEEP_ALIVE
    queries: frozenset[str] = frozenset()
    positions = frozenset({Position.SUFFIX, Position.INSTRUCTION})

    def parse(self, tree: JsonObject, rules: RequestRules) -> Request:
        return parse(tree, rules)

    def with_injection(self, request: Request, injection: Injection) -> Request:
        return edit.with_injection(request, injection)

    def with_feedback(self, request: Request, turn: Turn, feedback: Mapping[CallKey, str], reader: Reader) -> Request:
        return edit.with_feedback(request, turn, feedback)

    def without_results(self, request: Request, digests: frozenset[str], notice: str) -> Request:
        return edit.without_results(request, digests, notice)

    def with_past(self, request: Request, past: Past, *, whole: bool) -> Request:
        return edit.with_past(_ours(request), past, whole=whole)

    def with_references(self, request: Request, known: Mapping[str, JsonObject]) -> Request:
        return edit.with_references(_ours(request), known)

    def past(self, request: Request, reader: Reader, writer: Writer, permit: Permit, refusal: Refusal) -> Past | None:
        ours = cast(ResponsesReader, reader), cast(ResponsesWriter, writer)
        return edit.past(_ours(request), *ours, permit, refusal)

    def reader(self, request: Request) -> Reader:
        return ResponsesReader(stream=request.stream, hosted_shell=_ours(request).hosted_shell)

    def writer(self, request: Request) -> Writer:
        return ResponsesWriter()

    def question(self, model: str, text: str, max_tokens: int) -> Request:
        limit = max(_LEAST_TOKENS, max_tokens)
        tree: JsonObject = {"model": model, "input": text, "max_output_tokens": limit, "temperature": 0, "store": False}
        return parse(tree, RequestRules())

    def finished_in(self, frame: Frame) -> Sequence[int]:
        return frames.finished_in(frame)

    def usage_of(self, frame: Frame) -> Mapping[str, Any] | None:
        return frames.usage_of(frame)

    def with_usage(self, frame: Frame, usage: Mapping[str, Any]) -> Frame:
        return frames.with_usage(frame, usage)

    def texts_of(self, frame: Frame) -> Mapping[int, str]:
        return frames.texts_of(frame)

    def with_texts(self, frame: Frame, texts: Mapping[int, str]) -> Frame:
        return frames.with_texts(frame, texts)

    def error_tree(self, error: VisibleError) -> JsonObject:
        return openai_error(error)

    def error_frame(self, error: VisibleError) -> Frame:
        return frames.error_frame(error)


def _ours(request: Request) -> ResponsesRequest:
    if not isinstance(request, ResponsesRequest):
        raise TypeError("this request was read by another surface")
    return request
