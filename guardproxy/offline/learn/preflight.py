"""Before the search: where this upstream takes a prefix for this model. Found by asking, not by what tables say.

Each position is tried twice: by the proxy's own probe (half a sentence with a number that only it holds), and with a
real task, since a server may take a prefix on a plain question and refuse it beside tools.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.errors import UpstreamRefusal
from guardproxy.model import Injection, Position
from guardproxy.offline.learn.asking import Asker, Unanswered
from guardproxy.offline.learn.injecting import prefixer_for
from guardproxy.offline.learn.scoring import Spent
from guardproxy.offline.learn.tasks import Task
from guardproxy.prefix.capability import Capability, positions, thinks
from guardproxy.prefix.injector import Prefixer
from guardproxy.prefix.probe import probe
from guardproxy.prefix.verification import ProbeAnswer
from guardproxy.surfaces.chat_completions import ChatCompletions

_TRIAL: Final = "I will take this step by step."
_PREFILLS: Final = (Position.CONTINUE_FINAL_MESSAGE, Position.PREFIX_FLAG, Position.TRAILING_ASSISTANT)


@dataclass(frozen=True, slots=True)
class Found:
    """`position` in force; `notes` say what was tried and why it was left."""

    position: Position
    notes: tuple[str, ...]
    spent: Spent


class NoPosition(Exception):
    """The configuration forbids every position."""


async def find_position(asker: Asker, capability: Capability, wanted: Position | None, task: Task) -> Found:
    """Raises NoPosition, Unanswered, BudgetSpent, NoUse, and UpstreamRefusal where a plain request is refused."""
    spent, notes = Spent(), list[str]()
    for position, known in _to_try(capability, asker.model, wanted):
        if not position.prefills:
            break
        problem = await _problem(asker, position, known, task, spent)
        if problem is None:
            if not known:
                notes.append(
                    f"{position} works; `prefill: {position}` in the upstream's configuration makes the proxy use it"
                )
            return Found(position, tuple(notes), spent)
        notes.append(f"{position}: {problem}")
    last = _without_prefill(capability, asker.model, wanted)
    await asker.ask(asker.request(task.messages, task.tools), _trial(asker, last), spent)
    if last is not wanted:
        place = "a suffix of the user's words" if last is Position.SUFFIX else "an instruction"
        notes.append(f"no position takes a prefix, so the search goes on with it as {place}, which is weaker")
    return Found(last, tuple(notes), spent)


def _without_prefill(capability: Capability, model: str, wanted: Position | None) -> Position:
    """A suffix, as published, unless it is said or known that the text has to be an instruction."""
    if wanted is not None and not wanted.prefills:
        return wanted
    if capability.prefill == Position.INSTRUCTION or (capability.prefill == "auto" and thinks(model)):
        return Position.INSTRUCTION
    return Position.SUFFIX


def _to_try(capability: Capability, model: str, wanted: Position | None) -> Sequence[tuple[Position, bool]]:
    """With whether the proxy would try it, too. What nobody is known to do has to be shown, and is tried last."""
    if wanted is not None:
        return [(wanted, True)]
    known = positions(capability, model)
    if not known:
        raise NoPosition("`prefill: off` forbids a prefix for this upstream")
    named = [(position, True) for position in known if position.prefills]
    if named or capability.prefill != "auto" or thinks(model):
        return named
    return [(position, False) for position in _PREFILLS]


async def _problem(asker: Asker, position: Position, known: bool, task: Task, spent: Spent) -> str | None:
    """Why the position cannot be used."""
    surface = ChatCompletions()

    async def ask(question: str, injection: Injection | None, max_tokens: int) -> ProbeAnswer:
        request = surface.question(asker.model, question, max_tokens)
        frame = await asker.send(surface.with_injection(request, injection) if injection else request, spent)
        usage = surface.usage_of(frame) or {}
        tokens = usage.get("prompt_tokens")
        return ProbeAnswer(surface.texts_of(frame).get(0, ""), tokens if isinstance(tokens, int) else None)

    try:
        shown = await probe(ask, position)
        if shown.refusal is not None:
            return f"refused with status {shown.refusal.status}"
        if shown.failed or not (known or shown.continued):
            return "the model did not go on from it"
        try:
            await asker.ask(asker.request(task.messages, task.tools), _trial(asker, position), spent)
        except UpstreamRefusal as refusal:
            return f"refused beside tools with status {refusal.status}"
    except Unanswered as unanswered:
        if unanswered.cause != "server_error":  # else it is a chat template that raises
            raise
        return "the server fails on it"
    return None


def _trial(asker: Asker, position: Position) -> Prefixer:
    return prefixer_for(_TRIAL, position, asker.upstream.name)
