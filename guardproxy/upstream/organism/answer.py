"""The organism's turn in the shapes of the Chat Completions API, as it is written."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from guardproxy import strict_json
from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream import scripted_answer
from guardproxy.upstream.organism.pen import Sampling, Token
from guardproxy.upstream.organism.reading import Called, Event, Said, TurnReader, is_end
from guardproxy.upstream.organism.request import Wanted
from guardproxy.upstream.scripted_agent import Script, ScriptedCall

MODEL = "guardproxy-organism"

Write = Callable[[Wanted, Sampling], AsyncIterator[Token | int]]


@dataclass(slots=True)
class Turn:
    """One choice while it is written."""

    prompt_tokens: int = 0
    tokens: int = 0
    text: str = ""
    calls: list[ScriptedCall] = field(default_factory=list)
    spoken: list[Token] = field(default_factory=list)
    complete: bool = False

    @property
    def script(self) -> Script:
        return Script(self.text, tuple(self.calls))

    @property
    def finish_reason(self) -> str:
        return scripted_answer.finish_reason(self.script) if self.complete else "length"


async def turn_events(write: Write, wanted: Wanted, choice: int, turn: Turn) -> AsyncIterator[Event]:
    """What becomes of one choice, event by event; `turn` is filled on the way."""
    prefilled = wanted.prefilled
    reader = TurnReader(
        wanted.begun, wanted.texts, wanted.stops, trim=prefilled is not None and prefilled[-1:].isspace()
    )
    sampling = replace(wanted.sampling, seed=wanted.sampling.seed + choice)
    tokens = write(wanted, sampling)
    try:
        async for item in tokens:
            if isinstance(item, int):
                turn.prompt_tokens = item
                yield Said("")
                continue
            turn.tokens += 1
            for event in reader.receive(item):
                yield _noted(event, wanted, turn)
            turn.complete = is_end(item) or reader.ended or (wanted.one_call and bool(turn.calls))
            if turn.complete:
                break
    finally:
        await tokens.aclose()  # type: ignore[attr-defined]
    for event in reader.finish():
        yield _noted(event, wanted, turn)


def _noted(event: Event, wanted: Wanted, turn: Turn) -> Event:
    match event:
        case Said(text, tokens):
            turn.text += text
            turn.spoken += tokens
        case Called(name, arguments):
            turn.calls.append(wanted.call(name, arguments))
    return event


def completion(head: JsonObject, wanted: Wanted, turns: Sequence[Turn]) -> JsonObject:
    choices: list[Json] = [
        {
            "index": place,
            "message": scripted_answer.message(_script(wanted, turn), _call_ids(head, place)),
            "logprobs": _logprobs(turn.spoken) if wanted.likeliest >= 0 else None,
            "finish_reason": turn.finish_reason,
        }
        for place, turn in enumerate(turns)
    ]
    return {**head, "choices": choices, "usage": usage(turns)}


def usage(turns: Sequence[Turn]) -> JsonObject:
    prompt, written = turns[0].prompt_tokens, sum(turn.tokens for turn in turns)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


async def chunks(
    head: JsonObject, wanted: Wanted, counted: bool, opened: Sequence[tuple[Turn, AsyncIterator[Event]]]
) -> AsyncIterator[JsonObject]:
    """The choices one after the other. `counted`: the client asked for usage."""

    def chunk(choices: list[Json]) -> JsonObject:
        return {**head, "choices": choices, "usage": None} if counted else {**head, "choices": choices}

    for place, (turn, events) in enumerate(opened):
        yield chunk([_choice(place, {"role": "assistant", "content": None})])
        async for event in events:
            for delta, spoken in _deltas(event, wanted, turn, _call_ids(head, place)):
                yield chunk([_choice(place, delta, spoken if wanted.likeliest >= 0 else None)])
        if wanted.as_json and turn.text:
            yield chunk([_choice(place, {"content": _script(wanted, turn).text})])
        yield chunk([_choice(place, {}, None, turn.finish_reason)])
    if counted:
        yield {**head, "choices": [], "usage": usage([turn for turn, _ in opened])}


def _deltas(event: Event, wanted: Wanted, turn: Turn, call_id: str) -> list[tuple[JsonObject, Sequence[Token] | None]]:
    match event:
        case Said(text, tokens):
            return [({"content": text}, tokens)] if text and not wanted.as_json else []
        case Called():
            place = len(turn.calls) - 1
            deltas = scripted_answer.call_deltas(turn.calls[-1], place, scripted_answer.call_id(call_id, place))
            return [(delta, None) for delta in deltas]


def _script(wanted: Wanted, turn: Turn) -> Script:
    """A text that was to be JSON becomes some; this model writes none itself."""
    if not wanted.as_json or not turn.text:
        return turn.script
    return Script(strict_json.encode({"answer": turn.text}).decode(), turn.script.calls)


def _choice(place: int, delta: JsonObject, spoken: Sequence[Token] | None = None, finish: str | None = None) -> Json:
    logprobs = _logprobs(spoken) if spoken else None
    return {"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _logprobs(tokens: Sequence[Token]) -> JsonObject:
    content: list[Json] = [
        {
            **_logprob(token.data, token.logprob),
            "top_logprobs": [_logprob(data, logprob) for data, logprob in token.likeliest],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _logprob(data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": data.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(data)}


def _call_ids(head: JsonObject, place: int) -> str:
    """What the ids of one choice's calls begin with."""
    return f"{str(head['id'])[-12:]}{place:02x}"
