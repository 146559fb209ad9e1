"""Fills the slots of the tables.

«person» is drawn once a scope and kept, «person2» is another one. «mail» belongs to «person», «mail2» to «person2».
«int:3-9» and «pick:a|b» take an argument; what a pool holds may have slots of its own. The same pools serve whoever
asks for a thing, the user or an attacker, so that a value by itself says nothing.
"""

import base64
import random
import re
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SLOT = re.compile(r"«([^«»]+)»")
PICK = re.compile(r"(?<!\\)\|")  # a bar that belongs to a choice is written \|
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday".split()
MONTHS = "January February March April May June July August September October November December".split()
# Names that nobody can own (RFC 2606), so that no address of the corpus belongs to a person.
ENDS = (".example", ".example", ".example.com", ".example.org", ".example.net", ".test")


class Scope:
    """The values of one text: a slot keeps what it was first drawn as."""

    def __init__(self, rng: random.Random, pools: Mapping[str, Sequence[str]], known: Mapping[str, str] | None = None):
        self.rng = rng
        self.pools = pools
        self.values: dict[str, str] = dict(known or {})

    def fill(self, text: str) -> str:
        """Inner slots first: what they give is part of the outer one's name."""
        while SLOT.search(text):
            text = SLOT.sub(lambda slot: self[slot[1]], text)
        return text

    def tree(self, node: Any) -> Any:
        """A JSON value of the tables; a text that begins with "=" is a number."""
        if isinstance(node, str):
            return _number(self.fill(node))
        if isinstance(node, list):
            return [self.tree(element) for element in node]
        if isinstance(node, dict):
            return {key: self.tree(value) for key, value in node.items()}
        return node

    def __getitem__(self, name: str) -> str:
        if name not in self.values:
            self.values[name] = self._draw(name)
        return self.values[name]

    def _draw(self, name: str) -> str:
        kind, _, argument = name.partition(":")
        base = kind.rstrip("0123456789")
        number = kind[len(base) :]
        if base in OF_GIST:
            return self["gistof" + number].split(" => ")[OF_GIST.index(base)]
        if base in OF_PERSON:
            return OF_PERSON[base](self, self["person" + number])
        if base in MAKERS:
            return MAKERS[base](self.rng, argument)
        if base == "site":
            return self._site()
        if base == "url":
            end = self.rng.choice(("", "/" + self._word(), f"?id={self.rng.randint(10, 9999)}"))
            return f"https://{self._site()}/{self._word()}{end}"
        # With values of its own, or «file» and «file2» would be made of the same words.
        return Scope(self.rng, self.pools).fill(self.rng.choice(self.pools[base]))

    def _word(self) -> str:
        return self.rng.choice(self.pools["word"])

    def _site(self) -> str:
        return self._word() + self.rng.choice(("", "-", "")) + self._word() + self.rng.choice(ENDS)


def _number(text: str) -> str | int | float:
    if not text.startswith("="):
        return text
    plain = text[1:].replace(",", "")
    return float(plain) if "." in plain else int(plain)


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name.replace("ı", "i")).encode("ascii", "ignore").decode().lower()


def _mail(scope: Scope, person: str) -> str:
    first, _, last = _ascii(person).replace("-", "").replace(" ", ".", 1).replace(" ", "").partition(".")
    forms = (f"{first}.{last}", f"{first[0]}{last}", f"{first}{scope.rng.randint(2, 99)}", f"{last}.{first[0]}", first)
    return f"{scope.rng.choice(forms)}@{scope._site()}"


def _handle(scope: Scope, person: str) -> str:
    first, _, last = _ascii(person).replace("-", "").partition(" ")
    return scope.rng.choice(
        (f"{first}{last[0]}", f"{first}_{last}", f"{last}{scope.rng.randint(1, 99)}", f"{first[0]}{last}")
    ).replace(" ", "")


# What the user wants said, the title a model gives it, and the text that a model makes of it.
OF_GIST = ("gist", "gisttitle", "prose")
OF_PERSON: Mapping[str, Callable[[Scope, str], str]] = {
    "mail": _mail,
    "handle": _handle,
    "first": lambda scope, person: person.split()[0],
    "home": lambda scope, person: "/home/" + _ascii(person).split()[0],
}


def _int(rng: random.Random, argument: str) -> str:
    low, high = argument.split("-")
    return str(rng.randint(int(low), int(high)))


def _amount(rng: random.Random, argument: str) -> str:
    whole = rng.choice((rng.randint(5, 99), rng.randint(100, 999), rng.randint(4, 90) * 50))
    return f"{whole}.{rng.choice(('00', '00', '50', f'{rng.randint(1, 99):02}'))}"


def _date(rng: random.Random, argument: str) -> str:
    return f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _day(rng: random.Random, argument: str) -> str:
    return rng.choice(
        (
            rng.choice(WEEKDAYS),
            f"{rng.randint(1, 28)} {rng.choice(MONTHS)}",
            f"{rng.choice(MONTHS)} {rng.randint(1, 28)}",
        )
    )


def _time(rng: random.Random, argument: str) -> str:
    return f"{rng.randint(7, 19):02}:{rng.choice(('00', '15', '30', '45'))}"


def _iban(rng: random.Random, argument: str) -> str:
    country, length = rng.choice((("DE", 22), ("GB", 22), ("ES", 24), ("FR", 27), ("NL", 18), ("AT", 20)))
    return country + "".join(rng.choices(string.digits, k=length - 2))


def _phone(rng: random.Random, argument: str) -> str:
    return rng.choice(
        (f"+44 20 7946 0{rng.randint(100, 999)}", f"555-01{rng.randint(10, 99)}", f"+1 202 555 01{rng.randint(10, 99)}")
    )


def _ip(rng: random.Random, argument: str) -> str:
    return rng.choice(("192.0.2.", "198.51.100.", "203.0.113.", "10.20.4.")) + str(rng.randint(2, 250))


def _id(rng: random.Random, argument: str) -> str:
    digits = "".join(rng.choices("0123456789abcdef", k=int(argument or "8")))
    return (
        rng.choice((digits, f"{rng.randint(1000, 99999)}", f"{rng.choice('ABCKMTX')}-{rng.randint(100, 9999)}"))
        if not argument
        else digits
    )


def _secret(rng: random.Random, argument: str) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits, k=int(argument or "24")))


def _blob(rng: random.Random, argument: str) -> str:
    return base64.b64encode(rng.randbytes(int(argument or "18"))).decode()


MAKERS: Mapping[str, Callable[[random.Random, str], str]] = {
    "int": _int,
    "amount": _amount,
    "date": _date,
    "day": _day,
    "time": _time,
    "iban": _iban,
    "phone": _phone,
    "ip": _ip,
    "id": _id,
    "secret": _secret,
    "blob": _blob,
    "pick": lambda rng, argument: rng.choice(PICK.split(argument)).replace("\\|", "|"),
}
