"""A linear model over hashed words and word pairs: the first opinion on a text, in microseconds. Pure.

Words are lower-cased and their particulars (numbers, addresses, links, names of files) replaced by what they are, so
that the model learns how a thing is said and not who is named in it.
"""

import re
from array import array
from dataclasses import dataclass
from itertools import product
from typing import Final
from zlib import crc32

BUCKETS: Final = 1 << 15
MAX_WORDS: Final = 400  # of one text: four times what a unit of the longest kind holds
_PLAIN = re.compile(r"[^\W\d]+|[^\w\s]")
_PARTICULAR = re.compile(r"[\d@/]|www\.")  # without one of these a text has only words and marks
_MAIL: Final = r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)|"
_PATH: Final = r"(?P<path>(?:/[\w.@-]+){2,}|[\w-]+/[\w./-]+)|"
_OTHERS: Final = (
    r"(?P<code>\b(?=\w*\d)(?=\w*[^\W\d])\w{4,}\b)|(?P<number>\d+(?:[.,:/-]\d+)*)|(?P<word>[^\W\d]+)|(?P<mark>[^\w\s])"
)
_PARTICULARS: Final = {
    (at, slash): re.compile(r"(?P<link>https?://\S+|www\.\S+)|" + _MAIL * at + _PATH * slash + _OTHERS)
    for at, slash in product((False, True), repeat=2)
}
"""By whether the text has an `@` and a `/`: what needs one is slow to look for, and not there without it."""


def words(text: str) -> list[str]:
    """The words of `text` as the model knows them, between two marks for its ends."""
    if _PARTICULAR.search(text) is None:
        found = [word.lower() for word in _PLAIN.findall(text)]
    else:
        found = [_known(match) for match in _PARTICULARS["@" in text, "/" in text].finditer(text)]
    return ["<", *found[:MAX_WORDS], ">"][: MAX_WORDS + 1 if len(found) > MAX_WORDS else None]


def _known(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return match[0].lower() if kind in ("word", "mark") else f"<{kind}>"


def buckets(text: str) -> set[int]:
    """Where the words and word pairs of `text` are counted, each once."""
    found: set[int] = set()
    before: int | None = None  # the checksum of the word before and a blank: that of a pair goes on from there
    for word in words(text):
        data = word.encode("utf-8", "surrogatepass")
        alone = crc32(data)
        found.add(alone % BUCKETS)
        if before is not None:
            found.add(crc32(data, before) % BUCKETS)
        before = crc32(b" ", alone)
    return found


@dataclass(frozen=True, slots=True)
class NgramModel:
    """`weights` holds one small integer for each bucket; `scale` makes log-odds of their sum."""

    weights: "array[int]"
    scale: float
    bias: float

    def margin(self, text: str) -> float:
        """The log-odds of harm."""
        return self.bias + self.scale * sum(map(self.weights.__getitem__, buckets(text)))
