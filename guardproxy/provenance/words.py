"""Texts as words: case, accents, compatibility forms and invisible characters do not make a difference."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_WORD = re.compile(r"[^\W_]+")
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_MARKS = re.compile("[\u0300-\u036f]")
_TAGS = {code: code - 0xE0000 for code in range(0xE0020, 0xE007F)}  # invisible twins of ASCII
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HUMP = re.compile(r"[a-z\d][A-Z]|[A-Z]{2}[a-z]")
_ASCII_WORDS: Final = bytes(ord(c.lower()) if c.isascii() and c.isalnum() else ord(" ") for c in map(chr, range(256)))
MAX_STEMMED: Final = 64  # characters of a word
_MAX_STEMS: Final = 65_536  # that are remembered

STOP_WORDS: Final = frozenset(
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it "
    "its just may me might my no not of on or our out own s she should so some such t than that the their them then "
    "there these they this those to too up us was we were what when where which who whom why will with would you your "
    "am any all also about after again please "
    "der die das den dem ein eine und oder ist im in zu mit von für fur auf nicht es sie wir "
    "le la les un une des et ou est du de dans pour avec sur pas que qui ce "
    "el los las una y o es en para con por se no lo "
    "il lo gli e di che per con non da".split()
)
COMMON: Final = STOP_WORDS | frozenset(
    "true false null none yes no on off ok asc desc default auto all any new high low medium small large text html "
    "json xml csv utf get post put name value type id data info item items list user title public private read write "
    "today now tomorrow english email active inactive open closed unknown other".split()
)


def fold(text: str) -> str:
    """One spelling of a text: what is invisible is gone, tags are the ASCII that they stand for."""
    if text.isascii():
        return text.lower()
    text = _INVISIBLE.sub("", text).translate(_TAGS)
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    return _UNSPACED.sub(lambda run: f" {'  '.join(run[0])} ", unicodedata.normalize("NFC", text))


def words(text: str) -> list[str]:
    """The words of a text, folded, in order. A letter of a script without blanks is a word."""
    if text.isascii():  # sooner than by the expression
        return text.encode().translate(_ASCII_WORDS).decode().split()
    return _WORD.findall(fold(text))


def name_words(name: str) -> list[str]:
    """The words of an identifier: `mcp__mail__sendEmail` has mcp, mail, send, email."""
    return [part.lower() for word in _WORD.findall(name) for part in _CAMEL.findall(word) or [word]]


def has_humps(text: str) -> bool:
    """Whether a word of it is written in camel case."""
    return _HUMP.search(text) is not None


def humps(text: str) -> list[str]:
    """The words inside the identifiers of a text that are written in camel case."""
    if not has_humps(text):
        return []
    return [part.lower() for word in _WORD.findall(text) if _HUMP.search(word) for part in _CAMEL.findall(word)]


def stem(word: str) -> str:
    """The word without the common endings of English: `transferring` and `transfers` are both `transfer`."""
    if len(word) < 4 or not word.isalpha():
        return word
    for ending, least in (("ingly", 4), ("ing", 3), ("edly", 4), ("ies", 3), ("ed", 3), ("es", 4), ("s", 3), ("ly", 4)):
        if word.endswith(ending) and len(word) - len(ending) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] == "e" else word


class _Stems(dict[str, str]):
    """The stems of words that mean something by themselves, and nothing for others. Begun anew when it is full."""

    def __missing__(self, word: str) -> str:
        found = "" if word in STOP_WORDS else stem(word[:MAX_STEMMED])
        if len(word) <= MAX_STEMMED:
            if len(self) >= _MAX_STEMS:
                self.clear()
            self[word] = found
        return found


_STEMS: Final = _Stems()


def stems(found: Iterable[str]) -> frozenset[str]:
    """The stems of words that mean something by themselves."""
    return frozenset(filter(None, map(_STEMS.__getitem__, found)))
