"""One request and its answer: what a chat server is asked, and what the client hears of its answer. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardproxy.model import Position
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject
from guardproxy.upstream.bridge import messages_request, responses_request
from guardproxy.upstream.bridge.blocks import Event
from guardproxy.upstream.bridge.chat_answer import ChatAnswer
from guardproxy.upstream.bridge.messages_answer import MessagesWriter
from guardproxy.upstream.bridge.prefill import prefill_of, with_prefill_marked
from guardproxy.upstream.bridge.responses_answer import ResponsesWriter
from guardproxy.upstream.bridge.tool_names import ToolNames
from guardproxy.upstream.bridge.writer import AnswerWriter

RESPONSES_PATH = "/responses"
MESSAGES_PATH = "/messages"
TRANSLATED = frozenset({RESPONSES_PATH, MESSAGES_PATH})


@dataclass(frozen=True, slots=True)
class Translation:
    """`chat` is the body of the chat completions request; `writer` writes the answer to it.

    `prefill` is the beginning of the answer that the request gives, which is no part of the answer in the asked API.
    """

    chat: JsonObject
    writer: AnswerWriter
    prefill: str = ""


def translate(
    path: str, tree: Mapping[str, Any], nonce: str, continues: Position = Position.TRAILING_ASSISTANT
) -> Translation:
    """`path` is one of TRANSLATED. `nonce` is like no other answer's. `continues` is how the server goes on with a
    message of the assistant. Raises MalformedRequest, naming the field."""
    if path == MESSAGES_PATH:
        chat, writer = messages_request.translate(tree), MessagesWriter(tree, nonce)
        if prefill := prefill_of(chat):
            chat = with_prefill_marked(chat, continues)
        return Translation(chat, writer, prefill)
    names = ToolNames()
    chat = responses_request.translate(tree, names)
    return Translation(chat, ResponsesWriter(tree, names, nonce))


class ChunkTranslator:
    """Of a streamed answer. Raises UpstreamError where the stream is no answer, or none that can be translated."""

    def __init__(self, writer: AnswerWriter, prefill: str = "") -> None:
        self._answer = ChatAnswer(prefill)
        self._writer = writer
        self.done = False

    def feed(self, frame: Frame) -> list[Frame]:
        """The events that one event of the chat stream becomes. The end mark ends the answer."""
        if frame.tree is None:
            return self.close()
        return self._written(self._answer.chunk(frame.tree))

    def close(self) -> list[Frame]:
        """The end of the stream, once; some servers leave out the mark."""
        if self.done:
            return []
        self.done = True
        return self._written(self._answer.end())

    def _written(self, events: list[Event]) -> list[Frame]:
        return [frame for event in events for frame in self._writer.write(event)]


def translate_whole(tree: JsonObject, writer: AnswerWriter, prefill: str = "") -> JsonObject:
    """A whole answer. Raises UpstreamError as a stream would."""
    for event in ChatAnswer(prefill).completion(tree):
        writer.write(event)
    return writer.whole()
