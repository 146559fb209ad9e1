"""Numbers, dates, times and telephone numbers in one spelling each, so that writing them differently hides nothing."""

import re
from collections.abc import Iterator
from typing import Final

from guardproxy.provenance.words import words

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar janvier janv enero gennaio janeiro",
            "february feb februar fevrier fevr febrero febbraio fevereiro",
            "march mar marz mars marzo marco",
            "april apr avril avr abril aprile",
            "may mai mayo maggio maio",
            "june jun juni juin junio giugno junho",
            "july jul juli juillet juil julio luglio julho",
            "august aug aout agosto",
            "september sep sept septembre septiembre settembre setembro",
            "october oct oktober okt octobre octubre ottobre outubro",
            "november nov novembre noviembre novembro",
            "december dec dezember dez decembre diciembre dicembre dezembro",
        ),
        1,
    )
    for name in names.split()
}
MEASURES: Final = frozenset(_MONTHS) | frozenset(
    "st nd rd th er of de del the t z am pm a p m h gmt utc cet est pst eur euro euros usd dollar dollars gbp pound "
    "pounds chf jpy yen cny rmb inr sek nok dkk pln brl cad aud nzd krw try mxn zar btc eth us tel phone fax "
    "ext mon tue wed thu fri sat sun monday tuesday wednesday thursday friday saturday sunday 年 月 日 元 円".split()
)  # words that may stand beside a number, a date or a telephone number without saying anything else
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_FIRST: Final = r"\d(?<!\d\d)"
"""A digit with none before it. Patterns begin with a digit and look behind it afterwards: `re` finds what begins with a
class of characters several times sooner than what begins with a look behind."""
_YEAR_FIRST = re.compile(rf"({_FIRST}\d{{3}})([-/.])(\d{{1,2}})\2(\d{{1,2}})(?!\d)")
_COMPACT = re.compile(r"([12](?<!\d\d)(?:(?<=1)9|(?<=2)0)\d\d)(0[1-9]|1[0-2])([0-3]\d)(?=t\d|\b)")
_YEAR_LAST = re.compile(rf"({_FIRST}\d?)([-/.])(\d{{1,2}})\2(\d{{4}}|\d{{2}})(?!\d)")
_DAY_MONTH = re.compile(
    rf"({_FIRST}\d?)(?:st|nd|rd|th|er|\.)?[\s-]+(?:of |de |of the )?({_MONTH})\b\.?,?"
    r"(?:[\s-]+(?:de |del )?(\d{4}))?"
)
_MONTH_DAY = re.compile(rf"\b({_MONTH})\b\.?[\s-]+(\d{{1,2}})(?:st|nd|rd|th)?(?!\d)(?:,?\s+(\d{{4}}))?")
_CJK_DATE = re.compile(r"(?:(\d{4})\s*年\s*)?(\d{1,2})\s*月\s*(\d{1,2})\s*日")
_TIME = re.compile(
    r"(\d(?<![\d:]\d)\d?)(?:(?:[:.h](\d{2}))?(?::\d{2})?\s*([ap])\.?m\b|(?<!\.\d)(?<!\.\d\d):(\d{2})(?!\d))"
)
_PHONE = re.compile(r"[+(\d](?<![\w.].)(?:(?<=\+)\(?\d|(?<=\()\d|(?<=\d))[\d ().\-/]{5,22}\d(?!\w)")
_NUMBER = re.compile(r"\d(?<![\w.,]\d)\d{0,29}(?:[.,'’ _]\d{3}(?!\d)){0,10}(?:[.,]\d{1,20})?(?![\w])(?![.,]\d)")
_NO_DIGITS = re.compile(r"\D+")
_SEPARATORS = re.compile(r"['’ _]")
_DIGITS = re.compile(r"\d")


def facts(folded: str) -> frozenset[str]:
    """Every fact that a folded text states: `n:1234.5`, `d:2026-03-05`, `d:*-03-05`, `t:14:30`, `p:5551234567`."""
    if not _DIGITS.search(folded):
        return frozenset()
    found = {*_dates(folded), *_times(folded)}
    found.update(number(m[0]) for m in _NUMBER.finditer(folded))
    for match in _PHONE.finditer(folded):
        digits = _NO_DIGITS.sub("", match[0])
        if 7 <= len(digits) <= 15:
            found.add("p:" + digits[-9:])
    return frozenset(found)


def number(text: str) -> str:
    """`1,234.50`, `1.234,50`, `1 234.5` and `1234.5` are one number. A lone separator before three digits is of
    thousands, unless it is the only one and could as well be a decimal point: then both readings share the digits."""
    bare = _SEPARATORS.sub("", text)
    last = max(bare.rfind("."), bare.rfind(","))
    if last < 0:
        return "n:" + (bare.lstrip("0") or "0")
    marks = {mark for mark in ".," if mark in bare}
    thousands = len(bare) - last == 4 and (len(marks) == 1 and (bare.count(bare[last]) > 1 or bare[last] == ","))
    whole = re.sub(r"[.,]", "", bare if thousands else bare[:last]).lstrip("0") or "0"
    rest = "" if thousands else bare[last + 1 :].rstrip("0")
    return f"n:{whole}.{rest}" if rest else f"n:{whole}"


def _dates(text: str) -> Iterator[str]:
    for m in _YEAR_FIRST.finditer(text):
        yield from _date(int(m[1]), int(m[3]), int(m[4]))
    for m in _COMPACT.finditer(text):
        yield from _date(int(m[1]), int(m[2]), int(m[3]))
    for m in _YEAR_LAST.finditer(text):
        year = int(m[4]) + (2000 if len(m[4]) == 2 else 0)
        yield from _date(year, int(m[3]), int(m[1]))
        yield from _date(year, int(m[1]), int(m[3]))
    if not _MONTHS.keys().isdisjoint(words(text)):
        for m in _DAY_MONTH.finditer(text):
            yield from _date(int(m[3]) if m[3] else None, _MONTHS[m[2]], int(m[1]))
        for m in _MONTH_DAY.finditer(text):
            yield from _date(int(m[3]) if m[3] else None, _MONTHS[m[1]], int(m[2]))
    for m in _CJK_DATE.finditer(text) if "月" in text else ():
        yield from _date(int(m[1]) if m[1] else None, int(m[2]), int(m[3]))


def _date(year: int | None, month: int, day: int) -> Iterator[str]:
    if 1 <= month <= 12 and 1 <= day <= 31:
        yield f"d:{year or '*'}-{month:02}-{day:02}"


def _times(text: str) -> Iterator[str]:
    for m in _TIME.finditer(text):
        if m[3]:
            yield f"t:{int(m[1]) % 12 + (12 if m[3] == 'p' else 0):02}:{m[2] or '00'}"
        else:
            yield f"t:{int(m[1]):02}:{m[4]}"


def stated(wanted: frozenset[str], known: frozenset[str]) -> bool:
    """Whether `known` states every date and time of `wanted`, or its number. A date without a year fits any year."""
    moments = [fact for fact in wanted if fact[0] in "dt"]
    if moments:
        dates = [fact for fact in moments if fact[0] == "d"]
        times = [fact for fact in moments if fact[0] == "t" and fact != "t:00:00"]
        return all(_known_date(one, known, dates) for one in dates) and all(time in known for time in times)
    phones = [fact for fact in wanted if fact[0] == "p"]
    return bool(wanted) and all(fact in known for fact in phones or wanted)


def _known_date(fact: str, known: frozenset[str], readings: list[str]) -> bool:
    """Whether a date is known, or what it is if day and month stand the other way round and it can be read so too."""
    swapped = f"{fact[:-5]}{fact[-2:]}-{fact[-5:-3]}"
    return any(one in known or f"d:*{one[-6:]}" in known for one in (fact, swapped) if one in readings)
