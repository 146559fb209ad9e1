"""The values of a call's arguments, one by one, and what each can be recognised by."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from string import ascii_lowercase, digits
from typing import Final

from guardproxy import strict_json
from guardproxy.provenance.facts import MEASURES, facts
from guardproxy.provenance.once import lazy
from guardproxy.provenance.texts import decodings, looks_encoded
from guardproxy.provenance.words import COMMON, STOP_WORDS, fold, words
from guardproxy.strict_json import Json

MAX_VALUES: Final = 10_000
MAX_PIECES: Final = 256  # of one value
MAX_CLOSE: Final = 50_000  # characters of a call's values that are read closely
_MAX_FACTUAL: Final = 80  # characters of a value that may be one number, date or telephone number
_MAX_LAYERS: Final = 3
_MAX_DECODED: Final = 16
_MAX_KEY: Final = 40
_MAX_READ: Final = 300_000  # characters of one value
_MAX_HARD: Final = 512  # characters of one identifier
_UNTELLING: Final = STOP_WORDS | frozenset(ascii_lowercase + digits)

_HARD = re.compile(
    r"""(?xi)
    (?<![\w.+-])[^\s"'<>(),;=]{1,64}@[^\s"'<>(),;@]{1,250}\.\w{1,24}     # addresses
    | (?<![a-z])[a-z][a-z0-9+.-]{1,15}://[^\s"'<>]{1,2000}              # URLs
    | (?<![\w/])(?:~|\.{1,2})?(?:/[\w.@-]{1,200}){1,32}                 # paths
    | \b[a-z]:\\[^\s"'<>|]{1,300}
    | (?<![\w.-])(?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,12}(?=$|[/\s"',:;)]) # hosts and file names
    | (?<![\w-])\#?(?=[a-z_-]{0,32}\d)[a-z0-9][\w-]{3,127}(?!\w)        # identifiers with a digit
    | (?<![\w.])\+?\d[\d\ .,()/-]{3,40}\d                              # numbers
    """
)
_SPECIAL = re.compile(r"[@/\\\d]|\.\w")  # without one of these nothing is an identifier
_EXACTING = re.compile(r"@|[/\\]|\.[^\W\d]")
_AROUND = re.compile(r"\A(?:mailto:|tel:|[a-z][a-z0-9+.-]*://)?(?:www\.)?|/\Z")
_DIGIT = re.compile(r"\d")
_LETTERS = re.compile(r"[^\W\d_]+")


class Value:
    """A value of a call, and what it can be recognised by."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.close = len(text)  # characters that are read closely
        self.words = words(text[:_MAX_READ])
        self.compact = "".join(self.words)
        self.telling = frozenset(self.words) - _UNTELLING
        self.is_weak = _is_weak(self.compact, self.words)  # too short or too common to have come from anywhere

    @lazy
    def flat(self) -> str:
        return f" {' '.join(self.words)} "

    @lazy
    def bare(self) -> str:
        return self.text.strip()

    @lazy
    def facts(self) -> frozenset[str]:
        """The facts of a value that says nothing else: a date, a number, a telephone number."""
        return _facts(self.bare) if self.close else frozenset()

    @lazy
    def is_special(self) -> bool:
        """Whether there can be an identifier in it."""
        return _SPECIAL.search(self.text) is not None

    @lazy
    def is_hard(self) -> bool:
        """Whether it is an identifier: an address, URL, path, number. Nobody comes up with the same by chance."""
        return (
            self.close > 0
            and self.is_special
            and not self.is_weak
            and len(self.bare) <= _MAX_HARD
            and _HARD.fullmatch(self.bare) is not None
        )

    @lazy
    def is_exacting(self) -> bool:
        """Whether every mark matters: `bob@a.example` is not `bo.b@a.example`, and no part of `bob@a.example.org`."""
        return self.is_hard and not self.facts and _EXACTING.search(self.text) is not None

    @lazy
    def core(self) -> str:
        """It without what may be added to an address or left out."""
        return _AROUND.sub("", fold(self.bare))

    @lazy
    def pieces(self) -> "tuple[Value, ...]":
        """The identifiers inside it, if there is more to it than one."""
        return tuple(self._inner()) if self.is_special else ()

    def _inner(self) -> "Iterator[Value]":
        matches = list(islice(_HARD.finditer(self.text, 0, self.close), MAX_PIECES + 1))
        if len(matches) > MAX_PIECES:
            self.close = matches.pop().start()
        for text in dict.fromkeys(match[0].rstrip(".,:") for match in matches):
            if text != self.text and not (piece := Value(self.path, text)).is_weak:
                yield piece

    @lazy
    def decoded(self) -> "tuple[Value, ...]":
        """What it says once its encodings are taken off, layer by layer."""
        found = _layers(self.text) if self.close == len(self.text) > 2 and looks_encoded(self.text) else ()
        return tuple(Value(self.path, text) for text in found)

    @property
    def is_skimmed(self) -> bool:
        return self.close < len(self.text)


def _is_weak(compact: str, found: list[str]) -> bool:
    return len(compact) < 3 or (not compact.isdigit() and COMMON.issuperset(found))


def _facts(text: str) -> frozenset[str]:
    if len(text) > _MAX_FACTUAL or not _DIGIT.search(text):
        return frozenset()
    folded = fold(text)
    return facts(folded) if MEASURES.issuperset(_LETTERS.findall(folded)) else frozenset()


def _layers(text: str) -> Iterable[str]:
    found: dict[str, None] = {}
    layer = [text]
    for _ in range(_MAX_LAYERS):
        layer = [t for outer in layer for t in islice(decodings(outer), _MAX_DECODED) if t != text and t not in found]
        found.update(dict.fromkeys(layer))
        if not layer or len(found) > _MAX_DECODED:
            break
    return islice(found, _MAX_DECODED)


def read(arguments: str) -> Json:
    """The tree of a call's arguments; what is no JSON stands under `input`."""
    if arguments.lstrip()[:1] in ("{", "["):
        try:
            return strict_json.decode(arguments.encode("utf-8", "replace"))
        except strict_json.MalformedJson:
            pass
    return {"input": arguments} if arguments.strip() else {}


def values(tree: Json) -> Iterator[Value]:
    """Every scalar of a tree in document order, and keys that say more than a name does. Iterative."""
    stack: list[tuple[str, Json]] = [("", tree)]
    while stack:
        path, node = stack.pop()
        match node:
            case dict():
                stack.extend((f"{path}.{key}" if path else key, child) for key, child in reversed(node.items()))
                yield from (Value(f"{path}.#key" if path else "#key", key) for key in node if _says_more(key))
            case list():
                stack.extend((f"{path}[{i}]", node[i]) for i in range(len(node) - 1, -1, -1))
            case str():
                yield Value(path, node)
            case bool() | None:
                pass
            case int() | float():
                yield Value(path, repr(node) if isinstance(node, float) else _digits(node))


def _says_more(key: str) -> bool:
    return len(key) > _MAX_KEY or not key.replace("-", "_").replace(" ", "_").isidentifier()


def _digits(number: int) -> str:
    """An integer of any size as text; Python refuses to write very long ones in decimals."""
    return str(number) if abs(number) < 10**4000 else hex(number)


def root(path: str) -> str:
    """The argument that a path belongs to."""
    return re.split(r"[.\[]", path, maxsplit=1)[0] or path
