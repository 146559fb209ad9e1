"""Finds, in a text that comes in pieces, the regions in brackets that could be an object or a list of calls.

A region begins with a brace that a key could follow, or with a square bracket before such a brace or a function's
name. Its end is where its brackets balance, quotes respected. What begins like neither is let go within a few
characters, so that prose with brackets in it is not held.
"""

import re
from enum import Enum, auto
from typing import NamedTuple

from guardproxy.text_calls.watch import Format

_OPENING = re.compile(r"[{\[]")
_MAX_HEAD = 256  # characters; what is undecided after these is followed to its end

_OBJECT_HEAD = re.compile(r"\{\s*(?:[\"']|//|/\*|#|[^\W\d][\w$-]*\s*:)")
_OBJECT_OPEN = re.compile(r"\{\s*(?:/|[^\W\d][\w$-]*\s*)?\Z")
_LIST_BEFORE_OBJECT = re.compile(r"\[\s*(?=\{)")
_LIST_OPEN = re.compile(r"\[\s*(?:[^\W\d][\w.-]*\s*)?\Z")
_CALLS_HEAD = re.compile(r"\[\s*[^\W\d][\w.-]*\s*\(")

_MARKS = {"{": re.compile(r"[\"'{}]"), "[": re.compile(r"[\"'\[\]]")}
_IN_STRING = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_BEFORE_VALUE = frozenset("{[(:,=")


class Region(NamedTuple):
    start: int
    text: str


class _Head(Enum):
    OPEN = auto()
    TAKEN = auto()
    REFUTED = auto()


def _undecided(head: str) -> _Head:
    return _Head.OPEN if len(head) < _MAX_HEAD else _Head.TAKEN


class Brackets:
    """`open` is whether the text so far ends within a region, or in what may begin one."""

    def __init__(self, formats: frozenset[Format]) -> None:
        self._json = Format.JSON in formats
        self._pythonic = Format.PYTHONIC in formats
        self._start = 0
        self._end = 0  # of the text so far
        self._head = ""  # of a region that is not yet decided
        self._body: list[str] = []
        self._depth = 0  # 0: in no region
        self._kind = "{"
        self._quote = ""
        self._escaped = False
        self._before = ""  # the last character that is not a space

    @property
    def size(self) -> int:
        """How long the region is that the text ends in."""
        return self._end - self._start if self._depth else 0

    @property
    def open(self) -> bool:
        return self._depth > 0 or bool(self._head)

    def feed(self, piece: str, base: int) -> list[Region]:
        """The regions that `piece` completes. `base` is its place; between two pieces only what has no brackets may
        be left out, and nothing while `open`."""
        self._end = base + len(piece)
        if self._head:
            base -= len(self._head)
            piece, self._head = self._head + piece, ""
        regions: list[Region] = []
        at = 0
        while at < len(piece):
            at = self._follow(piece, at, regions) if self._depth else self._look(piece, at, base)
        return regions

    def rest(self) -> Region | None:
        """The region that the text ends in."""
        text = "".join(self._body) or self._head
        return Region(self._start, text) if self.open else None

    def _look(self, piece: str, at: int, base: int) -> int:
        """To the next place where a region begins, or to the end."""
        opening = _OPENING.search(piece, at)
        if opening is None:
            return len(piece)
        at = opening.start()
        match self._judge(piece, at):
            case _Head.REFUTED:
                return at + 1
            case _Head.OPEN:
                self._start, self._head = base + at, piece[at:]
                return len(piece)
            case _Head.TAKEN:
                self._start, self._kind, self._depth = base + at, piece[at], 1
                self._body, self._quote, self._escaped, self._before = [piece[at]], "", False, piece[at]
                return at + 1

    def _judge(self, text: str, at: int) -> _Head:
        head = text[at : at + _MAX_HEAD]
        if head[0] == "[":
            if not (inner := _LIST_BEFORE_OBJECT.match(head)):
                return self._judge_list(head)
            head = head[inner.end() :]
        if not self._json:
            return _Head.REFUTED
        if _OBJECT_HEAD.match(head):
            return _Head.TAKEN
        return _undecided(head) if _OBJECT_OPEN.match(head) else _Head.REFUTED

    def _judge_list(self, head: str) -> _Head:
        if self._pythonic and _CALLS_HEAD.match(head):
            return _Head.TAKEN
        may_be_calls = self._pythonic and _LIST_OPEN.match(head)
        return _undecided(head) if may_be_calls or not head[1:].strip() else _Head.REFUTED

    def _follow(self, piece: str, at: int, regions: list[Region]) -> int:
        """Through a region, to its end or that of the piece."""
        begun = at
        while at < len(piece):
            at = self._in_string(piece, at) if self._quote else self._in_brackets(piece, at)
            if not self._depth:
                self._body.append(piece[begun:at])
                regions.append(Region(self._start, "".join(self._body)))
                self._body = []
                return at
        self._body.append(piece[begun:])
        return at

    def _in_brackets(self, piece: str, at: int) -> int:
        mark = _MARKS[self._kind].search(piece, at)
        end = mark.start() if mark else len(piece)
        if passed := piece[at:end].rstrip():
            self._before = passed[-1]
        if mark is None:
            return end
        char = mark[0]
        if char in "\"'":
            if char == '"' or self._before in _BEFORE_VALUE:  # else an apostrophe
                self._quote = char
        else:
            self._depth += 1 if char == self._kind else -1
        self._before = char
        return end + 1

    def _in_string(self, piece: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        mark = _IN_STRING[self._quote].search(piece, at)
        if mark is None:
            return len(piece)
        if mark[0] == "\\":
            self._escaped = True
        else:
            self._quote = ""
        return mark.end()
