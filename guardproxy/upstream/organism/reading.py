"""The organism's tokens as what it says and what it calls. Pure."""

import codecs
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from guardproxy.upstream.organism.pen import Token
from guardproxy.upstream.organism.template import CALL, CALL_END, END, compact, read_call


@dataclass(frozen=True, slots=True)
class Said:
    """Text that can leave, and the tokens that it came with."""

    text: str
    tokens: Sequence[Token] = ()


@dataclass(frozen=True, slots=True)
class Called:
    """`arguments` is JSON."""

    name: str
    arguments: str


Event = Said | Called


@dataclass(slots=True)
class TurnReader:
    """`begun`: what the prompt has already begun of a call. `texts`: by tool, the
    parameters that are texts. `stops`: texts at which the turn ends, themselves left out.

    What the model wrote as a call and is none is text, marks and all.
    """

    begun: str | None = None
    texts: Mapping[str, Collection[str]] = field(default_factory=dict)
    stops: Sequence[str] = ()
    trim: bool = False  # the space with which text begins is the prompt's
    ended: bool = False
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    _call: bytes | None = None
    _held: str = ""
    _tokens: list[Token] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.begun is not None:
            self._call = self.begun.encode()

    def receive(self, token: Token) -> Iterator[Event]:
        """Nothing more is to be read once `ended`."""
        match token.mark:
            case "" if self._call is not None:
                self._call += token.data
            case "":
                self._tokens.append(token)
                yield from self._text(self._decoder.decode(token.data))
            case mark if mark == CALL and self._call is None:
                yield from self._flush()
                self._call = b""
            case mark if mark == CALL_END and self._call is not None:
                yield self._called(self._call.decode("utf-8", "replace"), CALL_END)
                self._call = None
            case _:
                self.ended = True

    def finish(self) -> Iterator[Event]:
        """What is left when nothing more comes."""
        if self._call is not None:
            yield self._called(self._call.decode("utf-8", "replace"), "")
            self._call = None
        yield from self._flush()

    def _called(self, text: str, end: str) -> Event:
        found = read_call(text, self.texts.get(text.strip().partition("\n")[0].strip(), ()))
        return Said(f"{CALL}{text}{end}") if found is None else Called(found[0], compact(found[1]))

    def _text(self, text: str) -> Iterator[Event]:
        if self.trim and text:
            text, self.trim = text.removeprefix(" "), False
        self._held += text
        cut = min((at for stop in self.stops if (at := self._held.find(stop)) >= 0), default=-1)
        if cut >= 0:
            self._held, self.ended = self._held[:cut], True
        kept = 0 if self.ended else max((len(stop) - 1 for stop in self.stops), default=0)
        text, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        yield from self._said(text)

    def _flush(self) -> Iterator[Event]:
        text, self._held = self._held + self._decoder.decode(b"", final=True), ""
        yield from self._said(text)

    def _said(self, text: str) -> Iterator[Event]:
        if text:
            yield Said(text, tuple(self._tokens))
            self._tokens.clear()


def is_end(token: Token) -> bool:
    return token.mark == END
