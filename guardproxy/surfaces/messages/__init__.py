"""POST /v1/messages, streamed and whole."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.decision import Permit
from guardproxy.errors import MalformedRequest, VisibleError
from guardproxy.history import Past
from guardproxy.model import CallKey, Injection, Position, Request, Turn
from guardproxy.stream.frame import Frame
from guardproxy.stream.sse import encode_event
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.messages import edit, frames
from guardproxy.surfaces.messages.error import error_tree
from guardproxy.surfaces.messages.reader import MessageReader, StreamReader
from guardproxy.surfaces.messages.request import parse
from guardproxy.surfaces.messages.writer import MessageWriter, StreamWriter
from guardproxy.surfaces.surface import Reader, Refusal, RequestRules, Writer


class Messages:
    """The messages surface. Stateless."""

    name = "messages"
    path = "/v1/messages"
    upstream_path = "/messages"
    keep_alive = encode_event("ping", b'{"type":"ping"}')
    queries = frozenset({"beta=true"})
    positions = frozenset({Position.TRAILING_ASSISTANT, Position.SUFFIX, Position.INSTRUCTION})

    def parse(self, tree: JsonObject, rules: RequestRules) -> Request:
        return parse(tree, rules)

    def with_injection(self, request: Request, injection: Injection) -> Request:
        return edit.with_injection(request, injection)

    def with_feedback(self, request: Request, turn: Turn, feedback: Mapping[CallKey, str], reader: Reader) -> Request:
        """The thoughts of the model are given back to it."""
        said = reader.said if isinstance(reader, MessageReader | StreamReader) else ()
        return edit.with_feedback(request, turn, feedback, said)

    def without_results(self, request: Request, digests: frozenset[str], notice: str) -> Request:
        return edit.without_results(request, digests, notice)

    def with_past(self, request: Request, past: Past, *, whole: bool) -> Request:
        raise MalformedRequest("A message does not go on from a stored answer.")

    def with_references(self, request: Request, known: Mapping[str, JsonObject]) -> Request:
        return request

    def past(self, request: Request, reader: Reader, writer: Writer, permit: Permit, refusal: Refusal) -> Past | None:
        return None

    def reader(self, request: Request) -> Reader:
        return StreamReader(request) if request.stream else MessageReader(request)

    def writer(self, request: Request) -> Writer:
        return StreamWriter() if request.stream else MessageWriter()

    def question(self, model: str, text: str, max_tokens: int) -> Request:
        message: JsonObject = {"role": "user", "content": text}
        tree: JsonObject = {"model": model, "messages": [message], "max_tokens": max_tokens, "temperature": 0}
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
        return error_tree(error)

    def error_frame(self, error: VisibleError) -> Frame:
        return Frame(error_tree(error), "error")
