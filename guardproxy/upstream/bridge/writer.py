"""What writes an answer in the asked API: one object for each answer, fed with the blocks as they come. Pure."""

import re
from typing import Protocol

from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject
from guardproxy.upstream.bridge.blocks import Event

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
_MAX_ID = 64


class AnswerWriter(Protocol):
    def write(self, event: Event) -> list[Frame]:
        """The events of the stream that say it. Raises UpstreamProtocolError for what this API cannot say."""
        ...

    def whole(self) -> JsonObject:
        """The whole answer as one object, once its end was written."""
        ...


def answer_id(chat_id: str, nonce: str) -> str:
    """What an answer's ids are made of. Servers repeat ids; `nonce` does not, and stored answers are found by id."""
    plain = _NOT_IN_IDS.sub("", chat_id.removeprefix("chatcmpl-"))[:_MAX_ID]
    return f"{plain}_{nonce}" if plain else nonce
