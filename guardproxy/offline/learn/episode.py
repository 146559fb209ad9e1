"""One task, asked with one prefix, over as many turns as it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from guardproxy import strict_json
from guardproxy.errors import MalformedRequest, UpstreamRefusal
from guardproxy.model import CallKind, ToolCall, Turn
from guardproxy.offline.learn.asking import Asker, Unanswered
from guardproxy.offline.learn.checks import Call
from guardproxy.offline.learn.judging import Judgement, Said, excerpt, judge
from guardproxy.offline.learn.scoring import Spent
from guardproxy.offline.learn.tasks import Task
from guardproxy.prefix.injector import Prefixer
from guardproxy.strict_json import JsonObject

MOST_TURNS: Final = 4


@dataclass(slots=True)
class Episode:
    """`judgement` is None where the model did not answer; `cause` then says why not."""

    judgement: Judgement | None = None
    cause: str = ""
    excerpt: str = ""
    spent: Spent = field(default_factory=Spent)


async def play(task: Task, asker: Asker, prefixer: Prefixer | None, text: str, spent: Spent) -> Episode:
    """`text` is the prefix's; `spent` gets what it costs. Raises BudgetSpent and NoUse."""
    episode = Episode(spent=spent)
    try:
        said = await _turns(task, asker, prefixer, episode.spent)
    except Unanswered as unanswered:
        episode.cause = unanswered.cause
    except UpstreamRefusal:
        episode.cause = "request_refused"
    except MalformedRequest:  # an answer that cannot be put into a request again
        episode.cause = "protocol_error"
    else:
        episode.judgement, episode.excerpt = judge(task, said, text), excerpt(said)
    return episode


async def _turns(task: Task, asker: Asker, prefixer: Prefixer | None, spent: Spent) -> Said:
    """Until the task is done, or the model calls no tool whose answer is known."""
    messages = task.messages
    texts: list[str] = []
    calls: list[Call] = []
    for _ in range(MOST_TURNS):
        answer = await asker.ask(asker.request(messages, task.tools), prefixer, spent)
        made = [Call.of(call.name, call.arguments) for call in answer.turn.calls]
        texts.append(answer.text)
        calls += made
        results = _results(task, answer.turn.calls)
        if any(map(task.done_by, made)) or results is None:
            break
        kept = answer.text if prefixer is not None and prefixer.keep else ""
        messages = [*messages, _said(answer.turn, kept), *results]
    return Said(tuple(texts), tuple(calls))


def _results(task: Task, calls: Sequence[ToolCall]) -> list[JsonObject] | None:
    """None where there is nothing to answer with."""
    if not calls or any(call.name not in task.results or call.kind is not CallKind.FUNCTION for call in calls):
        return None
    return [{"role": "tool", "tool_call_id": call.id, "content": task.results[call.name]} for call in calls]


def _said(turn: Turn, kept: str) -> JsonObject:
    """The turn as an agent keeps it: with arguments that can be read again, and without its text, unless the prefix is
    kept in it."""
    calls: list[Any] = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _readable(call.arguments)}}
        for call in turn.calls
    ]
    return {"role": "assistant", "content": kept or None, "tool_calls": calls}


def _readable(arguments: str) -> str:
    try:
        strict_json.decode_object(arguments.encode("utf-8", "surrogatepass"))
    except strict_json.MalformedJson:
        return "{}"
    return arguments
