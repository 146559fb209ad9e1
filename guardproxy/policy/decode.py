"""The texts that one argument string could turn out to be once somebody decodes it.

JSON in strings, percent-encoding, backslash and HTML escapes, base64 (both alphabets, padded or not, UTF-16 too), hex,
deflate, and Unicode look-alikes, in layers. Everything is bounded: a text that outgrows the bounds is reported as such
and never passed over in silence.
"""

import base64
import binascii
import html
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote_plus

from guardproxy import strict_json
from guardproxy.policy.unicode import encodable, skeleton
from guardproxy.strict_json import Json

MAX_DEPTH = 5  # layers
MAX_VIEWS = 400  # texts out of one string
MAX_GROWTH = 4_000_000  # characters of all views out of one string
MAX_TOKENS = 512  # encoded runs looked at in one text
MAX_JSON_LEAVES = 20_000

_ANY_LAYER = re.compile(r"[\\%&]|[A-Za-z0-9+/_=-]{8}|[{\[]|\A\s*\x22|[^\x00-\x7f]|0x|(?:[0-9a-fA-F]{2}[\s:,]){4}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HEX = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2}){4,})")
_SPACED_HEX = re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s:,]+){4,}(?:0x|\\x)?[0-9a-fA-F]{2}")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u\{?([0-9a-fA-F]{4,6})\}?|U([0-9a-fA-F]{8})|([0-7]{1,3})|([abefnrtv])|(\n)|(.))",
    re.DOTALL,
)
_NAMED = {"a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}|%u[0-9a-fA-F]{4}")


@dataclass(frozen=True, slots=True)
class Views:
    """`texts` starts with the original. `complete` is false when a bound cut the search short."""

    texts: tuple[str, ...]
    complete: bool


def views(text: str, growth: int = MAX_GROWTH) -> Views:
    """Everything that `text` could decode to, at most `growth` characters beside the text itself."""
    text = encodable(text)
    if len(text) < 4 or not _ANY_LAYER.search(text):
        return Views((text,), True)
    return _search(text, growth)


def _search(text: str, growth: int) -> Views:
    seen, layer, room, complete = {text: None}, [text], growth, True
    for _ in range(MAX_DEPTH):
        found: list[str] = []
        for outer in layer:
            for inner in _decoded(outer):
                if inner in seen or not inner:
                    continue
                room -= len(inner)
                if room < 0 or len(seen) >= MAX_VIEWS:
                    return Views(tuple(seen), False)
                seen[inner] = None
                found.append(inner)
        layer = found
        if not layer:
            break
    else:
        complete = not any(_looks_encoded(left) for left in layer)
    return Views(tuple(seen), complete)


def _looks_encoded(text: str) -> bool:
    return any(inner != text for inner in _decoded(text))


def _decoded(text: str) -> Iterator[str]:
    """One layer taken off, in each way that applies."""
    if not text.isascii():
        yield skeleton(text)
    if "\\" in text:
        yield unescaped(text)
    if "%" in text and _PERCENT.search(text):
        yield _unquoted(text)
    if "&" in text and ";" in text:
        yield html.unescape(text)
    if text.lstrip()[:1] in ("{", "[", '"'):
        yield from _json_strings(text)
    yield from _from_base64(text)
    yield from _from_hex(text)


def unescaped(text: str) -> str:
    """Backslash escapes of JSON, C and the shell resolved; an unknown one yields its character."""

    def one(m: re.Match[str]) -> str:
        if code := m[1] or m[2] or m[3]:
            return _character(int(code, 16))
        if m[4]:
            return _character(int(m[4], 8))
        return _NAMED.get(m[5], "") if m[5] else (m[7] or "")

    return _ESCAPE.sub(one, text)


def _character(code: int) -> str:
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _unquoted(text: str) -> str:
    wide = re.sub(r"%u([0-9a-fA-F]{4})", lambda m: _character(int(m[1], 16)), text)
    return unquote_plus(wide, errors="replace")


def _json_strings(text: str) -> Iterator[str]:
    try:
        tree = strict_json.decode(text.strip().encode())
    except strict_json.MalformedJson:
        return
    for _, leaf in islice(leaves(tree), MAX_JSON_LEAVES):
        yield leaf


def leaves(tree: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """The strings of a tree with their paths (`a.b[0]`): values, and keys, whose path ends in `#key`. Iterative."""
    stack: list[tuple[str, Json]] = [(path, tree)]
    while stack:
        at, node = stack.pop()
        match node:
            case str():
                yield at, node
            case dict():
                stack.extend((f"{at}.{key}" if at else key, value) for key, value in reversed(node.items()))
                yield from (
                    (f"{at}.#key" if at else "#key", key) for key in node if len(key) > 12 or not key.isidentifier()
                )
            case list():
                stack.extend((f"{at}[{i}]", node[i]) for i in range(len(node) - 1, -1, -1))


def _from_base64(text: str) -> Iterator[str]:
    tokens = (m[0] for m in _BASE64.finditer(text) if not m[0].islower())  # encoded text has capitals or digits
    for token in islice(tokens, MAX_TOKENS):
        yield from base64_texts(token)
    if "\n" in text or " " in text:
        joined = "".join(text.split())
        if len(joined) >= 12 and _BASE64.fullmatch(joined):
            yield from base64_texts(joined)


def base64_texts(token: str) -> Iterator[str]:
    """The printable text behind a base64 token, if there is one."""
    bare = token.rstrip("=").replace("-", "+").replace("_", "/")
    if len(bare) % 4 == 1:
        bare = bare[:-1]
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return
    yield from printable_texts(data)


def _from_hex(text: str) -> Iterator[str]:
    for match in islice(_HEX.finditer(text), MAX_TOKENS):
        yield from printable_texts(bytes.fromhex(match[1]))
    for match in islice(_SPACED_HEX.finditer(text), MAX_TOKENS):
        yield from printable_texts(bytes.fromhex(re.sub(r"0x|\\x|[\s:,]+", "", match[0])))


def printable_texts(data: bytes) -> Iterator[str]:
    """`data` as text when it reads as one: UTF-8, UTF-16 or deflated text."""
    if data[:2] in (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda"):
        data = _inflated(data)
    for codec in ("utf-8", "utf-16-le"):
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            continue
        if text and _reads_as_text(text):
            yield text
            return


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(data, 1_000_000)
    except zlib.error:
        return b""


def _reads_as_text(text: str) -> bool:
    """All printable, and mostly ASCII: what a command, a path or a sentence looks like, unlike a decoded word."""
    sample = text[:4096]
    plain = sum(c.isascii() for c in sample)
    return plain * 10 >= len(sample) * 8 and all(c.isprintable() or c in "\t\r\n" for c in sample)


_WHOLE_BASE64 = re.compile(r"\s*[A-Za-z0-9+/_-]{8,}={0,2}\s*")
_CODED = re.compile(r"\\(?:u\{?[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})")


def script_texts(text: str) -> tuple[str, ...]:
    """What a command or a program handed over as `text` could be: decoded only where the whole of it is encoded."""
    seen = {encodable(text): None}
    layer = list(seen)
    for _ in range(3):
        found = [inner for outer in layer for inner in _script_layer(outer) if inner.strip() and inner not in seen]
        seen.update(dict.fromkeys(found))
        layer = found
        if len(seen) > MAX_VIEWS:
            break
    return tuple(seen)


def _script_layer(text: str) -> Iterator[str]:
    if not text.isascii():
        yield skeleton(text)
    if _CODED.search(text):
        yield unescaped(text)
    if "%" in text and " " not in text.strip() and _PERCENT.search(text):
        yield _unquoted(text)
    if "&" in text and re.search(r"&(?:#|amp;|lt;|gt;|quot;|nbsp;|sol;)", text):
        yield html.unescape(text)
    if text.lstrip()[:1] in ("{", "[", '"'):
        yield from _json_strings(text)
    if _WHOLE_BASE64.fullmatch(text):
        yield from base64_texts(text.strip())
        yield from _from_hex(text)
