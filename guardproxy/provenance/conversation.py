"""A conversation by origin: what the user, the system prompt, the tools and the model said, ready to be searched.

An agent sends its whole history with every turn. So what was read is remembered, and the next turn is read from where
the last one ended.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice, takewhile
from typing import Any, Final

from guardproxy.model import CallKind, Message, Request, ToolCall, ToolSpec
from guardproxy.provenance.claims import Claim, Origin, claims
from guardproxy.provenance.once import Remembered, lazy
from guardproxy.provenance.texts import MAX_CLOSE, Sentence, Text, indexed
from guardproxy.provenance.words import words

_LEAST_REPEATED: Final = 24  # letters and digits of a line that count as taken from a result
_MAX_COMPARED: Final = 50_000_000  # characters that lines are looked for in; a line beyond that counts as a result's
_MAX_REMEMBERED: Final = 2_000_000  # characters of conversations, all together: some 75 MB
_MAX_SENTENCES: Final = 8_000  # of one origin
_MAX_TRACED: Final = 50_000  # characters of arguments of calls of one conversation
_JOINED: Final = ("raw", "folded", "flat", "compact")


class Pool:
    """The texts of one origin, searched as one."""

    def __init__(self, texts: Sequence[Text], places: Sequence[int]) -> None:
        self.texts = texts
        self._places = places  # of each text: which result it is

    @property
    def places(self) -> Sequence[int]:
        """Of each text which result it is."""
        return self._places

    def with_more(self, texts: Sequence[Text], places: Sequence[int]) -> "Pool":
        """A pool of these texts too. What was worked out of this one is not worked out again."""
        if not texts:
            return self
        more = Pool((*self.texts, *texts), (*self._places, *places))
        new = Pool(texts, places)
        known = self.__dict__.copy()  # at once: another thread may be working something out
        for name in known.keys() & _JOINED:
            more.__dict__[name] = "\n".join([known[name], getattr(new, name)]) if self.texts else getattr(new, name)
        if "words" in known:
            more.__dict__["words"] = known["words"] | new.words
        return more

    @lazy
    def raw(self) -> str:
        return "\n".join([text.raw for text in self.texts])

    @lazy
    def folded(self) -> str:
        return "\n".join([text.folded for text in self.texts])

    @lazy
    def flat(self) -> str:
        return "\n".join([text.flat for text in self.texts])

    @lazy
    def compact(self) -> str:
        return "\n".join([text.compact for text in self.texts])

    @lazy
    def words(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(text.words for text in self.texts))

    @lazy
    def _close(self) -> Sequence[Text]:
        """The texts that are read closely: the newest, up to a bound."""
        sizes = accumulate(len(text.raw) for text in reversed(self.texts))
        count = sum(1 for _ in takewhile(lambda size: size <= MAX_CLOSE, sizes))
        return self.texts[-max(count, 1) :]

    @lazy
    def stems(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(text.stems for text in self._close))

    @lazy
    def facts(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(text.facts for text in self._close))

    @property
    def has_more_facts(self) -> bool:
        return len(self._close) < len(self.texts) or any(text.has_more_facts for text in self._close)

    @lazy
    def is_veiled(self) -> bool:
        return any(text.is_veiled for text in self.texts)

    @lazy
    def sentences(self) -> tuple[Sentence, ...]:
        """In order, those of the newest texts."""
        newest = islice(chain.from_iterable(reversed(text.sentences) for text in reversed(self._close)), _MAX_SENTENCES)
        return tuple(newest)[::-1]

    @lazy
    def is_skimmed(self) -> bool:
        """Whether it has more than its `sentences` and `stems` say."""
        more = len(self._close) < len(self.texts) or len(self.sentences) == _MAX_SENTENCES
        return more or any(text.is_skimmed for text in self._close)

    @lazy
    def strongest_cue(self) -> float:
        return max((sentence.cue for sentence in self.sentences), default=0.0)

    @lazy
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(text.flat) + 1 for text in self.texts)]

    @lazy
    def _compact_starts(self) -> list[int]:
        return [0, *accumulate(len(text.compact) + 1 for text in self.texts)]

    def place_of(self, at: int) -> int:
        """Which result the text at this offset of `flat` is from."""
        return self._places[bisect_right(self._starts, at) - 1]

    def place_of_compact(self, at: int) -> int:
        return self._places[bisect_right(self._compact_starts, at) - 1]

    def place_of_fact(self, wanted: frozenset[str]) -> int:
        return next((p for t, p in zip(self.texts, self._places, strict=True) if t.facts & wanted), self._places[0])

    def place_of_words(self, wanted: frozenset[str]) -> int:
        """The result that has most of these words."""
        return max(zip(self.texts, self._places, strict=True), key=lambda pair: len(pair[0].words & wanted))[1]


@dataclass(frozen=True)
class Conversation:
    """`results` counts the results, `fresh` those since the user last spoke. Made by `of`."""

    user: Pool
    system: Pool
    result: Pool
    model: Pool
    results: int
    fresh: int
    turns: int  # of the user
    calls: tuple[ToolCall, ...]
    first_result_at: int  # how many calls were made before the first result was read
    tools: tuple[ToolSpec, ...]
    asked: str  # the user's own words of the last message that has any
    traced: Remembered[str, Any] = field(repr=False, compare=False)  # what `trace` found for these arguments

    @classmethod
    def of(cls, request: Request) -> "Conversation":
        """The conversation of a request. What was read of it lately, for this request or one that it goes on from, is
        not read again."""
        read = _read(request.messages)
        pools = read.pools
        return cls(
            pools[Origin.USER], pools[Origin.SYSTEM], pools[Origin.RESULT], pools[Origin.MODEL],
            read.results, read.fresh, read.turns, read.calls, read.blind, request.tools, read.asked, read.traced,
        )  # fmt: skip

    def pool(self, origin: Origin) -> Pool:
        match origin:
            case Origin.USER:
                return self.user
            case Origin.SYSTEM:
                return self.system
            case Origin.RESULT:
                return self.result
            case Origin.MODEL:
                return self.model

    @lazy
    def specs(self) -> dict[str, ToolSpec]:
        return {tool.name: tool for tool in self.tools if tool.kind is not CallKind.OPAQUE}


@dataclass(frozen=True, slots=True)
class _Read:
    """What messages say, without the tools that are declared beside them."""

    messages: tuple[Message, ...] = ()
    pools: dict[Origin, Pool] = field(default_factory=lambda: {origin: Pool((), ()) for origin in Origin})
    earlier: "_Earlier" = field(default_factory=lambda: _Earlier())
    results: int = 0
    fresh: int = 0
    turns: int = 0
    calls: tuple[ToolCall, ...] = ()
    blind: int = 0  # calls made before the first result was read
    begun: bool = False
    asked: str = ""
    traced: Remembered[str, Any] = field(default_factory=lambda: Remembered(_MAX_TRACED), compare=False)

    def and_then(self, messages: Sequence[Message]) -> "_Read":
        texts: dict[Origin, tuple[list[Text], list[int]]] = {origin: ([], []) for origin in Origin}
        earlier, begun, blind = self.earlier.copy(), self.begun, self.blind
        results, fresh, turns, asked = self.results, self.fresh, self.turns, self.asked
        calls: list[ToolCall] = []
        for message in messages:
            place = results if message.result is not None else max(results - 1, 0)
            said = list(earlier.distrusted(claims(message, begun=begun)))
            begun |= message.role not in ("system", "developer")
            if any(claim.origin is Origin.RESULT for claim in said):
                results, fresh, place = results + 1, fresh + 1, results
            elif message.role == "user":
                turns, fresh = turns + 1, 0
            asked = "\n".join([text for origin, text in said if origin is Origin.USER]) or asked
            for origin, text in said:
                index = indexed(text, unveil=origin is Origin.RESULT)
                texts[origin][0].append(index)
                texts[origin][1].append(place)
                earlier.add(origin, index)
            if not results:
                blind += len(message.calls)
            calls.extend(message.calls)
        pools = {origin: pool.with_more(*texts[origin]) for origin, pool in self.pools.items()}
        return _Read(
            (*self.messages, *messages), pools, earlier, results, fresh, turns, (*self.calls, *calls), blind, begun,
            asked,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """In characters."""
        return sum(len(text.raw) for pool in self.pools.values() for text in pool.texts)


_remembered: Final[Remembered[int, _Read]] = Remembered(_MAX_REMEMBERED)


def _read(messages: tuple[Message, ...]) -> _Read:
    """From the longest beginning that is remembered on. A key only says where to look: messages are compared."""
    keys = list(accumulate((message.text for message in messages), lambda *both: hash(both), initial=0))
    known = next(filter(None, (_beginning(messages, n, keys[n]) for n in range(len(messages), 0, -1))), _Read())
    done = len(known.messages)
    if done == len(messages):
        return known
    read = known.and_then(messages[done:])
    _remembered.forget(keys[done])
    _remembered.put(keys[-1], read, read.size)
    return read


def _beginning(messages: tuple[Message, ...], size: int, key: int) -> _Read | None:
    found = _remembered.get(key)
    return found if found is not None and found.messages == messages[:size] else None


class _Earlier:
    """What was said so far, to find lines of the user's and the operator's messages that a result said first."""

    def __init__(self) -> None:
        self._results: list[Text] = []
        self._own: list[Text] = []
        self._words: set[str] = set()  # of the results
        self._counted = 0  # results whose words are among them
        self._room = _MAX_COMPARED

    def copy(self) -> "_Earlier":
        same = copy(self)
        same._results, same._own, same._words = self._results.copy(), self._own.copy(), self._words.copy()
        return same

    def add(self, origin: Origin, text: Text) -> None:
        if origin is Origin.RESULT:
            self._results.append(text)
        elif origin in (Origin.USER, Origin.SYSTEM) and not self._results:
            self._own.append(text)

    def distrusted(self, said: Iterator[Claim]) -> Iterator[Claim]:
        for claim in said:
            if self._results and claim.origin in (Origin.USER, Origin.SYSTEM):
                yield from self._split(claim)
            else:
                yield claim

    def _split(self, claim: Claim) -> Iterator[Claim]:
        """A claim with the lines that a result said first taken out, and given to the tools."""
        self._words.update(*(text.words for text in self._results[self._counted :]))
        self._counted = len(self._results)
        lines = claim.text.splitlines()
        foreign = [self._repeats(line) for line in lines]
        if not any(foreign):
            yield claim
            return
        for origin, wanted in ((claim.origin, False), (Origin.RESULT, True)):
            text = "\n".join(line for line, is_foreign in zip(lines, foreign, strict=True) if is_foreign is wanted)
            if text.strip():
                yield Claim(origin, text)

    def _repeats(self, line: str) -> bool:
        if len(line) < _LEAST_REPEATED:
            return False
        found = words(line)
        flat = f" {' '.join(found)} "
        if len(flat) < _LEAST_REPEATED or not self._words.issuperset(found):
            return False
        return self._found(flat, self._results) and (self._room < 0 or not self._found(flat, self._own))

    def _found(self, flat: str, texts: list[Text]) -> bool:
        for text in texts:
            self._room -= len(text.flat)
            if self._room < 0 or flat in text.flat:
                return True
        return False
