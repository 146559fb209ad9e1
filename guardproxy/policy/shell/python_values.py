"""Python's own functions on constants, for those that are used to put a command together."""

import base64
import codecs
import re

Value = str | tuple[str, ...] | int


def as_text(values: list[Value]) -> str:
    value = values[0] if values else ""
    return "".join(value) if isinstance(value, tuple) else str(value)


def combined(operator: str, left: Value, right: Value) -> Value | None:
    match operator, left, right:
        case "+", str(), str():
            return left + right
        case "+", tuple(), tuple():
            return left + right
        case "/", str(), str():
            return f"{left.rstrip('/')}/{right}"
        case "%", str(), _:
            items = iter(right if isinstance(right, tuple) else (str(right),))
            return re.sub(r"%[-+ #0-9.]*[a-z]", lambda _: next(items, ""), left)
        case "*", str(), int() if right < 1000:
            return left * right
        case "+", int(), int():
            return left + right
        case "-", int(), int():
            return left - right
        case _:
            return None


def character(item: str, shift: re.Match[str] | None) -> str:
    code = int(item) if item.isdecimal() and len(item) < 8 else ord(item[0]) if item else 0
    if shift:
        code = {"+": code + int(shift[2]), "-": code - int(shift[2]), "^": code ^ int(shift[2])}[shift[1]]
    return chr(code) if 0 <= code < 0xD800 else ""


def method_value(name: str, base: Value, flat: list[str]) -> Value | None:
    if isinstance(base, int):
        return None
    if isinstance(base, tuple):
        return "".join(base) if name == "decode" else base
    match name:
        case "decode" if flat and re.search(r"rot|hex|base64|b64", flat[0]):
            return _decoded(flat[0], base)
        case "format":
            items = iter(flat)
            return re.sub(r"\{[^{}]*\}", lambda _: next(items, ""), base)
        case "replace" if len(flat) > 1:
            return base.replace(flat[0], flat[1]) if flat[0] else base
        case "split":
            return tuple(base.split(flat[0]) if flat and flat[0] else base.split())
        case "joinpath":
            return "/".join((base.rstrip("/"), *flat))
        case "lower" | "upper" | "title" | "swapcase":
            return str(getattr(base, name)())
        case "fromhex":
            return _decoded("hex", flat[0]) if flat else None
        case _:
            return base  # strip, encode, expanduser, resolve, absolute and the like keep the text


def function_value(name: str, flat: list[str], arguments: list[list[Value]]) -> list[Value]:
    first = flat[0] if flat else ""
    match name:
        case "chr":
            return [character(first, None)]
        case "fromhex" | "unhexlify" | "a2b_hex":
            return [_decoded("hex", first)]
        case "b64decode" | "urlsafe_b64decode" | "standard_b64decode" | "decodebytes" | "a2b_base64" | "decodestring":
            return [_decoded("base64", first)]
        case "b32decode" | "b16decode" | "a85decode" | "b85decode":
            return [_decoded(name.removesuffix("decode"), first)]
        case "decode" if len(flat) > 1:
            return [_decoded(flat[1], first)]
        case "join":
            return ["/".join(flat)]
        case "getenv" | "get":
            return [environment_value(first)] if first.isupper() else []
        case "home":
            return ["~"]
        case "split":
            return [tuple(first.split())]
        case "map" | "reversed" | "list" | "tuple" | "sorted" | "bytes" | "bytearray":
            inner = [v for values in arguments[-1:] for v in values]
            chars = [
                tuple(character(i, None) for i in v)
                if name in ("map", "bytes", "bytearray") and all(i.isdecimal() for i in v)
                else v
                for v in inner
                if isinstance(v, tuple)
            ]
            chosen: list[Value] = [*chars] or list(inner)
            return [v[::-1] if name == "reversed" and not isinstance(v, int) else v for v in chosen]
        case (
            "Path"
            | "PurePath"
            | "PosixPath"
            | "str"
            | "expanduser"
            | "abspath"
            | "realpath"
            | "expandvars"
            | "normpath"
            | "quote"
            | "unquote"
            | "b"
            | "File"
            | "dedent"
        ):
            return ["/".join(flat)] if flat else []
        case _:
            return []


def _decoded(codec: str, text: str) -> str:
    raw = text.encode("utf-8", "replace")
    try:
        match re.sub(r"[^a-z0-9]", "", codec.lower()):
            case "hex":
                return bytes.fromhex(text).decode("utf-8", "replace")
            case "base64" | "b64":
                return base64.b64decode(
                    raw.translate(None, b"\n ").replace(b"-", b"+").replace(b"_", b"/") + b"=="
                ).decode("utf-8", "replace")
            case "b32":
                return base64.b32decode(raw).decode("utf-8", "replace")
            case "b16":
                return base64.b16decode(raw, casefold=True).decode("utf-8", "replace")
            case "a85":
                return base64.a85decode(raw).decode("utf-8", "replace")
            case "b85":
                return base64.b85decode(raw).decode("utf-8", "replace")
            case "rot13" | "rot":
                return codecs.decode(text, "rot13")
            case _:
                return text
    except ValueError:
        return ""


def environment_value(name: str) -> str:
    return {"HOME": "/home/user", "USER": "user", "SHELL": "/bin/bash", "PWD": "."}.get(name, "")
