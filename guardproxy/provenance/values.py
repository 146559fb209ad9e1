"""The values of a call's arguments, one by one, and what each can be recognised by."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from guardproxy import strict_json
from guardproxy.provenance.facts import MEASURES, facts
from guardproxy.provenance.texts import decodings, looks_encoded
from guardproxy.provenance.words import COMMON, STOP_WORDS, fold, words
from guardproxy.strict_json import Json

MAX_VALUES: Final = 20_000
MAX_PIECES: Final = 256  # of one value
_MAX_FACTUAL: Final = 80  # characters of a value that may be one number, date or telephone number
_MAX_LAYERS: Final = 3
_MAX_DECODED: Final = 16
_MAX_KEY: Final = 40

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

    __slots__ = (
        "_decoded", "_facts", "_is_hard", "_pieces", "compact", "flat", "is_weak", "path", "telling", "text", "words",
    )  # fmt: skip

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.words = words(text)
        self.flat = f" {' '.join(self.words)} "
        self.compact = "".join(self.words)
        self.telling = frozenset([w for w in self.words if w not in STOP_WORDS and (len(w) > 1 or not w.isascii())])
        self.is_weak = _is_weak(self.compact, self.words)  # too short or too common to have come from anywhere
        self._facts: frozenset[str] | None = None
        self._is_hard: bool | None = None
        self._pieces: tuple[Value, ...] | None = None
        self._decoded: tuple[Value, ...] | None = None

    @property
    def facts(self) -> frozenset[str]:
        """The facts of a value that says nothing else: a date, a number, a telephone number."""
        if self._facts is None:
            self._facts = _facts(self.text.strip())
        return self._facts

    @property
    def is_hard(self) -> bool:
        """Whether it is an identifier: an address, URL, path, number. Nobody comes up with the same by chance."""
        if self._is_hard is None:
            text = self.text.strip()
            self._is_hard = (
                len(text) <= 512
                and not self.is_weak
                and _SPECIAL.search(text) is not None
                and _HARD.fullmatch(text) is not None
            )
        return self._is_hard

    @property
    def is_exacting(self) -> bool:
        """Whether every mark matters: `bob@a.example` is not `bo.b@a.example`, and no part of `bob@a.example.org`."""
        return self.is_hard and not self.facts and _EXACTING.search(self.text) is not None

    @property
    def core(self) -> str:
        """It without what may be added to an address or left out."""
        return _AROUND.sub("", fold(self.text.strip()))

    @property
    def pieces(self) -> "tuple[Value, ...]":
        """The identifiers inside it, if there is more to it than one."""
        if self._pieces is None:
            self._pieces = tuple(self._inner()) if _SPECIAL.search(self.text) else ()
        return self._pieces

    def _inner(self) -> "Iterator[Value]":
        found = dict.fromkeys(m[0].rstrip(".,:") for m in islice(_HARD.finditer(self.text), MAX_PIECES))
        for text in found:
            if text != self.text and not (piece := Value(self.path, text)).is_weak:
                yield piece

    @property
    def decoded(self) -> "tuple[Value, ...]":
        """What it says once its encodings are taken off, layer by layer."""
        if self._decoded is None:
            found = _layers(self.text) if len(self.text) > 2 and looks_encoded(self.text) else ()
            self._decoded = tuple(Value(self.path, text) for text in found)
        return self._decoded


def _is_weak(compact: str, found: list[str]) -> bool:
    return len(compact) < 3 or (not compact.isdigit() and all(word in COMMON for word in found))


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
