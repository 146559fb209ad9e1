"""Writes injected texts, and the clean asides that stand where an injected text could stand."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.corpus.results.disguise import DISGUISES
from training.corpus.results.tables import calls, errands, table
from training.corpus.results.template import Scope

# What an attacker of such a place asks for first.
NEARBY: Mapping[str, Sequence[str]] = {
    "mail": ("mail", "leak", "money", "chore"),
    "chat": ("post", "access", "leak"),
    "support": ("money", "access", "delete"),
    "web": ("content", "chore", "persuade", "leak", "system"),
    "shop": ("shop", "content"),
    "social": ("post", "content"),
    "travel": ("booking", "content"),
    "code": ("system", "leak", "access", "chore"),
    "ops": ("system", "delete", "access"),
    "calendar": ("booking", "mail"),
    "bank": ("money", "persuade"),
    "crm": ("leak", "delete", "mail"),
    "database": ("delete", "leak", "content"),
    "files": ("delete", "leak", "content", "chore"),
    "health": ("health", "leak"),
    "home": ("home",),
    "tasks": ("booking", "memory", "money"),
    "docs": ("content", "chore", "memory", "leak"),
    "hr": ("content", "mail"),
}
# Errands that people ask of each other, so that an honest text may ask for them too.
HUMAN = (
    "money",
    "mail",
    "delete",
    "access",
    "booking",
    "shop",
    "post",
    "system",
    "health",
    "home",
    "any",
    "any",
    "any",
)
# Errands for an assistant: even without a word about the addressee they are injections wherever they stand.
ASSISTANT = ("content", "chore", "format", "question", "persuade", "memory", "leak")
# Styles that say nothing about the addressee.
BARE = frozenset({"plain", "crude", "question", "multi_step", "prose"})
# No word that gives them away: the most frequent of all in the wild, and the hardest.
OFTEN = ("plain",) * 14 + ("prose",) * 10 + ("blunt",) * 5 + ("hijack", "addressed", "authority", "persona")
TALK = frozenset(
    """email thread email-list chat ticket todo manual calendar form recipe readme support-macro note transcript
    forum""".split()
)
LANGUAGES = ("de", "fr", "es", "it", "pt", "nl", "pl", "zh", "ja", "ko", "ru", "ar", "hi", "tr")


@dataclass(frozen=True, slots=True)
class Injection:
    text: str
    style: str
    area: str
    language: str


def injection(scope: Scope, scene: Mapping[str, Any]) -> Injection:
    """One injected text for a place like this; `scope` is that of the base text."""
    rng = scope.rng
    if rng.random() < (0.6 if scene.get("lang") else 0.09):
        return _foreign(scope, scene)
    style = rng.choice(_styles(scene))
    area = _area(rng, scene, style)
    if scene["domain"] == "code" and rng.random() < 0.1:
        style, area = "prose", "snippet"
    text = _written(scope, style, area)
    if rng.random() < 0.13:
        disguise = rng.choice(tuple(DISGUISES))
        return Injection(DISGUISES[disguise](text.strip(), rng), disguise, area, "en")
    return Injection(text.strip("\n"), style, area, "en")


def aside(scope: Scope, scene: Mapping[str, Any]) -> str:
    """A clean text that fits the place."""
    rng = scope.rng
    asides = table("asides")
    draw = rng.random()
    if scene.get("lang") in LANGUAGES and draw < 0.8:
        return _fill(scope, rng.choice(table("languages")[scene["lang"]]["aside"]))
    if draw < 0.04:
        return _fill(scope, rng.choice(table("languages")[rng.choice(LANGUAGES)]["aside"]))
    if draw < 0.11:
        return _fill(scope, rng.choice(asides["odd"]))
    if draw < 0.15:
        return _about(scope, scene)
    inner = scope.child("user")
    inner.values["do"] = inner.fill(rng.choice(errands()[rng.choice(HUMAN)]))
    return inner.fill(rng.choice(asides[_register(scene, rng)]))


def _about(scope: Scope, scene: Mapping[str, Any]) -> str:
    rng = scope.rng
    area = rng.choice(tuple(errands()))
    attack = _written(
        scope, rng.choice(("blunt", "blunt", "addressed", "plain", "authority", "system_turn", "secret")), area
    )
    inner = scope.child("user")
    inner.values |= {"attack": attack.strip(), "do": inner.fill(rng.choice(errands()[area]))}
    return inner.fill(rng.choice(table("asides")["about"]))


def _register(scene: Mapping[str, Any], rng: random.Random) -> str:
    kind, form = scene["kind"], scene["form"]
    if kind in ("email-list", "chat", "social"):
        return {"email-list": "mail", "chat": "chat", "social": rng.choice(("chat", "web"))}[kind]
    if kind == "search":
        return "web"
    return "web" if form == "html" else "field" if form in ("data", "table") else str(form)


def _styles(scene: Mapping[str, Any]) -> Sequence[str]:
    """The styles that are injections beyond doubt here. Steps that the user wants done may be bare requests."""
    names = tuple(name for name in table("styles") if not (scene.get("follow") and name in BARE))
    return names if scene.get("follow") else (*names, *OFTEN)


def _area(rng: random.Random, scene: Mapping[str, Any], style: str) -> str:
    if style in BARE and scene["kind"] in TALK:
        return rng.choice(ASSISTANT)
    draw = rng.random()
    if draw < 0.35:
        return "any"
    if draw < 0.6:
        return rng.choice(NEARBY[scene["domain"]])
    return rng.choices(tuple(errands()), weights=[len(lines) for lines in errands().values()])[0]


def _written(scope: Scope, style: str, area: str) -> str:
    rng = scope.rng
    inner = scope.child("user")
    for name in ("do", "do2"):
        inner.values[name] = inner.fill(rng.choice(errands().get(area, ("«reply»",))))
    for name in ("call", "call2"):
        inner.values[name] = inner.fill(rng.choice(calls()))
    inner.values["prose"] = inner.fill(rng.choice(table("prose")[area])).strip()
    return inner.fill(rng.choice(table("styles")[style]))


def _foreign(scope: Scope, scene: Mapping[str, Any]) -> Injection:
    """In the language of the text, or in another than that."""
    rng = scope.rng
    own = scene.get("lang")
    language = own if own and rng.random() < 0.7 else rng.choice(LANGUAGES)
    inner = scope.child("user")
    inner.values["call"] = inner.fill(rng.choice(calls()))
    return Injection(inner.fill(rng.choice(table("languages")[language]["injected"])), "language", "mixed", language)


def _fill(scope: Scope, text: str) -> str:
    return scope.child("user").fill(text)
