"""A surface author's tool kit: what a model says in a turn, and how one API writes it down and its clients read it.

A test says a turn as a script, a sequence of parts that knows no API. A `Wire` writes a script as a model server of
its API would, streamed or whole, and reads what reached a client as the clients of this API do. The conformance suite
(`guardproxy.testing.conformance`) runs over any wire, so a new surface brings a wire and inherits every test.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from guardproxy.model import CallKind
from guardproxy.stream.frame import Frame, encode_frame, frame_of_event
from guardproxy.stream.sse import SseParser
from guardproxy.surfaces.surface import Surface

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """`shape` names one of the wire's shapes. `arguments` is raw text: JSON unless the shape takes free text.

    A stream brings the arguments in so many `pieces` where the shape comes in pieces at all. `noise` is written where
    servers quote a call a second time: into log-probabilities, token ids, fields that nobody knows.
    """

    shape: str
    name: str
    arguments: str
    id: str = "call_1"
    pieces: int = 1
    noise: str = ""
    choice: int = 0


Part = Text | Reasoning | Call


@dataclass(frozen=True, slots=True)
class Shape:
    """One way in which a call can be written.

    `sample` is the text of valid arguments, with `MARK` where a test puts its own word. `tool` is the call's name
    where the API fixes it. `rewritten` is what a guard may put in place of the arguments; None where it cannot.
    """

    name: str
    kind: CallKind
    sample: str = '{"a":"MARK"}'
    tool: str | None = None
    rewritten: str | None = '{"fixed":true}'
    free_text: bool = False  # the arguments may be anything
    has_id: bool = True
    alone: bool = False  # at most one of them in a choice

    def arguments(self, mark: str) -> str:
        return self.sample.replace("MARK", mark)


class ReadCall(NamedTuple):
    """A call as a client would run it. `name` is what the guards call it (`namespace.name`)."""

    choice: int
    shape: str
    name: str
    arguments: str


ReadCalls = Callable[[Sequence[Frame]], list[ReadCall]]
"""A client: frames to calls, by choice and then in the order of the turn. A client that fails raises anything."""


class Wire(Protocol):
    """One API on the wire. A whole answer is read as one frame.

    `shapes` are by name. `most_choices` is the largest n that tests ask for. `interleaves`: pieces of one call may come
    between those of another. `settings` are fields of the Runtime that the API needs (such as text formats).
    """

    name: str
    shapes: Mapping[str, Shape]
    most_choices: int
    interleaves: bool
    settings: Mapping[str, Any]

    @property
    def surface(self) -> Surface: ...

    def request(self, *, stream: bool, n: int = 1, calls: Sequence[Call] = (), **fields: Any) -> Tree:
        """A client's request. It declares a tool for every one of `calls`."""
        ...

    def frames(self, parts: Sequence[Part], order: Sequence[int] | None = None) -> list[Frame]:
        """The turn streamed, with its opening and its terminal events and the end mark where the API has one.

        `order` names parts by their place, each as often as it has pieces to give; what it leaves out comes after.
        Without it the parts follow one another. The stop reason is that of the parts.
        """
        ...

    def whole(self, parts: Sequence[Part]) -> Tree:
        """The turn as one body."""
        ...

    def readers(self, *, stream: bool) -> Mapping[str, ReadCalls]:
        """Every way in which clients of this API are known to read calls, by a name: its official SDK, and by hand
        (first value wins, last value wins, concatenation, from the done events, from the terminal event)."""
        ...

    def variants(self, parts: Sequence[Part]) -> Mapping[str, Sequence[Frame]]:
        """Other honest ways to stream the same turn, by a name: done events only, call and text in one event."""
        ...

    def ended(self, frames: Sequence[Frame]) -> bool:
        """Whether a client takes what it received as a complete and good answer."""
        ...

    def texts(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        """What a client shows of the answer by choice: its text, or its refusal. Not its reasoning."""
        ...

    def stops(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        """Why each choice stopped: `calls`, `end` or `filter`. Left out where the API does not say it."""
        ...

    def faults(self, frames: Sequence[Frame], *, stream: bool) -> list[str]:
        """What a strict client would object to in a complete answer, in words: an index that is missing, a number out
        of order, an item that begins and does not end, a repeat that differs. Empty where all is well."""
        ...


def encode_frames(frames: Iterable[Frame]) -> bytes:
    """The bytes of a stream."""
    return b"".join(map(encode_frame, frames))


def decode_frames(data: bytes) -> list[Frame]:
    """What a client makes of the bytes of a stream; keep-alive comments are none of it."""
    return [frame_of_event(event) for event in SseParser(1 << 30).feed(data)]


def cut(text: str, pieces: int) -> list[str]:
    """The text in so many pieces, some of them empty where it is short."""
    bounds = [len(text) * i // pieces for i in range(pieces + 1)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


def interleave(tracks: Sequence[Sequence[Tree]], order: Sequence[int] | None) -> list[Tree]:
    """The pieces of every track: one in turn for each place that `order` names, and then whatever is left.

    A track begins only after those before it have begun.
    """
    left = [list(track) for track in tracks]
    merged: list[Tree] = []
    begun = 0
    for place in order or ():
        for track in left[begun : place + 1] if place >= begun else left[place : place + 1]:
            merged += track[:1]
            del track[:1]
        begun = max(begun, min(place + 1, len(left)))
    return merged + [piece for track in left for piece in track]
