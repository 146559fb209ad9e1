"""Where each value of a call came from. Pure, and bounded: a long call or conversation is read less closely, never
skipped, and `Provenance.truncated` says so."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from guardproxy.model import ToolCall, ToolSpec
from guardproxy.provenance.claims import Origin
from guardproxy.provenance.conversation import Conversation, Pool
from guardproxy.provenance.facts import stated
from guardproxy.provenance.once import lazy
from guardproxy.provenance.values import MAX_CLOSE, MAX_VALUES, Value, read, root, values
from guardproxy.strict_json import Json

MAX_SEARCHED: Final = 30_000_000  # characters of texts that the values of one call are looked for in
_LOOK: Final = 10_000  # characters that could be searched in the time that a look at a short value takes
_COMPACT: Final = 8  # letters and digits that are recognised whatever stands between them
_COMPACT_DIGITS: Final = 6
_MAX_JOINED: Final = 64  # values that are tried together with their neighbours
_MOSTLY: Final = 0.75
_ORDER: Final = (Origin.USER, Origin.SYSTEM, Origin.RESULT, Origin.MODEL)  # the first that has a value is its origin
_TRUSTED: Final = frozenset({Origin.USER, Origin.SYSTEM})
_MAX_PLACES: Final = 64  # in a text, that are looked at for one value
_BEFORE = re.compile(r"(?:[\w+@-]|(?<!www)\.)\Z")
_AFTER = re.compile(r"[\w@/-]|\.\w")
_TRUST: Final = {Origin.USER: 0, Origin.SYSTEM: 1, Origin.MODEL: 2, Origin.RESULT: 3}


class Match(StrEnum):
    EXACT = "exact"
    REFORMATTED = "reformatted"  # in other case, punctuation, encoding or notation
    PARTS = "parts"  # its words or the identifiers in it
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ArgumentOrigin:
    """Where one value came from. `result` counts the conversation's tool results from 0. The four shares are of the
    value's telling words: in what the user said, else in the system prompt, else in a result, or in none of them."""

    path: str
    value: str
    origin: Origin
    match: Match
    result: int | None
    user: float
    system: float
    results: float
    nowhere: float
    weak: bool  # too short or too common to have come from anywhere in particular


_Numbers: TypeAlias = dict[str, tuple[tuple[ToolSpec, ...], tuple[float, ...]]]
"""Features by the tool's name, with the tools that were declared."""


@dataclass(frozen=True)
class Provenance:
    """Where the values of a call came from. `unsure` says that a value may have come from elsewhere, as something was
    too long to be read closely."""

    name: str
    arguments: tuple[ArgumentOrigin, ...]
    unsure: bool
    values: tuple[Value, ...] = field(repr=False)
    conversation: Conversation = field(repr=False)
    _numbers: "_Numbers" = field(default_factory=dict, repr=False, compare=False)

    @property
    def truncated(self) -> bool:
        """Whether anything that `features` tell of was not read."""
        return self.unsure or self.conversation.result.is_skimmed or self.conversation.user.is_skimmed

    @lazy
    def by_argument(self) -> Mapping[str, Origin]:
        """The origin of each argument by its name: that of its least trusted value. Values that are too short or too
        common to tell count only where there is no other."""
        found: dict[str, tuple[bool, int, Origin]] = {}
        for one in self.arguments:
            name = root(one.path)
            rank = (not one.weak, _TRUST[one.origin], one.origin)
            found[name] = max(found.get(name, rank), rank, key=lambda r: r[:2])
        return {name: origin for name, (_, _, origin) in found.items()}

    def features(self) -> tuple[float, ...]:
        """The numbers of `FEATURES`, for a model."""
        from guardproxy.provenance.features import features

        tools, numbers = self._numbers.get(self.name, ((), ()))
        if not numbers or tools != self.conversation.tools:
            numbers = features(self)
            self._numbers[self.name] = self.conversation.tools, numbers
        return numbers


def trace(call: ToolCall, conversation: Conversation) -> Provenance:
    """Where the values of a call came from. It is remembered for as long as the conversation is."""
    known = conversation.traced.get(call.arguments)
    if known is None:
        numbers: _Numbers = {}
        known = (*_traced(read(call.arguments), conversation), numbers)
        conversation.traced.put(call.arguments, known, len(call.arguments))
    origins, unsure, found, numbers = known
    return Provenance(call.name, origins, unsure, found, conversation, numbers)


def trace_arguments(name: str, arguments: Json, conversation: Conversation) -> Provenance:
    """As `trace`, for arguments that are decoded."""
    origins, unsure, found = _traced(arguments, conversation)
    return Provenance(name, origins, unsure, found, conversation)


def _traced(arguments: Json, conversation: Conversation) -> tuple[tuple[ArgumentOrigin, ...], bool, tuple[Value, ...]]:
    walk = values(arguments)
    found = tuple(islice(walk, MAX_VALUES))
    search = _Search(conversation)
    room = MAX_CLOSE
    for value in found:
        value.close = min(value.close, room)
        room -= value.close
    origins = tuple(_joined([search.origin_of(value) for value in found], search))
    veiled = conversation.result.is_veiled and any(one.match is Match.NONE for one in origins)
    unread = next(walk, None) is not None or any(value.is_skimmed for value in found)
    return origins, veiled or unread or search.is_unsure, found


class _Hit(NamedTuple):
    origin: Origin
    match: Match
    result: int | None


class _Search:
    """The search for the values of one call, with what it may still cost."""

    def __init__(self, conversation: Conversation) -> None:
        self._pools = [(origin, pool) for origin in _ORDER if (pool := conversation.pool(origin)).texts]
        self._conversation = conversation
        self._room = MAX_SEARCHED
        self._overlooked = False

    @property
    def is_unsure(self) -> bool:
        return self._room < 0 or self._overlooked

    def origin_of(self, value: Value) -> ArgumentOrigin:
        self._room -= _LOOK
        hit = self._whole(value) if self._room >= 0 else None
        shares = self._shares(value)
        if hit is None:
            hit = self._by_parts(value, shares)
        weak = value.is_weak
        if weak and hit.origin is not Origin.USER:
            hit = _NOWHERE
        return ArgumentOrigin(value.path, value.text, hit.origin, hit.match, hit.result, *shares, weak)

    # -- the value as a whole --

    def _whole(self, value: Value) -> _Hit | None:
        if not value.words:
            return None
        for origin, pool in self._pools:
            if hit := self._in_pool(value, origin, pool):
                return hit
        for inner in value.decoded:
            for origin, pool in self._pools:
                if not inner.is_weak and (hit := self._in_pool(inner, origin, pool)):
                    return _Hit(hit.origin, Match.REFORMATTED, hit.result)
        return None

    def _in_pool(self, value: Value, origin: Origin, pool: Pool) -> _Hit | None:
        if origin in _TRUSTED and value.is_exacting:
            return self._spelled(value, origin, pool)
        if pool.words.issuperset(value.words):
            if len(value.words) == 1 and origin is not Origin.RESULT:
                return _Hit(origin, self._exactness(value, pool), None)
            at = self._find(value.flat, pool.flat)
            if at >= 0:
                place = pool.place_of(at) if origin is Origin.RESULT else None
                return _Hit(origin, self._exactness(value, pool), place)
        if value.facts and stated(value.facts, pool.facts):
            place = pool.place_of_fact(value.facts) if origin is Origin.RESULT else None
            return _Hit(origin, Match.REFORMATTED, place)
        self._overlooked |= bool(value.facts) and pool.has_more_facts
        return self._in_compact(value, origin, pool)

    def _spelled(self, value: Value, origin: Origin, pool: Pool) -> _Hit | None:
        """An address, URL or path that stands there in full, and not as a part of a longer one."""
        core = value.core
        at = self._find(core, pool.folded) if core else -1
        for _ in range(_MAX_PLACES):
            if at < 0:
                return None
            if not _BEFORE.search(pool.folded[max(at - 4, 0) : at]) and not _AFTER.match(pool.folded, at + len(core)):
                return _Hit(origin, self._exactness(value, pool), None)
            at = pool.folded.find(core, at + 1)
        return None

    def _in_compact(self, value: Value, origin: Origin, pool: Pool) -> _Hit | None:
        compact = value.compact
        if len(compact) < (_COMPACT_DIGITS if compact.isdigit() else _COMPACT):
            return None
        at = self._find(compact, pool.compact)
        if at < 0:
            return None
        return _Hit(origin, Match.REFORMATTED, pool.place_of_compact(at) if origin is Origin.RESULT else None)

    def _exactness(self, value: Value, pool: Pool) -> Match:
        return Match.EXACT if self._find(value.text, pool.raw) >= 0 else Match.REFORMATTED

    def _find(self, wanted: str, text: str) -> int:
        if self._room < 0:
            return -1
        self._room -= len(text)
        return text.find(wanted)

    def joined(self, text: str) -> _Hit | None:
        """Where a text made of several values stands as one."""
        value = Value("", text)
        for origin, pool in self._pools:
            look = self._spelled if origin in _TRUSTED and value.is_exacting else self._in_compact
            if hit := look(value, origin, pool):
                return _Hit(origin, Match.PARTS, hit.result)
        return None

    # -- its parts --

    def _shares(self, value: Value) -> tuple[float, float, float, float]:
        telling = value.telling
        if not telling:
            return 0.0, 0.0, 0.0, 0.0
        talk = self._conversation
        in_user = len(telling & talk.user.words)
        rest = telling - talk.user.words
        in_system = len(rest & talk.system.words)
        in_result = len((rest - talk.system.words) & talk.result.words)
        size = len(telling)
        return in_user / size, in_system / size, in_result / size, (size - in_user - in_system - in_result) / size

    def _by_parts(self, value: Value, shares: tuple[float, float, float, float]) -> _Hit:
        """Strictly: a value with one identifier that only a result has is that result's, and it is the user's only
        if nearly all of it is and nothing of it is a result's."""
        inner = (*value.pieces, *(piece for text in value.decoded for piece in text.pieces)) if self._room >= 0 else ()
        pieces = [self._whole(piece) or _NOWHERE for piece in inner]
        foreign = [hit for hit in pieces if hit.origin is Origin.RESULT]
        if foreign:
            return _Hit(Origin.RESULT, Match.PARTS, foreign[0].result)
        user, system, results, _ = shares
        if results >= 1 / 3 or (results and user + system + results >= _MOSTLY):
            return _Hit(Origin.RESULT, Match.PARTS, self._conversation.result.place_of_words(value.telling))
        if value.is_hard or any(hit.origin is Origin.MODEL for hit in pieces):
            return _NOWHERE  # an identifier of other identifiers' words is another one
        if user >= _MOSTLY:
            return _Hit(Origin.USER, Match.PARTS, None)
        if user + system >= _MOSTLY:
            return _Hit(Origin.SYSTEM, Match.PARTS, None)
        return _NOWHERE


_NOWHERE: Final = _Hit(Origin.MODEL, Match.NONE, None)


def _joined(origins: Sequence[ArgumentOrigin], search: _Search) -> Iterator[ArgumentOrigin]:
    """Values that came from nowhere one by one are tried together with their neighbours: the model may have cut one
    value up."""
    tried = 0
    for i, one in enumerate(origins):
        hit = None
        if one.match is Match.NONE and tried < _MAX_JOINED and one.value:
            tried += 1
            hit = next(filter(None, map(search.joined, _with_neighbours(origins, i))), None)
        yield one if hit is None else _replaced(one, hit)


def _with_neighbours(origins: Sequence[ArgumentOrigin], i: int) -> Iterator[str]:
    for start, end in ((i, i + 2), (i - 1, i + 1), (i - 1, i + 2), (i, i + 3), (i - 2, i + 1)):
        if start >= 0 and end <= len(origins):
            yield "".join(one.value for one in origins[start:end])


def _replaced(one: ArgumentOrigin, hit: _Hit) -> ArgumentOrigin:
    return ArgumentOrigin(
        one.path, one.value, hit.origin, hit.match, hit.result, one.user, one.system, one.results, one.nowhere, one.weak
    )
