"""The values that the world's tasks are about. A quarter of every pool is kept out of all training."""

import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

_HELD_OUT_OF: Final = 4  # one value in so many is held out

CITIES: Final = (
    "Oslo Bergen Paris London Berlin Madrid Rome Vienna Prague Warsaw Lisbon Dublin Athens Helsinki Stockholm "
    "Copenhagen Zurich Geneva Brussels Amsterdam Hamburg Munich Cologne Milan Naples Turin Seville Porto Krakow Gdansk "
    "Riga Tallinn Vilnius Sofia Bucharest Budapest Zagreb Split Sarajevo Tirana Istanbul Ankara Cairo Tunis Lagos "
    "Nairobi Accra Dakar Delhi Mumbai Lahore Dhaka Bangkok Hanoi Manila Jakarta Tokyo Osaka Kyoto Seoul Busan Beijing "
    "Shanghai Sydney Perth Auckland Toronto Montreal Boston Chicago Denver Dallas Seattle Lima Quito Bogota Santiago"
).split()
NAMES: Final = (
    "Anna Ben Clara David Emma Felix Greta Henry Ida Jonas Karin Leo Maria Nils Olga Paul Rosa Simon Tina Victor Wendy "
    "Yusuf Zoe Aisha Boris Carmen Diego Elena Farid Grace Hugo Irene Jamal Kenji Laila Marco Nadia Oscar Priya Quinn "
    "Ravi Sofia Tomas Uma Vera Walter Xenia Yara Zane Alice Bruno Celia Dario Edith Frank Gina Hanna Ivan Judith Kurt"
).split()
SUBJECTS: Final = (
    "report budget invoice contract plan notes slides letter photo recipe diary song map ticket menu offer draft "
    "survey salary tax bank passport health exam project team sales travel garden kitchen wedding school music holiday"
).split()
THINGS: Final = (
    "chairs lamps books pens apples candles gloves bottles cables batteries flowers cups plates towels blankets boxes "
    "knives hammers screws seeds tents bags shoes hats keys clocks mirrors brushes ladders ropes"
).split()
DAYS: Final = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
LANGUAGES: Final = "French German Spanish Italian Polish Dutch Greek Turkish Arabic Hindi Japanese Korean".split()
ENDINGS: Final = "txt pdf csv md json log".split()
DOMAINS: Final = "example.org example.com mail.example work.example home.example".split()
SKIES: Final = "light rain,sunny,cloudy,heavy snow,fog,strong wind,clear sky,thunder,drizzle,warm and dry".split(",")
_ONSETS: Final = "b bl br c ch d dr f fl g gr h j k l m n p pl pr qu r s sh st t th tr v w y z".split()
_VOWELS: Final = "a e i o u a e i o u ai ea oo ou ar er or en".split()
_CODAS: Final = ("", "", *"n r s t l m ck nd st ng th ter den ria son ver ket".split())


def held_out(*parts: str) -> bool:
    """Whether something is kept for the evaluation: by its own digest, so the same on every machine."""
    return blake2b("\0".join(parts).encode(), digest_size=4).digest()[0] % _HELD_OUT_OF == 0


def pick(dice: random.Random, pool: Sequence[str], evaluation: bool) -> str:
    return dice.choice([value for value in pool if held_out(value) == evaluation])


def coined(dice: random.Random, evaluation: bool) -> str:
    """A word that is in no pool, so that copying has to be learned and not a list. Of pieces that words have."""
    while True:
        parts = (
            dice.choice(_ONSETS) + dice.choice(_VOWELS) + dice.choice(_CODAS) for _ in range(dice.choice((1, 2, 2)))
        )
        word = "".join(parts)
        if len(word) > 3 and held_out(word) == evaluation:
            return word


def _coins(dice: random.Random, evaluation: bool) -> bool:
    return dice.random() < (0.2 if evaluation else 0.5)


def _subject(dice: random.Random, evaluation: bool) -> str:
    return coined(dice, evaluation) if _coins(dice, evaluation) else pick(dice, SUBJECTS, evaluation)


def _name(dice: random.Random, evaluation: bool) -> str:
    return coined(dice, evaluation).capitalize() if _coins(dice, evaluation) else pick(dice, NAMES, evaluation)


def _city(dice: random.Random, evaluation: bool) -> str:
    return coined(dice, evaluation).capitalize() if _coins(dice, evaluation) else pick(dice, CITIES, evaluation)


def _file(dice: random.Random, evaluation: bool) -> str:
    return f"{_subject(dice, evaluation)}.{dice.choice(ENDINGS)}"


def _address(dice: random.Random, evaluation: bool) -> str:
    return f"{_name(dice, evaluation).lower()}@{dice.choice(DOMAINS)}"


VALUES: Final[dict[str, Callable[[random.Random, bool], str]]] = {
    "city": _city,
    "name": _name,
    "subject": _subject,
    "file": _file,
    "address": _address,
    "path": lambda dice, held: f"/home/{_name(dice, held).lower()}/{_file(dice, held)}",
    "folder": lambda dice, held: f"/{dice.choice(('srv', 'tmp', 'opt', 'var'))}/{_subject(dice, held)}",
    "host": lambda dice, held: f"{_subject(dice, held)}-{dice.randint(1, 99)}",
    "url": lambda dice, held: f"https://{_subject(dice, held)}.example/{pick(dice, SUBJECTS, held)}",
    "channel": lambda dice, held: f"#{_subject(dice, held)}",
    "thing": lambda dice, held: f"{coined(dice, held)}s" if _coins(dice, held) else pick(dice, THINGS, held),
    "number": lambda dice, held: str(dice.randint(2, 999)),
    "day": lambda dice, held: dice.choice(DAYS),
    "time": lambda dice, held: f"{dice.randint(6, 22)}:{dice.choice(('00', '15', '30', '45'))}",
    "language": lambda dice, held: dice.choice(LANGUAGES),
    "sky": lambda dice, held: dice.choice(SKIES),
}
"""How a value of each kind is drawn; with True, one that no training has seen (but for the small closed pools)."""
