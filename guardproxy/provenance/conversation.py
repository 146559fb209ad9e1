"""A conversation by origin: what the user, the system prompt, the tools and the model said, ready to be searched."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain

from guardproxy.model import CallKind, Request, ToolCall, ToolSpec
from guardproxy.provenance.claims import Claim, Origin, claims
from guardproxy.provenance.texts import Sentence, Text, indexed
from guardproxy.provenance.words import words

_LEAST_REPEATED = 24  # letters and digits of a line that count as taken from a result
_MAX_COMPARED = 200_000_000  # characters that lines are looked for in; a line beyond that counts as a result's


class Pool:
    """The texts of one origin, searched as one."""

    def __init__(self, texts: Sequence[Text], places: Sequence[int]) -> None:
        self.texts = texts
        self._places = places  # of each text: which result it is

    @property
    def places(self) -> Sequence[int]:
        return self._places

    @cached_property
    def raw(self) -> str:
        return "\n".join(text.raw for text in self.texts)

    @cached_property
    def folded(self) -> str:
        return "\n".join(text.folded for text in self.texts)

    @cached_property
    def flat(self) -> str:
        return "\n".join(text.flat for text in self.texts)

    @cached_property
    def compact(self) -> str:
        return "\n".join(text.compact for text in self.texts)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(text.words for text in self.texts))

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(text.stems for text in self.texts))

    @cached_property
    def facts(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(text.facts for text in self.texts))

    @cached_property
    def sentences(self) -> tuple[tuple[int, Sentence], ...]:
        """With the number of the text that each is from."""
        return tuple((i, sentence) for i, text in enumerate(self.texts) for sentence in text.sentences)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(text.flat) + 1 for text in self.texts)]

    @cached_property
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

    @classmethod
    def of(cls, request: Request) -> "Conversation":
        """The conversation of a request. The texts of its messages are indexed once and remembered."""
        texts: dict[Origin, tuple[list[Text], list[int]]] = {origin: ([], []) for origin in Origin}
        earlier = _Earlier()
        results = fresh = turns = 0
        calls: list[ToolCall] = []
        blind = 0
        begun = False
        for message in request.messages:
            place = results if message.result is not None else max(results - 1, 0)
            said = list(earlier.distrusted(claims(message, begun=begun)))
            begun |= message.role not in ("system", "developer")
            if any(claim.origin is Origin.RESULT for claim in said):
                results, fresh, place = results + 1, fresh + 1, results
            elif message.role == "user":
                turns, fresh = turns + 1, 0
            for origin, text in said:
                index = indexed(text, unveil=origin is Origin.RESULT)
                texts[origin][0].append(index)
                texts[origin][1].append(place)
                earlier.add(origin, index)
            if not results:
                blind += len(message.calls)
            calls.extend(message.calls)
        pools = {origin: Pool(*found) for origin, found in texts.items()}
        return cls(
            pools[Origin.USER], pools[Origin.SYSTEM], pools[Origin.RESULT], pools[Origin.MODEL],
            results, fresh, turns, tuple(calls), blind, request.tools,
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

    @cached_property
    def specs(self) -> dict[str, ToolSpec]:
        return {tool.name: tool for tool in self.tools if tool.kind is not CallKind.OPAQUE}


class _Earlier:
    """What was said so far, to find lines of the user's and the operator's messages that a result said first."""

    def __init__(self) -> None:
        self._results: list[str] = []
        self._own: list[str] = []
        self._words: set[str] = set()  # of the results
        self._room = _MAX_COMPARED

    def add(self, origin: Origin, text: Text) -> None:
        if origin is Origin.RESULT:
            self._results.append(text.flat)
            self._words |= text.words
        elif origin in (Origin.USER, Origin.SYSTEM) and not self._results:
            self._own.append(text.flat)

    def distrusted(self, said: Iterator[Claim]) -> Iterator[Claim]:
        for claim in said:
            if self._results and claim.origin in (Origin.USER, Origin.SYSTEM):
                yield from self._split(claim)
            else:
                yield claim

    def _split(self, claim: Claim) -> Iterator[Claim]:
        """A claim with the lines that a result said first taken out, and given to the tools."""
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

    def _found(self, flat: str, texts: list[str]) -> bool:
        for text in texts:
            self._room -= len(text)
            if self._room < 0 or flat in text:
                return True
        return False
