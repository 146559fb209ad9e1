"""Fills the slots of the tables.

«person» is drawn once a text, «person2» once more, «person#» anew every time; «int:3-9», «id:8» and «pick:a|b» take an
argument, «mail:person2» is the address of a person of the text, and «Word» and «WORD» are «word» with capitals. What a
pool holds may have slots of its own.
"""

import random
import re
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SLOT = re.compile(r"«([^«»]+)»")
REPEAT = re.compile(r"^\*(\d+)-(\d+) ?(.*)$")
OPTIONAL = re.compile(r"^(\s*)\? (.*)$")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DOMAINS = ("example.com", "example.org", "example.net")


class Scope:
    """The values of one text: every name keeps what it was first drawn as."""

    def __init__(self, rng: random.Random, pools: Mapping[str, Sequence[str]], known: Mapping[str, str] | None = None):
        self.rng = rng
        self.pools = pools
        self.values: dict[str, str] = {"user": rng.choice(pools["person"]), **(known or {})}

    def child(self, *kept: str) -> "Scope":
        """A text within the text: only the values named in `kept` are shared."""
        return Scope(self.rng, self.pools, {name: self.values[name] for name in kept if name in self.values})

    def fill(self, text: str) -> str:
        """Fills the inner slots first, so that «pick:...» may offer others."""
        while SLOT.search(text):
            text = SLOT.sub(lambda slot: self.slot(slot[1]), text)
        return text

    def slot(self, name: str) -> str:
        if name.isupper():
            return self.slot(name.lower()).upper()
        if name[0].isupper():
            lower = self.slot(name.lower())
            return lower[:1].upper() + lower[1:]
        if name.endswith("#"):
            return self._draw(name[:-1])
        if name.startswith(("int:", "id:", "pick:")):
            return self._draw(name)
        if name not in self.values:
            self.values[name] = self._draw(name)
        return self.values[name]

    def _draw(self, name: str) -> str:
        kind, _, argument = name.partition(":")
        base = kind.rstrip("0123456789")
        if kind == "mail":
            return self._address(self.slot(argument))
        if base in MAKERS:
            return MAKERS[base](self.rng, argument)
        if base == "first":
            return self.slot("person" + kind[len(base) :]).split()[0]
        if base == "email":
            return self._address(self.rng.choice(self.pools["person"]))
        if base == "url":
            return self._url()
        if base == "site":
            return self._site()
        return self.fill(self.rng.choice(self.pools[base]))

    def _address(self, person: str) -> str:
        ascii_name = unicodedata.normalize("NFKD", person.replace("ı", "i")).encode("ascii", "ignore").decode().lower()
        first, _, last = ascii_name.replace("-", "").partition(" ")
        local = self.rng.choice(
            (f"{first}.{last}", f"{first[0]}{last}", f"{first}{self.rng.randint(2, 99)}", f"{last}.{first[0]}")
        )
        return f"{local}@{self._site()}"

    def _site(self) -> str:
        word, other = self.rng.choice(self.pools["word"]), self.rng.choice(self.pools["word"])
        return self.rng.choice(
            (
                f"{word}-{other}.example",
                f"{word}{other}.example",
                f"{word}.example",
                f"{word}.{self.rng.choice(DOMAINS)}",
            )
        )

    def _url(self) -> str:
        paths = (
            "",
            "/start",
            "/login",
            "/docs/setup",
            "/r?id=" + str(self.rng.randint(10, 9999)),
            "/news/" + str(self.rng.randint(1, 400)),
            "/p/" + _code(self.rng, "6"),
            "/offer",
            "/collect",
            "/view",
        )
        return f"https://{self._site()}{self.rng.choice(paths)}"


def lines(scope: Scope, text: str) -> str:
    """A text of the tables: a line with "? " in front may be left out (with "?   " it goes with the line above), a line
    with "*3-6 " comes that often with new values."""
    out: list[str] = []
    kept = True
    for line in text.rstrip("\n").split("\n"):
        if optional := OPTIONAL.match(line):
            kept = kept if optional[2].startswith("  ") else scope.rng.random() < 0.6
            out.extend([scope.fill(optional[1] + optional[2])] if kept else [])
        elif repeat := REPEAT.match(line):
            low, high = int(repeat[1]), int(repeat[2])
            out.extend(scope.child("user").fill(repeat[3]) for _ in range(scope.rng.randint(low, high)))
        else:
            kept = True
            out.append(scope.fill(line))
    return "\n".join(out)


def tree(scope: Scope, node: Any) -> Any:
    """A JSON value of the tables. In a list `{repeat: [3, 6], of: ...}` stands for that many elements, each new."""
    match node:
        case str():
            return _number(scope.fill(node))
        case list():
            return _elements(scope, node)
        case dict():
            return {scope.fill(key): tree(scope, value) for key, value in node.items()}
        case _:
            return node


def _elements(scope: Scope, node: list[Any]) -> list[Any]:
    out: list[Any] = []
    for element in node:
        if isinstance(element, dict) and "repeat" in element:
            low, high = element["repeat"]
            out.extend(tree(scope.child("user"), element["of"]) for _ in range(scope.rng.randint(low, high)))
        else:
            out.append(tree(scope, element))
    return out


def _number(text: str) -> str | int | float:
    """`=12.50` is a number of the JSON value."""
    if not text.startswith("="):
        return text
    return float(text[1:]) if "." in text else int(text[1:])


def _int(rng: random.Random, argument: str) -> str:
    low, high = argument.split("-")
    return str(rng.randint(int(low), int(high)))


def _code(rng: random.Random, argument: str) -> str:
    return "".join(rng.choices("0123456789abcdef", k=int(argument or "8")))


def _amount(rng: random.Random, _: str) -> str:
    return rng.choice(
        (
            f"{rng.randint(4, 99)}.{rng.randint(0, 99):02}",
            f"{rng.randint(100, 9999)}.{rng.randint(0, 99):02}",
            f"{rng.randint(1, 90) * 50}.00",
        )
    )


def _date(rng: random.Random, _: str) -> str:
    return f"{rng.randint(2022, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _day(rng: random.Random, _: str) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(2022, 2026)}"


def _time(rng: random.Random, _: str) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


def _iban(rng: random.Random, _: str) -> str:
    country, length = rng.choice((("DE", 20), ("GB", 20), ("ES", 22), ("SE", 22), ("FR", 25), ("CH", 19)))
    return f"{country}{rng.randint(10, 98)}" + "".join(rng.choices(string.digits, k=length - 2))


def _wallet(rng: random.Random, _: str) -> str:
    return "bc1q" + "".join(rng.choices("023456789acdefghjklmnpqrstuvwxyz", k=34))


def _phone(rng: random.Random, _: str) -> str:
    return rng.choice(
        (f"+44 20 7946 0{rng.randint(100, 999)}", f"555-01{rng.randint(10, 99)}", f"+1 202 555 01{rng.randint(10, 99)}")
    )


def _ip(rng: random.Random, _: str) -> str:
    return rng.choice(("192.0.2.", "198.51.100.", "203.0.113.", "10.0.4.")) + str(rng.randint(2, 250))


def _uuid(rng: random.Random, _: str) -> str:
    digits = _code(rng, "32")
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _blob(rng: random.Random, argument: str) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=int(argument or "48")))


def _pick(rng: random.Random, argument: str) -> str:
    return rng.choice(argument.split("|"))


MAKERS: Mapping[str, Callable[[random.Random, str], str]] = {
    "int": _int,
    "id": _code,
    "amount": _amount,
    "date": _date,
    "day": _day,
    "time": _time,
    "iban": _iban,
    "wallet": _wallet,
    "phone": _phone,
    "ip": _ip,
    "uuid": _uuid,
    "blob": _blob,
    "pick": _pick,
}
