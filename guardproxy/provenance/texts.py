"""A text, indexed once: its words in order, the set of them, its facts and its sentences."""

import base64
import binascii
import html
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from guardproxy.provenance.facts import facts
from guardproxy.provenance.instructions import cue
from guardproxy.provenance.words import fold, humps, stems, words

MAX_SENTENCES: Final = 20_000  # of one text
_MAX_SENTENCE: Final = 400  # characters; what is longer is read in pieces
_MAX_TOKENS: Final = 64
_SHORT: Final = 16_384  # characters of texts that are remembered in numbers

_BREAK = re.compile(
    r"""(?:[.!?;]+(?=\s|["')\]}]|[A-Z]|$)|:\s+(?=[A-Z][a-z])|[\n\r]+|\\n|["']\s*[,:}\]]|[。！？；]+|</?[A-Za-z][^<>]{0,40}>)"""
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}|\A[A-Za-z0-9+/_-]{6,11}={0,2}\Z")
_HEX = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2}){6,})")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[a-zA-Z]{2,8});")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


class Sentence(NamedTuple):
    stems: frozenset[str]
    cue: float  # from 0 to 1: how much it sounds like an order
    words: int


class Text:
    """What a text can be searched by. Made by `indexed`; immutable but for what is worked out when first asked for."""

    def __init__(self, text: str) -> None:
        self.raw = text
        self.folded = fold(text)
        self._words = words(text)
        self.flat = f" {' '.join(self._words)} "

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self._words)

    @cached_property
    def stems(self) -> frozenset[str]:
        return stems(self._words) | stems(humps(self.raw))

    @cached_property
    def facts(self) -> frozenset[str]:
        return facts(self.folded)

    @cached_property
    def compact(self) -> str:
        """The letters and digits alone."""
        return self.flat.replace(" ", "")

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        return tuple(islice(_sentences(self.raw), MAX_SENTENCES))


def _sentences(text: str) -> Iterator[Sentence]:
    for start, end in _spans(text):
        piece = text[start:end]
        found = words(piece)
        if len(found) > 1:
            yield Sentence(stems(found) | stems(humps(piece)), cue(found, piece), len(found))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _BREAK.finditer(text):
        yield from _pieces(start, match.start())
        start = match.end()
    yield from _pieces(start, len(text))


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    for at in range(start, end, _MAX_SENTENCE):
        yield at, min(at + _MAX_SENTENCE, end)


def indexed(text: str, *, unveil: bool = False) -> Text:
    """The index of a text, or of a text followed by what the encoded runs in it say. What was asked for lately is
    remembered, within bounds."""
    return _short(text, unveil) if len(text) <= _SHORT else _long(text, unveil)


@lru_cache(maxsize=512)
def _short(text: str, unveil: bool) -> Text:
    return _index(text, unveil)


@lru_cache(maxsize=8)
def _long(text: str, unveil: bool) -> Text:
    return _index(text, unveil)


def _index(text: str, unveil: bool) -> Text:
    return Text("\n".join([text, *decodings(text)]) if unveil and looks_encoded(text) else text)


def looks_encoded(text: str) -> bool:
    return any(mark.search(text) for mark in (_PERCENT, _ENTITY, _ESCAPE, _BASE64))


def decodings(text: str) -> Iterator[str]:
    """What a text says once a layer of encoding is taken off, in each way that applies."""
    if "%" in text and _PERCENT.search(text):
        yield unquote_plus(text, errors="replace")
    if "&" in text and _ENTITY.search(text):
        yield html.unescape(text)
    if "\\u" in text:
        yield _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    for match in islice(_BASE64.finditer(text), _MAX_TOKENS):
        yield from _from_base64(match[0])
    for match in islice(_HEX.finditer(text), _MAX_TOKENS):
        yield from _printable(bytes.fromhex(match[1]))


def _from_base64(token: str) -> Iterator[str]:
    bare = token.rstrip("=")
    if bare.islower() or bare.isdigit() or len(bare) % 4 == 1:
        return
    try:
        data = base64.b64decode(bare.translate(_TO_STANDARD) + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return
    yield from _printable(data)


_TO_STANDARD = str.maketrans("-_", "+/")


def _printable(data: bytes) -> Iterator[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    if len(text) > 2 and all(c.isprintable() or c in "\n\r\t" for c in text):
        yield text
