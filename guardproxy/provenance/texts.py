"""A text, indexed once: its words in order, the set of them, its facts and its sentences."""

import base64
import binascii
import html
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from guardproxy.provenance.facts import facts
from guardproxy.provenance.instructions import cue
from guardproxy.provenance.once import Remembered, lazy
from guardproxy.provenance.words import fold, has_humps, humps, stems, words

MAX_CLOSE: Final = 400_000  # characters of one text that are read closely: as sentences, and with their endings off
MAX_SENTENCES: Final = 5_000  # of one text
_MAX_FACTUAL: Final = 100_000  # characters of one text that facts are looked for in
_MAX_FOREIGN: Final = 300_000  # characters of one text in other letters than ASCII's; more is not read
_MAX_VEILED: Final = 100_000  # characters of one text that encodings are taken off
_MAX_SENTENCE: Final = 400  # characters; what is longer is read in pieces
_MAX_TOKENS: Final = 64
_MAX_REMEMBERED: Final = 1_000_000  # characters

_BREAK = re.compile(
    r"""(?:[.!?;]+(?=\s|["')\]}]|[A-Z]|$)|:\s+(?=[A-Z][a-z])|[\n\r]+|\\n|["']\s*[,:}\]]|[。！？；]+|</?[A-Za-z][^<>]{0,40}>)"""
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_SHORT_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,11}={0,2}")
_HEX = re.compile(r"[0-9a-fA-F](?:[0-9a-fA-F]{2}){5,}[0-9a-fA-F]")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[a-zA-Z]{2,8});")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


class Sentence(NamedTuple):
    stems: frozenset[str]
    cue: float  # from 0 to 1: how much it sounds like an order


class Text:
    """What a text can be searched by. Made by `indexed`; immutable but for what is worked out when first asked for."""

    def __init__(self, text: str, *, is_veiled: bool = False) -> None:
        self.raw = text
        self.flat = f" {' '.join(words(text))} "
        self.is_veiled = is_veiled  # it says more: it was not read whole, or not all encodings were taken off

    @lazy
    def folded(self) -> str:
        return fold(self.raw)

    @lazy
    def words(self) -> frozenset[str]:
        return frozenset(self.flat.split())

    @lazy
    def stems(self) -> frozenset[str]:
        if len(self.raw) > MAX_CLOSE:
            return stems(self.flat[:MAX_CLOSE].split())
        return stems(self.words) | stems(humps(self.raw))

    @lazy
    def facts(self) -> frozenset[str]:
        return facts(self.folded[:_MAX_FACTUAL])

    @property
    def has_more_facts(self) -> bool:
        """Whether there may be more than `facts`."""
        return len(self.raw) > _MAX_FACTUAL

    @lazy
    def compact(self) -> str:
        """The letters and digits alone."""
        return self.flat.replace(" ", "")

    @lazy
    def sentences(self) -> tuple[Sentence, ...]:
        return tuple(islice(_sentences(self.raw[:MAX_CLOSE]), MAX_SENTENCES))

    @lazy
    def is_skimmed(self) -> bool:
        """Whether it has more than its `sentences` and `stems` say."""
        return self.is_veiled or len(self.raw) > MAX_CLOSE or len(self.sentences) == MAX_SENTENCES


def _sentences(text: str) -> Iterator[Sentence]:
    camel = has_humps(text)
    for long in _BREAK.split(text):
        for at in range(0, len(long), _MAX_SENTENCE):
            piece = long[at : at + _MAX_SENTENCE]
            found = words(piece)
            if len(found) > 1:
                yield Sentence(stems(found) | stems(humps(piece)) if camel else stems(found), cue(found, piece))


_texts: Final[Remembered[tuple[str, bool], Text]] = Remembered(_MAX_REMEMBERED)


def indexed(text: str, *, unveil: bool = False) -> Text:
    """The index of a text, or of a text followed by what the encoded runs in it say. What was asked for lately is
    remembered, within bounds."""
    found = _texts.get((text, unveil))
    if found is None:
        found = _unveiled(text) if unveil else _read(text)
        _texts.put((text, unveil), found, len(text))
    return found


def _unveiled(text: str) -> Text:
    start = text[:_MAX_VEILED]
    parts = [text, *decodings(start)] if looks_encoded(start) else [text]
    return _read("\n".join(parts), is_veiled=len(text) > _MAX_VEILED and looks_encoded(text[_MAX_VEILED:]))


def _read(text: str, *, is_veiled: bool = False) -> Text:
    is_cut = len(text) > _MAX_FOREIGN and not text.isascii()
    return Text(text[:_MAX_FOREIGN] if is_cut else text, is_veiled=is_veiled or is_cut)


def looks_encoded(text: str) -> bool:
    return any(mark.search(text) for mark in (_PERCENT, _ENTITY, _ESCAPE, _BASE64)) or _is_short_base64(text)


def _is_short_base64(text: str) -> bool:
    return len(text) <= 14 and _SHORT_BASE64.fullmatch(text) is not None


def decodings(text: str) -> Iterator[str]:
    """What a text says once a layer of encoding is taken off, in each way that applies."""
    if "%" in text and _PERCENT.search(text):
        yield unquote_plus(text, errors="replace")
    if "&" in text and _ENTITY.search(text):
        yield html.unescape(text)
    if "\\u" in text:
        yield _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    for token in [text] if _is_short_base64(text) else _runs(_BASE64, text):
        yield from _from_base64(token)
    for token in _runs(_HEX, text):
        yield from _printable(bytes.fromhex(token))


def _runs(kind: re.Pattern[str], text: str) -> Iterator[str]:
    return (match[0] for match in islice(kind.finditer(text), _MAX_TOKENS))


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
