"""Makes a prompt fit a context: everything but the call is cut to its share, the call is read in windows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.judge.formats import Part

LEAST_ROOM: Final = 256  # tokens, for all that is not the template's
MAX_WINDOWS: Final = 4
_OVERLAP: Final = 32
_SHARES: Final = {Part.TASK: 0.2, Part.DESCRIPTION: 0.1, Part.RESULT: 0.3}


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is read before the call, and the windows on the call. The worst of these counts."""

    before: tuple[int, ...]
    windows: tuple[tuple[int, ...], ...]
    truncated: bool


def fit(pieces: Sequence[tuple[Part, Sequence[int]]], room: int) -> Fitted:
    """`pieces` are tokens, the call's last; no window needs more than `room` together with what comes before it."""
    *leading, (part, call) = pieces
    assert part is Part.CALL
    free = room - sum(len(tokens) for part, tokens in leading if part is Part.TEMPLATE)
    if free < LEAST_ROOM:
        raise ValueError(f"{free} tokens of room, {LEAST_ROOM} are the least")
    results = max(1, sum(part is Part.RESULT for part, _ in leading))
    before: list[int] = []
    truncated = False
    for part, tokens in leading:
        limit = len(tokens)
        if part is not Part.TEMPLATE:
            limit = int(free * _SHARES[part]) // (results if part is Part.RESULT else 1)
        truncated |= len(tokens) > limit
        before += _cut(tokens, limit)
    windows, cut = _windows(call, room - len(before))
    return Fitted(tuple(before), windows, truncated or cut)


def _cut(tokens: Sequence[int], limit: int) -> Sequence[int]:
    """The beginning and the end of what is too long."""
    if len(tokens) <= limit:
        return tokens
    tail = limit // 3
    return [*tokens[: limit - tail], *tokens[len(tokens) - tail :]]


def _windows(tokens: Sequence[int], size: int) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """Overlapping windows over all tokens, or over the first and the last of too many, and whether some were left."""
    if len(tokens) <= size:
        return (tuple(tokens),), False
    step = size - _OVERLAP
    starts = [*range(0, len(tokens) - size, step), len(tokens) - size]
    cut = len(starts) > MAX_WINDOWS
    if cut:
        starts = [*starts[: MAX_WINDOWS - 1], starts[-1]]
    return tuple(tuple(tokens[start : start + size]) for start in starts), cut
