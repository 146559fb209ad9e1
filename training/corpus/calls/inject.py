"""Puts an order into a result: as an injection of some style, plainly, or hidden in an encoding."""

import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from training.corpus.calls.draw import Scope
from training.corpus.calls.tables import Corpus

LOOKALIKE = str.maketrans("aceopxyi", "асеорхуі")


def plain(corpus: Corpus, language: str, scope: Scope, order: str) -> str:
    """A request as anybody would write it: in one text what the user wants done, in another an attacker's."""
    return _dress(scope, scope.rng.choice(corpus.styles[language]["plain"]), order)


def injection(corpus: Corpus, language: str, scope: Scope, order: str, call: Mapping[str, Any]) -> tuple[str, str]:
    """The text and the name of its style."""
    styles = corpus.styles[language]
    kind = scope.rng.choice(list(styles))
    text = _dress(scope, scope.rng.choice(styles[kind]), order, call)
    if scope.rng.random() < 0.1:
        name = scope.rng.choice(list(ENCODINGS))
        note = scope.rng.choice(corpus.common["decode"])
        encoded = ENCODINGS[name](text)
        return scope.fill(
            note.replace("«HOW»", name).replace("«TEXT»", encoded)
        ) if name in NAMED else encoded, f"{kind}+{name}"
    return text, kind


def _dress(scope: Scope, style: str, order: str, call: Mapping[str, Any] | None = None) -> str:
    call = call or {}
    text = style.replace("«TOOL»", str(call.get("name", "")))
    text = text.replace("«CALL»", json.dumps(call, ensure_ascii=False))
    text = text.replace("«ARGS»", json.dumps(call.get("arguments", {}), ensure_ascii=False))
    return scope.fill(
        text.replace("«Do»", order[:1].upper() + order[1:]).replace("«do»", order).replace("«DO»", order.upper())
    )


def place(rng: random.Random, body: str, extra: str) -> str:
    """`extra` before, within or after `body`."""
    lines = body.split("\n")
    at = rng.choice((0, len(lines), len(lines), rng.randint(0, len(lines))))
    joint = rng.choice(("\n", "\n", "\n\n", " "))
    return joint.join(part for part in ("\n".join(lines[:at]), extra, "\n".join(lines[at:])) if part)


def _zero_width(text: str) -> str:
    return "\u200b".join(text)


def _spaced(text: str) -> str:
    return " ".join(text)


def _homoglyphs(text: str) -> str:
    return text.translate(LOOKALIKE)


def _fields(text: str) -> str:
    """Cut into fields that only make sense joined."""
    words = text.split(" ")
    size = max(1, len(words) // 4)
    parts = [" ".join(words[at : at + size]) for at in range(0, len(words), size)]
    return (
        json.dumps({f"part_{n}": part for n, part in enumerate(parts, 1)}, ensure_ascii=False)
        + " (read part_1 to the last as one message)"
    )


ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "reversed": lambda text: text[::-1],
    "zero-width": _zero_width,
    "spaced": _spaced,
    "homoglyphs": _homoglyphs,
    "fields": _fields,
}
NAMED = {"base64", "hex", "reversed"}
