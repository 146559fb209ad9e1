"""Watches an answer as it streams: from where on its text must wait, and which calls it holds in the end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from guardproxy.text_calls.brackets import Brackets
from guardproxy.text_calls.find import calls_of, find_calls
from guardproxy.text_calls.marks import NO_PROGRAM, Mark, Marks, first_characters
from guardproxy.text_calls.watch import Format, Watch

MAX_REGION = 65_536  # characters of a region in brackets; a longer one waits for the end of the turn
_MAX_OPENING = 2_048


class Channel(StrEnum):
    """What of an answer a text belongs to."""

    REASONING = "reasoning"
    TEXT = "text"


class Suspicion(IntEnum):
    CLEAR = 0  # nothing, or what was suspected has been refuted
    SUSPECT = 1  # may become a call; may also turn out, at the end of the turn, to be none
    CALL = 2  # is a call: hold until the turn ends


@dataclass(frozen=True, slots=True)
class TextCall:
    """A call that is written out. `start` is the character of its choice's channel at which its markup begins;
    `arguments` is JSON text, or the raw text where a laxer reader than JSON's is needed. Of the calls of a channel
    that are the same in name and arguments there is one."""

    choice: int
    channel: Channel
    start: int
    name: str
    arguments: str


class TextCallScanner:
    """Serves one turn. The calls do not depend on how the text was cut."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._streams: dict[tuple[int, Channel], _Stream] = {}

    def feed(self, choice: int, channel: Channel, text: str) -> Suspicion:
        """The state of the choice after this piece, over both channels."""
        key = (choice, channel)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(_watch_of(channel, self._watch))
        stream.feed(text)
        if len(self._streams) == 1:
            return stream.suspicion
        return max(other.suspicion for (of, _), other in self._streams.items() if of == choice)

    def close(self) -> Sequence[TextCall]:
        """At the end of the turn: every call, by choice, reasoning before text, in the order of their beginnings."""
        return [
            TextCall(choice, channel, found.start, found.call.name, found.call.arguments)
            for (choice, channel), stream in sorted(self._streams.items(), key=lambda entry: entry[0])
            if stream.suspicion is not Suspicion.CLEAR
            for found in find_calls(stream.text, stream.watch)
        ]


class _Stream:
    """The text of one channel of one choice. Nearly every piece of prose is passed over by one regular expression."""

    __slots__ = (
        "_brackets",
        "_held",
        "_idle",
        "_marks",
        "_opening",
        "_pieces",
        "_quick",
        "_size",
        "suspicion",
        "watch",
    )

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.suspicion = Suspicion.CLEAR
        self._held = False  # until the end of the turn
        self._marks = Marks(watch)
        self._brackets = Brackets(watch.formats)
        self._quick = first_characters(watch.formats).search
        self._opening: str | None = "" if Format.PROGRAM in watch.formats else None
        self._idle = self._opening is None  # nothing is suspected
        self._pieces: list[str] = []
        self._size = 0

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def feed(self, piece: str) -> None:
        if not piece:
            return
        if not (self._held or (self._idle and self._quick(piece) is None)):
            self._examine(piece)
        self._pieces.append(piece)
        self._size += len(piece)

    def _examine(self, piece: str) -> None:
        mark = self._marks.feed(piece, self._pieces[-1][-1] if self._pieces else "")
        regions = self._brackets.feed(piece, self._size)
        if regions and any(calls_of(region.text, self.watch) for region in regions):
            self._held, self.suspicion = True, Suspicion.CALL
        elif mark is Mark.FOUND or self._brackets.size > MAX_REGION:
            self._held, self.suspicion = True, Suspicion.SUSPECT
        elif self._may_be_program(piece) or mark is Mark.OPEN or self._brackets.open:
            self.suspicion = Suspicion.SUSPECT
        else:
            self.suspicion = Suspicion.CLEAR
        self._idle = self.suspicion is Suspicion.CLEAR

    def _may_be_program(self, piece: str) -> bool:
        """Whether the answer, as it begins, could be a program as it stands."""
        if self._opening is None:
            return False
        if len(self._opening) < _MAX_OPENING:
            self._opening += piece
        if not NO_PROGRAM.match(self._opening):
            return True
        self._opening = None
        return False


def _watch_of(channel: Channel, watch: Watch) -> Watch:
    """No agent runs its model's reasoning as it stands."""
    return watch if channel is Channel.TEXT else replace(watch, formats=watch.formats - {Format.PROGRAM})
