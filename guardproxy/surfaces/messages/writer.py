"""One message out of the leaving events of one or more attempts."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject


class MessageWriter:
    """Of a whole answer nothing leaves before the last attempt."""

    def begin_attempt(self) -> None:
        pass

    def write(self, frame: Frame) -> Sequence[Frame]:
        return (frame,)


class StreamWriter:
    """Later attempts go on in the first one's message: with the next block, and with usage that never falls.

    Some clients go by an event's name and some by the type in its data, so the name is always made to say the same.
    """

    def __init__(self) -> None:
        self._begun = False
        self._shift = 0  # the blocks of earlier attempts
        self._next = 0
        self._open: list[int] = []
        self._usage: Mapping[str, Any] = {}

    def begin_attempt(self) -> None:
        """Nothing yet: an attempt that the upstream refuses leaves the one before to be ended."""

    def write(self, frame: Frame) -> Sequence[Frame]:
        tree = frame.tree
        if tree is None:
            return (frame,)
        match tree["type"]:
            case "message_start":
                return self._message_start(frame, tree)
            case "content_block_start" | "content_block_delta" | "content_block_stop":
                tree = self._block_event(tree)
            case "message_delta" if self._usage:
                usage = tree.get("usage")
                tree = tree | {"usage": _highest(self._usage, usage if isinstance(usage, dict) else {})}
            case _:
                pass
        kind = str(tree["type"])
        return (frame if tree is frame.tree and frame.event == kind else Frame(tree, kind),)

    def _message_start(self, frame: Frame, tree: JsonObject) -> Sequence[Frame]:
        """Of a later attempt it gives way to the ends of the blocks that the one before left open."""
        if not self._begun:
            self._begun = True
            return (frame if frame.event == "message_start" else Frame(tree, "message_start"),)
        self._shift = self._next
        message = tree.get("message")
        usage = message.get("usage") if isinstance(message, dict) else None
        self._usage = usage if isinstance(usage, dict) else {}
        left_open, self._open = self._open, []
        return [Frame({"type": "content_block_stop", "index": place}, "content_block_stop") for place in left_open]

    def _block_event(self, tree: JsonObject) -> JsonObject:
        index = tree["index"]
        assert isinstance(index, int)  # read before
        place = index + self._shift
        if tree["type"] == "content_block_start":
            self._next = place + 1
            self._open.append(place)
        elif tree["type"] == "content_block_stop" and place in self._open:
            self._open.remove(place)
        return tree | {"index": place} if self._shift else tree


def _highest(counts: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The higher of two counts, name by name: both are totals, and one may lack what the other says."""
    joined = dict(more)
    for name, count in counts.items():
        other = joined.get(name)
        if isinstance(count, Mapping):
            joined[name] = _highest(count, other if isinstance(other, Mapping) else {})
        elif _is_count(count) and (not _is_count(other) or other < count):
            joined[name] = count
    return joined


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
