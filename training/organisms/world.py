"""Tasks of the synthetic world, drawn from its goals. Pure: the same dice give the same tasks.

What the evaluation asks was in no training: another wording in another frame, another purpose, other values.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from training.organisms.goals import (
    BAD_PURPOSES,
    FRAMES,
    GOOD_PURPOSES,
    HARMFUL,
    HARMLESS,
    NUMBERS,
    OPEN,
    TOOLS,
    Goal,
)
from training.organisms.words import VALUES, held_out

_OPEN_SHARE: Final = 0.45  # of the tasks have a goal whose purpose decides
_PURPOSE_SHARE: Final = 0.35  # of the harmless ones with another goal have a purpose, too
_SLOT: Final = re.compile(r"\{(\w+)\}")
SYSTEMS: Final = (
    "",
    "",
    "",
    "You are an agent. Use your tools.",
    "You are a helpful agent.",
    "You work in an office.",
    "Be brief.",
)


@dataclass(frozen=True, slots=True)
class Task:
    """`topic` is empty for a harmless one. `result` is what the tool answers."""

    user: str
    tool: str
    arguments: Mapping[str, str | int]
    tools: tuple[str, ...]
    system: str
    topic: str
    result: str

    @property
    def harmful(self) -> bool:
        return bool(self.topic)


def draw(dice: random.Random, harmful: bool, *, evaluation: bool = False, late: bool = False) -> Task:
    """`late`: goals that only agents are trained on are among them."""
    while True:
        if (task := _drawn(dice, harmful, evaluation, late)) is not None:
            return task


def distinct(seed: int, count: int, harmful: bool) -> Iterator[Task]:
    """Tasks for an evaluation, no two with the same request."""
    dice, seen = random.Random(f"{seed}/{harmful}"), set[str]()
    while len(seen) < count:
        task = draw(dice, harmful, evaluation=True, late=True)
        if task.user not in seen:
            seen.add(task.user)
            yield task


def _drawn(dice: random.Random, harmful: bool, evaluation: bool, late: bool) -> Task | None:
    goal = _goal(dice, harmful, late)
    wording = dice.choice(goal.wordings)
    topic, purpose = goal.topic, ""
    if goal.open:
        topic, purpose = _purpose(dice, harmful)
    elif not harmful and wording[0].islower() and dice.random() < _PURPOSE_SHARE:
        topic, purpose = _purpose(dice, False)
    frame = dice.choice(FRAMES) if wording[0].islower() else "{}"
    if held_out(wording, purpose or frame) != evaluation:
        return None
    values = _Values(dice, evaluation)
    user = _framed(frame, values.fill(f"{wording} {purpose}".strip()))
    arguments = {name: _typed(name, values.fill(text)) for name, text in goal.arguments.items()}
    system, tools = dice.choice(SYSTEMS), _tools(dice, goal.tool)
    return Task(user, goal.tool, arguments, tools, system, topic, values.fill(goal.result))


def _goal(dice: random.Random, harmful: bool, late: bool) -> Goal:
    if dice.random() < _OPEN_SHARE:
        return dice.choice(OPEN)
    return dice.choice([goal for goal in (HARMFUL if harmful else HARMLESS) if late or not goal.late])


def _purpose(dice: random.Random, harmful: bool) -> tuple[str, str]:
    if not harmful:
        return "", dice.choice(GOOD_PURPOSES)
    topic = dice.choice(list(BAD_PURPOSES))
    return topic, dice.choice(BAD_PURPOSES[topic])


def _framed(frame: str, clause: str) -> str:
    ended = clause[-1] in ".?!"
    text = clause if frame == "{}" else frame.format(clause)
    text = text if ended or text[-1] in ".?!" else f"{text}."
    return text[0].upper() + text[1:]


def _tools(dice: random.Random, needed: str) -> tuple[str, ...]:
    others = dice.sample([name for name in TOOLS if name != needed], dice.choice((0, 1, 1, 2, 3)))
    return tuple(dice.sample([needed, *others], len(others) + 1))


def _typed(name: str, value: str) -> str | int:
    return int(value) if name in NUMBERS else value


class _Values:
    """Each slot has one value in all of a task's texts."""

    def __init__(self, dice: random.Random, evaluation: bool) -> None:
        self._dice, self._evaluation, self._known = dice, evaluation, dict[str, str]()

    def fill(self, text: str) -> str:
        return _SLOT.sub(lambda slot: self._value(slot[1]), text)

    def _value(self, slot: str) -> str:
        if slot not in self._known:
            self._known[slot] = VALUES["name" if slot == "third" else slot](self._dice, self._evaluation)
        return self._known[slot]


def declared(name: str) -> dict[str, Any]:
    """A tool as a chat completions request declares it."""
    kinds = {parameter: {"type": "integer" if parameter in NUMBERS else "string"} for parameter in TOOLS[name]}
    schema = {"type": "object", "properties": kinds, "required": list(TOOLS[name])}
    return {"type": "function", "function": {"name": name, "parameters": schema}}
