"""One character as a reader is to see it: nothing invisible, nothing that UTF-8 cannot carry. Pure."""

import unicodedata
from typing import Final

_TAG_BLOCK: Final = range(0xE0020, 0xE007F)  # invisible twins of ASCII, used to smuggle instructions


def printable(character: str) -> str:
    """Tag characters become the ASCII that they stand for, other format characters vanish, what is no character (a
    lone surrogate, say) becomes U+FFFD, and white space and control characters a space."""
    if character.isprintable():
        return character
    if ord(character) in _TAG_BLOCK:
        return chr(ord(character) - 0xE0000)
    match unicodedata.category(character):
        case "Cf":
            return ""
        case "Cs" | "Co" | "Cn":
            return "\ufffd"
        case _:
            return " "
