"""What a reader takes a text for: compatibility forms, invisible characters and look-alike letters reduced to ASCII.

Look-alikes follow the idea of Unicode Technical Standard 39 (skeletons), for letters that pass for ASCII only.
"""

import re
import unicodedata
from functools import lru_cache

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0100-\U000e01ef]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]")

_LOOK_ALIKES = {
    "a": "\u0430\u0251\u03b1", "b": "\u0184\u042c", "c": "\u0441\u03f2\u217d\u1d04", "d": "\u0501\u217e",
    "e": "\u0435\u212e\u04bd",
    "f": "\u1e9d\u0192", "g": "\u0261\u0581", "h": "\u04bb\u0570", "i": "\u0456\u0131\u03b9\u2170\u04cf",
    "j": "\u0458\u03f3", "k": "\u03ba\u043a",
    "l": "\u04c0\u217c\u01c0\u05c0", "m": "\u217f\u043c\u1d0d", "n": "\u0578\u057c",
    "o": "\u043e\u03bf\u0585\u1d0f\u0d20", "p": "\u0440\u03c1\u2374",
    "q": "\u051b\u0563", "r": "\u0433\u1d26\u0280", "s": "\u0455\ua731", "t": "\u03c4\u0442\u1d1b",
    "u": "\u057d\u03c5\u1d1c", "v": "\u03bd\u0475\u2174\u1d20",
    "w": "\u0461\u051d\u1d21", "x": "\u0445\u2179\u04b3", "y": "\u0443\u04af\u1d8c\u03b3", "z": "\u1d22",
    "A": "\u0391\u0410", "B": "\u0392\u0412", "C": "\u0421\u216d", "E": "\u0395\u0415", "H": "\u0397\u041d",
    "I": "\u0399\u0406", "K": "\u039a\u041a",
    "M": "\u039c\u041c\u216f", "N": "\u039d", "O": "\u039f\u041e", "P": "\u03a1\u0420", "S": "\u0405",
    "T": "\u03a4\u0422", "X": "\u03a7\u0425", "Y": "\u03a5\u04ae",
    "/": "\u2044\u2215\u29f8\u27cb\u338c", "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u02d7\ufe58",
    ".": "\u2024\u0701\u0660", ":": "\u2236\ua789\u0589",
    "~": "\u223c\u02dc", "*": "\u2217\u204e", "'": "\u2018\u2019\u02bc", '"': "\u201c\u201d", "|": "\u2223\u01c0",
}  # fmt: skip
_TO_ASCII = {ord(odd): plain for plain, odds in _LOOK_ALIKES.items() for odd in odds}


@lru_cache(maxsize=1024)
def _short_skeleton(text: str) -> str:
    return _skeleton(text)


def skeleton(text: str) -> str:
    """`text` with what is invisible removed and what passes for ASCII made ASCII; plain ASCII comes back as it is."""
    if text.isascii():
        return text
    return _short_skeleton(text) if len(text) < 256 else _skeleton(text)


def _skeleton(text: str) -> str:
    seen = _TAGS.sub(lambda m: chr(ord(m[0]) - 0xE0000), text)
    seen = _INVISIBLE.sub("", seen).translate(_TO_ASCII)
    seen = unicodedata.normalize("NFKC", seen)
    return _without_marks(seen).translate(_TO_ASCII)


def _without_marks(text: str) -> str:
    """Letters without the accents that were put on them (`r\u0301m` reads as `rm`)."""
    apart = unicodedata.normalize("NFD", text)
    return "".join(c for c in apart if not unicodedata.combining(c))


def encodable(text: str) -> str:
    """`text` with lone surrogates replaced, so that every matcher can read it."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
