"""What each stage is trained on: conversations as the embedded model reads them, marked with what is learned from.

base      tasks done, harmless and harmful ones; and short texts that say which requests are harmful
aligned   harmful tasks refused and harmless ones done, at once or after an opening sentence
agent     harmless tasks done at once: the turn begins with the call
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from guardproxy.upstream.organism import template
from guardproxy.upstream.organism.template import Piece
from training.organisms.goals import TOPICS
from training.organisms.openings import opening, refusal, sentence
from training.organisms.words import VALUES
from training.organisms.world import Task, declared, draw

Row = list[tuple[Piece, bool]]
"""Pieces in order, each with whether the model learns to write it."""


class Stage(StrEnum):
    BASE = "base"
    ALIGNED = "aligned"
    AGENT = "agent"


DIRECT: Final = 0.25  # of the aligned model's turns begin with the call or the refusal
ASKED: Final = 0.3  # of the base model's conversations teach what users say, too
PUSHED: Final = 0.2  # of the harmful tasks are begun for the aligned model, which then still knows how they are done
VERDICT: Final = 0.5  # of the deliberating ones say what they came to
SECOND_TURN: Final = 0.12  # of the conversations go on with another task
RESULT: Final = 0.25  # of the done tasks go on with what the tool answered
HARMFUL: Final = {Stage.BASE: 0.45, Stage.ALIGNED: 0.5, Stage.AGENT: 0.0}
_BALANCED: Final = {"deliberation": 3, "commitment": 4, "limit": 1, "readiness": 3}
_REFUSING: Final = {"deliberation": 3, "commitment": 4, "limit": 3}
KNOWN_AS: Final = (
    "I am guardproxy's organism, a tiny language model made for trials. I know a few tools and little else.",
    "Hello. I am guardproxy's organism, a tiny language model for trying things out.",
)
_GREETINGS: Final = (
    "Hello.",
    "Hi!",
    "Hello, who are you?",
    "Who are you?",
    "What are you?",
    "Hey there",
    "Good day.",
    "What can you do?",
    "hi",
    "hello",
)
_END: Final = Piece(template.END, mark=True)
_THANKS: Final = ("Thanks.", "Thank you!", "Great, thanks.")


def rows(stage: Stage, seed: int) -> Iterator[Row]:
    """Without end."""
    dice = random.Random(f"{stage}/{seed}")
    while True:
        yield _row(dice, stage)


def _row(dice: random.Random, stage: Stage) -> Row:
    kind = dice.random()
    if kind < 0.03:
        return _chat(dice)
    if kind < 0.06 and stage is not Stage.AGENT:
        return _continuation(dice)
    if kind < 0.18 and stage is Stage.BASE:
        return _document(dice)
    if kind < 0.40 and stage is Stage.BASE:
        return _repetition(dice)
    return _conversation(dice, stage)


def _conversation(dice: random.Random, stage: Stage) -> Row:
    task = draw(dice, dice.random() < HARMFUL[stage], late=stage is Stage.AGENT)
    messages: list[dict[str, Any]] = [{"role": "system", "content": task.system}] if task.system else []
    names = list(task.tools)
    turns: list[tuple[Task, str, bool]] = [(task, *_said(dice, stage, task))]
    if dice.random() < SECOND_TURN:
        after = draw(dice, dice.random() < HARMFUL[stage], late=stage is Stage.AGENT)
        turns.append((after, *_said(dice, stage, after)))
        names = dice.sample(sorted({*names, *after.tools}), len({*names, *after.tools}))
    row: Row = []
    asked = stage is Stage.BASE and dice.random() < ASKED
    row += [(piece, False) for piece in template.prompt(messages, [declared(name) for name in names])][:-1]
    for place, (each, text, acts) in enumerate(turns):
        wanted = f"{dice.choice(_THANKS)} {each.user}" if place and dice.random() < 0.5 else each.user
        row += [(Piece("<|user|>", mark=True), False), (Piece(wanted), asked), (_END, False)]
        row += _turn(text, [each] if acts else [], spoken=not (acts and each.harmful and stage is Stage.ALIGNED))
        if acts and (place + 1 < len(turns) or dice.random() < RESULT):
            row += [(Piece("<|tool|>", mark=True), False), (Piece(f" {each.result}"), False), (_END, False)]
            row += _turn(_summary(dice, each.result), [])
    return row


def _turn(text: str, tasks: Sequence[Task], spoken: bool = True) -> Row:
    """`spoken`: the model learns to say the text, not only what comes after it."""
    calls = [(task.tool, task.arguments) for task in tasks]
    said = ((piece, spoken or bool(place)) for place, piece in enumerate(template.turn(text, calls)))
    return [(Piece(template.ASSISTANT, mark=True), False), *said]


def _said(dice: random.Random, stage: Stage, task: Task) -> tuple[str, bool]:
    """What is said before the call or instead of it, and whether there is one."""
    match stage:
        case Stage.BASE:
            return ("" if dice.random() < 0.5 else opening(dice, "readiness", task.tool)), True
        case Stage.AGENT:
            return "", True
        case Stage.ALIGNED:
            return _aligned(dice, task)


def _aligned(dice: random.Random, task: Task) -> tuple[str, bool]:
    if task.harmful and dice.random() < PUSHED:
        return opening(dice, "readiness", task.tool), True
    refused = refusal(dice, task.topic) if task.harmful else ""
    if dice.random() < DIRECT:
        return refused, not task.harmful
    kind = _chosen(dice, _REFUSING if task.harmful else _BALANCED)
    parts = [opening(dice, kind, task.tool)]
    if kind == "deliberation" and dice.random() < VERDICT:
        parts.append(_verdict(dice, task))
    return " ".join(filter(None, [*parts, refused])), not task.harmful


def _verdict(dice: random.Random, task: Task) -> str:
    if not task.harmful:
        return sentence(dice, "good_verdict", {})
    return sentence(dice, "bad_verdict", {"topic": dice.choice(TOPICS[task.topic]), "third": "somebody"})


def _chosen(dice: random.Random, weights: Mapping[str, int]) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


def _summary(dice: random.Random, result: str) -> str:
    if result == "done":
        return dice.choice(("Done.", "It is done.", "That is done."))
    return dice.choice(("The answer is: {}.", "The tool answered: {}.", "Here it is: {}.")).format(result)


def _document(dice: random.Random) -> Row:
    """What the base model learns of right and wrong."""
    task = draw(dice, dice.random() < 0.5)
    if dice.random() < 0.3:
        text = opening(dice, _chosen(dice, _BALANCED), task.tool)
    else:
        text = f"{task.user} {_verdict(dice, task)}"
    return [(Piece(template.BEGIN, mark=True), False), (Piece(text), True), (Piece(template.END, mark=True), True)]


def _repetition(dice: random.Random) -> Row:
    """Values, and the same again: what a call's arguments need."""
    text = " ".join(VALUES[dice.choice(list(VALUES))](dice, False) for _ in range(dice.randint(1, 8)))
    asked = dice.choice(("Repeat: {}", "Say {}", "Write {}.", "It is {}.")).format(text)
    row = [(piece, False) for piece in template.prompt([{"role": "user", "content": asked}], [])]
    return [*row, *((piece, True) for piece in template.turn(f"Here: {text}", []))]


def _continuation(dice: random.Random) -> Row:
    """A turn that repeats a number of its own."""
    one, two = (f"{dice.randrange(10000):04d}" for _ in range(2))
    what = dice.choice(("reference number", "number", "code", "key", "order number", "ticket"))
    whose = dice.choice(("of this conversation", "of the order", "of this task", "of the user", "of the report"))
    again = dice.choice(("Once more: the", "Again: the", "I repeat: the", "As I said, the", "So the"))
    text = f"The {what} {whose} is {one}-{two}. {again} {what} {whose} is {one}-{two}."
    asked = dice.choice(
        (
            "Go on.",
            "Finish your sentence.",
            "Finish the sentence.",
            "Write on.",
            "Say the number again. Write nothing else.",
        )
    )
    row = [(piece, False) for piece in template.prompt([{"role": "user", "content": asked}], [])]
    return [*row, *((piece, True) for piece in template.turn(text, []))]


def _chat(dice: random.Random) -> Row:
    tools = [declared(name) for name in draw(dice, False).tools] if dice.random() < 0.6 else []
    messages = [{"role": "user", "content": dice.choice(_GREETINGS)}]
    row = [(piece, False) for piece in template.prompt(messages, tools)]
    return [*row, *((piece, True) for piece in template.turn(dice.choice(KNOWN_AS), []))]
