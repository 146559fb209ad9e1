"""A long text as the units that are judged one by one: sentences, lines and field values. Pure.

An instruction that does not belong is one or two sentences in a page of others: in the mean over the page it drowns, in
a unit of its own it stands out. Nothing is left out: units that are too long are cut with an overlap, and a text of too
many units says so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from guardproxy import strict_json
from guardproxy.classifier.serialise import fields, safe

MAX_CHARACTERS: Final = 200_000  # of one text; what is beyond is not read, and `Units.truncated` says so
MAX_UNIT: Final = 400  # characters
OVERLAP: Final = 80  # characters that two pieces of one long unit share
_ENDS = re.compile(
    r"(?<=[.!?;:])[\s\"')\]]+(?=[A-Z\"'(\[]|[^\x00-\x7f])|(?<=[。！？।؟])|[\r\n]+|(?<=['\"]),\s(?=['\"])"
)
_LEAST: Final = 2  # characters: less is punctuation that a split left over


@dataclass(frozen=True, slots=True)
class Units:
    texts: tuple[str, ...]
    truncated: bool


def units_of(text: str) -> Units:
    """The units of `text` in order, each made safe to read; JSON as its fields, one a unit or more."""
    whole = text[:MAX_CHARACTERS]
    found = tuple(unit for line in _lines(whole) for unit in _pieces(line))
    return Units(found or ("",), len(text) > MAX_CHARACTERS)


def _lines(text: str) -> Iterator[str]:
    try:
        tree = strict_json.decode(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        yield from _ENDS.split(text)
        return
    if isinstance(tree, str):
        yield from _ENDS.split(tree)
        return
    for key, scalar in fields(tree):
        first, *others = _ENDS.split(scalar or "")
        yield f"{key}: {first}" if key else first
        yield from others


def _pieces(line: str) -> Iterator[str]:
    unit = _safe(line)
    if len(unit) < _LEAST:
        return
    for start in range(0, max(len(unit) - OVERLAP, 1), MAX_UNIT - OVERLAP):
        yield unit[start : start + MAX_UNIT]


def _safe(line: str) -> str:
    """As `safe`, sooner for the many lines that are."""
    return line.strip() if line.isascii() and line.isprintable() and "  " not in line else safe(line)
