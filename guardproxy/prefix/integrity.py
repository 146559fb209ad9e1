"""Text from outside that works against a prefix: it says the prefix itself, ends the turn that the prefix begins, or
takes back what the prefix promises. Pure.

What is looked for is written here and known to an attacker too: it finds the plain forms, in any letters' case and
spacing, and a paraphrase it does not. Nothing is refused for it. What is found is counted and told, a tool result with
it taints the calls behind it, and a gate lets the prefix in.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

_SENTENCE: Final = re.compile(r"[^.!?\n;]+")
_ENOUGH: Final = 40  # letters of a sentence, from which it is nobody else's
_NEAR: Final = 160  # characters behind "ignore" in which its object stands
_WORDS: Final = 3  # of the prefix's own, that make it the object
_A_WORD: Final = 5  # letters, from which a word is its own
_REMEMBERED: Final = 2048

_NOT_WRITTEN: Final = re.compile(r"[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_NO_WORD: Final = re.compile(r"[\W_]+")
# Marks that no text but a chat template has. `</s>` is also HTML's, where a `<s>` stands before it.
_ENDS_A_TURN: Final = re.compile(
    r"<[|｜][\w▁-]{2,40}[|｜]>|\[/INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|\[/?(?:SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS)\]"
)
_STRIKES: Final = re.compile(r"<s[\s>]")
_CANCELS: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override|overrule|cancel|drop|discard|retract|revoke|withdraw|abandon|take back"
    r"|pay no attention to|stop following|(?:do|need) not (?:follow|keep|honou?r)|don't (?:follow|keep|honou?r))\b",
)
# One of these stands in everything that `_CANCELS` or `_ENDS_A_TURN` finds: most texts hold none.
_MARKS: Final = (
    "ignore", "disregard", "forget", "overr", "cancel", "drop", "discard", "retract", "revoke", "withdraw", "abandon",
    "take back", "pay no attention", "stop following", "not follow", "not keep", "not hono", "n't follow", "n't keep",
    "n't hono",
)  # fmt: skip
_OPENS: Final = ("<|", "<｜", "[/", "[SYSTEM_P", "[TOOL_C", "[AVAILABLE_T", "<</", "<<S", "<start_of", "<end_of")
_ITS_NAMES: Final = re.compile(
    r"\b(?:(?:the|that|this|your|any|every|my)\s+(?:\w+\s+){0,2}(?:commitment|resolution|promise|pledge|oath|vow|prefix|prefill)s?"
    r"|(?:first|opening) (?:sentence|line|words)|(?:start|beginning) of (?:your|the) (?:turn|reply|response|answer)"
    r"|what (?:you|i) (?:have )?(?:just )?(?:said|promised|committed to|resolved))\b",
)


class Tampering(StrEnum):
    IMITATED = "imitated"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Integrity:
    """Knows the texts of all prefixes at work. What it has said of a text it says again without looking."""

    def __init__(self, texts: Iterable[str]) -> None:
        own = tuple(dict.fromkeys(texts))
        telling = dict.fromkeys(sentence for text in own for sentence in _telling(text))
        self._sentences = tuple((sentence, max(sentence.split(), key=len)) for sentence in telling if sentence)
        self._words = tuple(frozenset(w for w in _plain(text).split() if len(w) >= _A_WORD) for text in own)
        self._known: dict[int, tuple[Tampering, ...]] = {}

    def of(self, text: str) -> Sequence[Tampering]:
        key = hash(text)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[key] = tuple(self._found(text))
        return found

    def _found(self, text: str) -> Iterator[Tampering]:
        if not text.isascii():
            text = _NOT_WRITTEN.sub("", unicodedata.normalize("NFKC", text))
        folded = text.casefold()
        if self._is_said_in(folded):
            yield Tampering.IMITATED
        if _ends_a_turn(text):
            yield Tampering.CLOSED
        if any(mark in folded for mark in _MARKS) and any(
            self._is_about_it(folded[found.end() : found.end() + _NEAR]) for found in _CANCELS.finditer(folded)
        ):
            yield Tampering.CANCELLED

    def _is_said_in(self, folded: str) -> bool:
        """Most texts lack the longest word of every sentence, which is cheap to see."""
        likely = [sentence for sentence, word in self._sentences if word in folded]
        if not likely:
            return False
        plain = f" {_plain(folded)} "
        return any(f" {sentence} " in plain for sentence in likely)

    def _is_about_it(self, text: str) -> bool:
        if _ITS_NAMES.search(text):
            return True
        words = set(_plain(text).split())
        return any(len(words & own) >= _WORDS for own in self._words)


def _ends_a_turn(text: str) -> bool:
    if any(mark in text for mark in _OPENS) and _ENDS_A_TURN.search(text):
        return True
    return "</s>" in text and not _STRIKES.search(text.partition("</s>")[0])


def _telling(text: str) -> Iterator[str]:
    """The whole text, and each sentence that is long enough to be no coincidence."""
    yield _plain(text)
    yield from (plain for plain in map(_plain, _SENTENCE.findall(text)) if len(plain) >= _ENOUGH)


def _plain(text: str) -> str:
    """Letters and digits alone, however they are cased, spaced and set off."""
    return _NO_WORD.sub(" ", text.casefold()).strip()
