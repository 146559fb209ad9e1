"""One strict reading of YAML for everything an operator writes: a plain tree, and the line that each part stands on.

Scalars follow the core schema of YAML 1.2.2 (section 10.3), so `off`, `yes` and `12:30` are text. Refused, every place
named at once: duplicate keys, keys that are not text, merge keys, tags, endless aliases, several documents, a
byte-order mark, bytes that are not UTF-8. Messages name places and keys, never values: a value may be a secret.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, TypeAlias, cast

import yaml

from guardproxy.errors import ConfigurationError, Fault

Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None
Place: TypeAlias = tuple[str | int, ...]

MAX_VALUES = 100_000  # aliases multiply: a few lines can otherwise unfold into gigabytes
MAX_NESTING = 50

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_CONSTANTS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml's is ten times faster; not every build has it


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file. `lines` holds the line, from 1, of every key and list item."""

    source: str
    tree: Plain
    lines: Mapping[Place, int]

    def line_of(self, place: Sequence[str | int]) -> int | None:
        """The line of `place`, or of the nearest thing around it that is written down."""
        for length in range(len(place), -1, -1):
            line = self.lines.get(tuple(place[:length]))
            if line is not None:
                return line
        return None

    def fault(self, place: Sequence[str | int], problem: str) -> Fault:
        return Fault(self.source, self.line_of(place), dotted(place), problem)


def dotted(place: Sequence[str | int]) -> str:
    """`upstreams[0].base_url` for ("upstreams", 0, "base_url")."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def parse(data: bytes, source: str) -> Document:
    """The one document in `data`. Raises ConfigurationError with every fault."""
    document, faults = scan(data, source)
    if faults:
        raise ConfigurationError(faults)
    return document


def scan(data: bytes, source: str) -> tuple[Document, list[Fault]]:
    """As `parse`, for a caller that finds more faults in what could be read. Raises where that is nothing."""
    loader = _LOADER(_decode(data, source))
    reading = _Reading(source, loader)
    try:
        tree = reading.document()
    except yaml.YAMLError as error:
        raise ConfigurationError([*reading.faults, _syntax_fault(error, source)]) from None
    finally:
        loader.dispose()
    return Document(source, tree, reading.lines), reading.faults


def _decode(data: bytes, source: str) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigurationError([Fault(source, 1, "", "starts with a byte-order mark; write plain UTF-8")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([Fault(source, line, "", "not UTF-8")]) from None


def _syntax_fault(error: yaml.YAMLError, source: str) -> Fault:
    """Where the text stops being YAML; what PyYAML quotes of it is left out."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Fault(source, None, "", "not YAML: a character that YAML does not allow")
    mark = error.problem_mark or error.context_mark
    problem = re.sub(r"\s*['\"].*['\"]", "", error.problem or error.context or "cannot be read", flags=re.DOTALL)
    return Fault(source, mark.line + 1 if mark else None, "", f"not YAML: {problem}")


_Node = (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)
_NodeEvent: TypeAlias = yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


class _Anchored(NamedTuple):
    value: Plain
    size: int


@dataclass(slots=True)
class _Reading:
    """Builds the tree straight from the events. Composing nodes first would recurse in C, as deep as the file says."""

    source: str
    loader: yaml.BaseLoader
    faults: list[Fault] = field(default_factory=list)
    lines: dict[Place, int] = field(default_factory=dict)
    anchors: dict[str, _Anchored] = field(default_factory=dict)
    size: int = 0

    def document(self) -> Plain:
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        tree = self._value(self._next(), ())
        self._next()  # the document's end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            self._fault(after, (), "a second document (`---`) in one file")
        return tree

    def _next(self) -> yaml.Event:
        return cast(yaml.Event, self.loader.get_event())  # type: ignore[no-untyped-call]

    def _value(self, event: yaml.Event, place: Place) -> Plain:
        self.lines.setdefault(place, _line(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        assert isinstance(event, _Node), "the grammar of events allows nothing else here"
        self._grow(event, place, 1)
        before = self.size
        if event.tag is not None:
            self._fault(event, place, "tags (`!…`) are not used here")
        value = self._untagged(event, place)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, self.size - before + 1)
        return value

    def _untagged(self, event: "_NodeEvent", place: Place) -> Plain:
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else _scalar(event.value)
        if len(place) >= MAX_NESTING:
            raise ConfigurationError([self._at(event, place[:3], f"nested deeper than {MAX_NESTING} levels")])
        if isinstance(event, yaml.SequenceStartEvent):
            return list(self._items(place))
        return dict(self._entries(place))

    def _items(self, place: Place) -> Iterator[Plain]:
        for index in count():
            event = self._next()
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._value(event, (*place, index))

    def _entries(self, place: Place) -> Iterator[tuple[str, Plain]]:
        seen: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, place)
            line = _line(event)
            if key in seen:
                self._fault(event, (*place, key), f"duplicate key, first on line {seen[key]}")
            else:
                self.lines[(*place, key)] = line
            value = self._value(self._next(), (*place, key))
            if seen.setdefault(key, line) == line:
                yield key, value

    def _key(self, event: yaml.Event, place: Place) -> str:
        """The key's text; one that is none is a fault, read past so that the faults behind it are found too."""
        if isinstance(event, yaml.ScalarEvent) and event.tag is None:
            if event.value == "<<" and not event.style:
                self._fault(event, place, "merge keys (`<<`) are not used here")
            return str(event.value)
        self._fault(event, place, "a key must be text")
        self._value(event, (*place, "?"))
        return "?"

    def _alias(self, event: yaml.AliasEvent, place: Place) -> Plain:
        anchored = self.anchors.get(event.anchor or "")
        if anchored is None:
            self._fault(event, place, "an alias of nothing that is complete before it")
            return None
        self._grow(event, place, anchored.size)
        return anchored.value

    def _grow(self, event: yaml.Event, place: Place, size: int) -> None:
        self.size += size
        if self.size > MAX_VALUES:
            raise ConfigurationError([self._at(event, place, f"more than {MAX_VALUES} values, aliases unfolded")])

    def _at(self, event: yaml.Event, place: Place, problem: str) -> Fault:
        return Fault(self.source, _line(event), dotted(place), problem)

    def _fault(self, event: yaml.Event, place: Place, problem: str) -> None:
        self.faults.append(self._at(event, place, problem))


def _scalar(text: str) -> Plain:
    """A plain (unquoted) scalar under the core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text) and len(text) < 4000:  # CPython refuses to convert longer decimals
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(re.sub(r"\.(?=[a-zA-Z])", "", text))  # Python spells .inf and .nan without the dot
    return text
