"""Marks an injected text on its way through the writers, so that the row can say where it stands."""

import re

OPEN, CLOSE = "\ue000", "\ue001"
# Some writers escape what is not ASCII or not printable.
MARKS = re.compile(r"\\\\ue00[01]|\\ue00[01]|[\ue000\ue001]")


def marked(text: str) -> str:
    return f"{OPEN}{text}{CLOSE}"


def bare(text: str) -> str:
    return text.strip(OPEN + CLOSE)


def located(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without its marks, and from where to where the marked parts reach."""
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = length = depth = start = 0
    for mark in MARKS.finditer(text):
        parts.append(text[at : mark.start()])
        length += len(parts[-1])
        at = mark.end()
        if mark[0][-1] in "0\ue000":
            start = start if depth else length
            depth += 1
        else:
            depth -= 1
            spans += [] if depth else [(start, length)]
    return "".join([*parts, text[at:]]), spans
