"""How a long sequence of tokens is read: in overlapping windows, a bounded number of them, each behind the same lead.
Pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

OVERLAP: Final = 32  # tokens that two neighbours share, so that nothing is only ever seen cut in half
MAX_WINDOWS: Final = 16
LEAD_TOKENS: Final = 44  # of what stands before every window
_LEAST: Final = 40  # tokens of the text in a window, however long its lead


def windows(tokens: Sequence[int], size: int, most: int = MAX_WINDOWS) -> tuple[list[Sequence[int]], bool]:
    """Windows of at most `size` tokens that cover `tokens`, and whether some tokens are in none of them.

    Where `most` windows do not suffice the last one is moved to the end: what comes last is read, the gap is before
    it. An empty sequence is one empty window.
    """
    if size <= OVERLAP:
        raise ValueError(f"a window of {size} tokens has no room beside an overlap of {OVERLAP}")
    step = size - OVERLAP
    starts = list(range(0, max(len(tokens) - OVERLAP, 1), step))
    if len(starts) > most:
        starts = [*starts[: most - 1], len(tokens) - size]
    cut = starts[0] > 0 or any(then > before + size for before, then in pairwise(starts))
    return [tokens[start : start + size] for start in starts], cut


def cut_lead(tokens: Sequence[int]) -> Sequence[int]:
    """The beginning and the end of a lead that is too long."""
    if len(tokens) <= LEAD_TOKENS:
        return tokens
    tail = LEAD_TOKENS // 3
    return [*tokens[: LEAD_TOKENS - tail], *tokens[-tail:]]


def led_windows(
    lead: Sequence[int], body: Sequence[int], size: int, most: int = MAX_WINDOWS
) -> tuple[list[Sequence[int]], bool]:
    """The windows of `body`, each behind the lead and at most `size` tokens long with it, and whether some of the body
    is in none of them."""
    lead = cut_lead(lead)
    parts, cut = windows(body, max(size - len(lead), _LEAST), most)
    return [[*lead, *part] for part in parts], cut
