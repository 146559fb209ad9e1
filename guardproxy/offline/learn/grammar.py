"""Prefixes without a model: a small grammar of first-person resolutions, and mutations of those that did well.

What learned prefixes look like is known: one or two clauses in the first person, one that takes on what is harmless and
one that refuses what is not; or, shorter, one that stops to think and leaves open what follows. The grammar makes such
sentences; mutations work on any text, so that what a model or an operator wrote can be mutated too. The same seed,
round and examples give the same texts.
"""

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TRIES: Final = 60  # for each text that is wanted
FRESH: Final = 0.2  # of the texts, once there are examples: the search must be able to leave a hill
TWICE: Final = 0.4  # of the mutations are mutated again

Rules = Mapping[str, Sequence[str]]
"""By name what may stand for `{name}`. `start` is where it begins."""

RULES: Final[Rules] = {
    "start": (
        "{take}. {limit}.",
        "{take}. {limit}.",
        "{check}. {take}. {limit}.",
        "{take}, but {limit_low}.",
        "{check}, and {limit_low}.",
        "{limit}. {take}.",
        "{check}. {limit}.",
        "{check}.",
        "{check}.",
        "{check}; {then}.",
    ),
    "take": (
        "I will carry out {job} {fine}",
        "I will help with {job} {fine}",
        "I am going to do {job} {fine}",
        "I gladly do {job} {fine}",
        "I use my tools for {job} {fine}",
    ),
    "job": ("this task", "what the user asks", "this request", "the task at hand", "ordinary work"),
    "fine": (
        "as long as it is harmless",
        "as long as nobody is harmed by it",
        "where it is lawful and hurts no one",
        "when its purpose is legitimate",
        "step by step with the right tool",
        "at once if it is an ordinary request",
    ),
    "limit": ("If {bad}, {stop}", "Where {bad}, {stop}", "Should it turn out that {bad}, {stop}", "{flat}"),
    "limit_low": ("if {bad}, {stop}", "where {bad}, {stop}", "{flat_low}"),
    "bad": (
        "it would harm people, their data or their systems",
        "it is meant to harm, deceive or steal",
        "it would break the law or someone's trust",
        "a request is dangerous, dishonest or destructive",
        "it serves an attack, a fraud or a leak of private data",
    ),
    "stop": (
        "I will not do it and will say why",
        "I refuse and call no tool",
        "I must refuse without taking any action",
        "I stop here and decline",
        "I cannot help and take no step towards it",
    ),
    "flat": (
        "I refuse harmful requests and call no tool for them",
        "I will not help with anything that hurts others",
        "I cannot assist with attacks, fraud or theft, and decline them outright",
    ),
    "flat_low": (
        "I refuse harmful requests and call no tool for them",
        "I will not help with anything that hurts others",
        "I decline what is meant to do damage",
    ),
    "check": (
        "First I ask myself whom this could harm",
        "Before I act I check what this request is for",
        "Let me look at what this would do before I call a tool",
        "I think about the consequences of this request first",
        "I must first find out whether {bad}",
        "Let me make sure first that nobody comes to harm",
        "I pause to consider who would be affected",
        "My first step is to judge whether this is right",
        "I weigh what could go wrong before I do anything",
    ),
    "then": ("only then do I decide", "after that I act or decline", "what I do depends on the answer"),
}

_ALIKE: Final = (
    ("refuse", "decline", "turn down"),
    ("harm", "hurt", "damage"),
    ("harmful", "dangerous", "malicious"),
    ("harmless", "benign", "legitimate"),
    ("task", "request", "job"),
    ("people", "others", "anyone"),
    ("carry out", "do", "complete"),
    ("will not", "must not", "cannot"),
    ("call no tool", "take no action", "do nothing"),
    ("say why", "explain why", "give my reason"),
    ("at once", "right away", "directly"),
)
_SENTENCE: Final = re.compile(r"[^.!?]+[.!?]*\s*")


@dataclass(frozen=True, slots=True)
class Proposal:
    text: str
    source: str


def propose(
    seed: int, round: int, count: int, examples: Sequence[str], known: Collection[str], rules: Rules = RULES
) -> list[Proposal]:
    """Up to `count` texts that are neither known nor alike; fewer where nothing new is found."""
    dice = random.Random(f"{seed}/{round}")
    made: list[Proposal] = []
    taken = {_key(text) for text in known}
    for attempt in range(count * TRIES):
        if len(made) == count:
            break
        fresh = not examples or len(made) < FRESH * count
        found = Proposal(sentence(dice, rules), "grammar") if fresh else mutate(dice, examples, rules)
        if not fresh and dice.random() < TWICE:
            found = mutate(dice, [found.text], rules)
        if attempt > count * TRIES // 2 and not fresh:
            found = Proposal(sentence(dice, rules), "grammar")  # the neighbourhood is exhausted
        if _key(found.text) not in taken:
            taken.add(_key(found.text))
            made.append(found)
    return made


def sentence(dice: random.Random, rules: Rules = RULES) -> str:
    text = "{start}"
    while (found := re.search(r"\{(\w+)\}", text)) is not None:
        text = text[: found.start()] + dice.choice(rules[found[1]]) + text[found.end() :]
    return text


def mutate(dice: random.Random, examples: Sequence[str], rules: Rules = RULES) -> Proposal:
    """A neighbour of an example; the first ones are chosen more often."""
    parent = _chosen(dice, examples)
    match dice.randrange(5):
        case 0:
            return Proposal(_reworded(dice, parent), "reworded")
        case 1:
            return Proposal(_crossed(dice, parent, _chosen(dice, examples)), "crossed")
        case 2:
            return Proposal(_swapped(dice, parent, rules), "clause replaced")
        case 3:
            return Proposal(_turned(dice, parent), "reordered")
        case _:
            return Proposal(_grown(dice, parent, rules), "clause added")


def _chosen(dice: random.Random, examples: Sequence[str]) -> str:
    return examples[min(dice.randrange(len(examples)), dice.randrange(len(examples)))]


def _reworded(dice: random.Random, text: str) -> str:
    present = [(word, group) for group in _ALIKE for word in group if re.search(rf"\b{word}\b", text)]
    if not present:
        return text
    word, group = dice.choice(present)
    other = dice.choice([each for each in group if each != word])
    return re.sub(rf"\b{word}\b", other, text, count=1)


def _crossed(dice: random.Random, one: str, other: str) -> str:
    """Clauses of both, each once: the first of the one, the rest of the other."""
    first, rest = _sentences(one), _sentences(other)
    kept = first[: dice.randint(1, len(first))]
    return _joined([*kept, *rest[-dice.randint(1, len(rest)) :]][:4])


def _swapped(dice: random.Random, text: str, rules: Rules) -> str:
    own, new = _sentences(text), _sentences(sentence(dice, rules))
    own[dice.randrange(len(own))] = dice.choice(new)
    return _joined(own)


def _turned(dice: random.Random, text: str) -> str:
    sentences = _sentences(text)
    if len(sentences) > 2:
        del sentences[dice.randrange(len(sentences))]
    dice.shuffle(sentences)
    return _joined(sentences)


def _grown(dice: random.Random, text: str, rules: Rules) -> str:
    sentences, new = _sentences(text), _sentences(sentence(dice, rules))
    sentences.insert(dice.randint(0, len(sentences)), dice.choice(new))
    return _joined(sentences[:4])


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE.findall(text) if part.strip()] or [text]


def _joined(sentences: Sequence[str]) -> str:
    """Each once, and each a sentence."""
    whole = [part if part[-1] in ".!?" else f"{part}." for part in dict.fromkeys(sentences)]
    return " ".join(part[0].upper() + part[1:] for part in whole)


def _key(text: str) -> str:
    return " ".join(text.split()).casefold()
