"""The same values in another writing: a person rarely types a date or an account as the API takes it."""

import random
import re
from collections.abc import Callable

from training.corpus.calls.draw import MONTHS

DATE = re.compile(r"\b2026-(\d\d)-(\d\d)\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{16,25}\b")
AMOUNT = re.compile(r"\b(\d{1,5})\.(\d\d)\b(?![.\d])")
PHONE = re.compile(r"\+\d[\d ]{8,}\d")
CLOCK = re.compile(r"\b(0\d|1\d):(\d\d)\b")


def reformatted(rng: random.Random, text: str) -> str:
    """Every kind of value in one other writing, or as it was."""
    for pattern, ways in WAYS:
        if rng.random() < 0.6:
            text = pattern.sub(rng.choice(ways), text)
    return text


def _month_first(found: re.Match[str]) -> str:
    return f"{MONTHS[int(found[1]) - 1]} {int(found[2])}, 2026"


def _day_first(found: re.Match[str]) -> str:
    return f"{int(found[2])} {MONTHS[int(found[1]) - 1]}"


def _dots(found: re.Match[str]) -> str:
    return f"{found[2]}.{found[1]}.2026"


def _slashes(found: re.Match[str]) -> str:
    return f"{int(found[1])}/{int(found[2])}/26"


def _groups(found: re.Match[str]) -> str:
    return " ".join(found[0][at : at + 4] for at in range(0, len(found[0]), 4))


def _lower_groups(found: re.Match[str]) -> str:
    return _groups(found).lower()


def _round(found: re.Match[str]) -> str:
    return found[1] if found[2] == "00" else found[0]


def _comma(found: re.Match[str]) -> str:
    return f"{int(found[1]):,}".replace(",", ".") + f",{found[2]}"


def _thousands(found: re.Match[str]) -> str:
    return f"{int(found[1]):,}.{found[2]}"


def _compact(found: re.Match[str]) -> str:
    return found[0].replace(" ", "")


def _twelve(found: re.Match[str]) -> str:
    hour = int(found[1])
    return f"{(hour - 1) % 12 + 1}{'' if found[2] == '00' else ':' + found[2]} {'am' if hour < 12 else 'pm'}"


Way = Callable[[re.Match[str]], str]
WAYS: tuple[tuple[re.Pattern[str], tuple[Way, ...]], ...] = (
    (DATE, (_month_first, _day_first, _dots, _slashes)),
    (IBAN, (_groups, _groups, _lower_groups)),
    (AMOUNT, (_round, _round, _comma, _thousands)),
    (PHONE, (_compact,)),
    (CLOCK, (_twelve,)),
)
