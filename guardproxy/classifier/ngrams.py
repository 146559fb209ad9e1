"""A linear model over hashed words and word pairs: the first opinion on a text, in microseconds. Pure.

Words are lower-cased and their particulars (numbers, addresses, links, names of files) replaced by what they are, so
that the model learns how a thing is said and not who is named in it.
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from zlib import crc32

BUCKETS: Final = 1 << 15
MAX_WORDS: Final = 400  # of one text: four times what a unit of the longest kind holds
_PARTICULARS = re.compile(
    r"(?P<link>https?://\S+|www\.\S+)|(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)|(?P<path>(?:/[\w.@-]+){2,}|[\w-]+/[\w./-]+)"
    r"|(?P<code>\b(?=\w*\d)(?=\w*[^\W\d])\w{4,}\b)|(?P<number>\d+(?:[.,:/-]\d+)*)|(?P<word>[^\W\d]+)|(?P<mark>[^\w\s])"
)


def words(text: str) -> Iterator[str]:
    """The words of `text` as the model knows them, between two marks for its ends."""
    yield "<"
    for count, match in enumerate(_PARTICULARS.finditer(text)):
        if count == MAX_WORDS:
            return
        kind = match.lastgroup
        yield match[0].lower() if kind in ("word", "mark") else f"<{kind}>"
    yield ">"


def buckets(text: str) -> set[int]:
    """Where the words and word pairs of `text` are counted, each once."""
    said = [word.encode("utf-8", "surrogatepass") for word in words(text)]
    found = {crc32(word) % BUCKETS for word in said}
    found.update(crc32(b"%b %b" % pair) % BUCKETS for pair in pairwise(said))
    return found


@dataclass(frozen=True, slots=True)
class NgramModel:
    """`weights` holds one small integer for each bucket; `scale` makes log-odds of their sum."""

    weights: "array[int]"
    scale: float
    bias: float

    def margin(self, text: str) -> float:
        """The log-odds of harm."""
        weights = self.weights
        return self.bias + self.scale * sum(weights[bucket] for bucket in buckets(text))
