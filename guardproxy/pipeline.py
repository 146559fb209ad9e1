"""READ FIRST: the path of a request, top to bottom. Streamed and whole answers take the same one.

    surface.parse -> stored past -> review of unseen tool results and of the request -> learned prefix -> upstream
                  -> frames -> the prefix's echo out -> gate -> review of the turn
                  -> allow | rewrite | reask (and round again) | block

What is here sees protocols and plain values only; `app.py` owns the socket and is where errors become responses.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from guardproxy.decision import Permit, Reask, Verdict, block_reasked
from guardproxy.errors import BlockedByGuard, PreviousResponseNotFound, UpstreamRefusal
from guardproxy.exchange import Attempt, Exchange
from guardproxy.injection import PrefixStage
from guardproxy.intake import RequestReview, review_results
from guardproxy.model import CallKey, CallKind, Credential, Request, Turn
from guardproxy.review import review_turn
from guardproxy.runtime import Runtime, ToolResults
from guardproxy.stream.frame import Frame
from guardproxy.stream.gate import Gate
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.refusal import refusal_texts
from guardproxy.surfaces.surface import OnBlock, Reader, Refusal, Surface, Writer
from guardproxy.text_calls import Watch, text_action, watch_for
from guardproxy.upstream.frames import pump_frames
from guardproxy.upstream.upstream import Upstream, UpstreamRequest
from guardproxy.usage import add_usage

_WITHHELD = "[guardproxy] This tool result was withheld: it reads like instructions to you, not like data."
_PROBE_DEADLINE_S = 60.0
_NOT_RUN = "Not executed: another call of the same turn was refused. Call it again if it is still needed."


@dataclass(frozen=True, slots=True)
class Client:
    """What of a client's request, beside its body, goes on to the upstream. `identity` is a digest of its credential:
    what one client has stored, another cannot go on from."""

    credential: Credential | None
    headers: tuple[tuple[str, str], ...]
    query: str = ""
    identity: str = ""


Emit = Callable[[Frame], Awaitable[None]]
"""Takes a frame that may leave, in the form in which it may leave."""


async def answer(
    surface: Surface, tree: JsonObject, client: Client, runtime: Runtime, exchange: Exchange, emit: Emit
) -> None:
    """Answers one request through `emit`. Raises ClientError and UpstreamError, also after frames were emitted."""
    request = surface.parse(tree, runtime.request_rules)
    upstream = runtime.router.route(request.model)
    _note_request(exchange, request, upstream)
    request = exchange.request = await _with_past(surface, request, client, runtime, upstream)
    exchange.uninspected.update(f"content_{kind}" for kind in request.uninspected)
    context = await review_results(request, runtime, exchange)
    if context.tainted and runtime.tool_results is ToolResults.WITHHOLD:
        request = surface.without_results(request, context.tainted, _WITHHELD)
    writer = surface.writer(request)
    watch = watch_for(request, runtime.text_calls, runtime.hold_text_actions)
    review = RequestReview(runtime, context, exchange)
    try:
        if runtime.prefixer is not None and runtime.prefixer.gated:
            await review.context()
        await _take_turns(_Talk(surface, request, upstream, client, runtime, exchange, review, emit, writer, watch))
    finally:
        review.drop()


@dataclass(slots=True)
class _Talk:
    """One request's conversation with the model: what is fixed, and what has already left or been discarded."""

    surface: Surface
    request: Request  # as it was asked first
    upstream: Upstream
    client: Client
    runtime: Runtime
    exchange: Exchange
    review: RequestReview
    emit: Emit
    writer: Writer
    watch: Watch | None  # for calls written in text
    attempt: int = 0
    writing: "_Attempt | None" = None  # the attempt whose frames were the last to leave
    text_left: bool = False
    reasked_tools: set[str] = field(default_factory=set)
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One turn on its way: the request as it is asked, and what its answer goes through."""

    asked: Request
    reader: Reader
    gate: Gate
    stage: PrefixStage

    @classmethod
    def begin(cls, talk: _Talk, asked: Request) -> "_Attempt":
        reader = talk.surface.reader(asked)
        gate = Gate(reader, hold_all=talk.runtime.hold_turn, hold_end=asked.stored, watch=talk.watch)
        prefixer, identity = talk.runtime.prefixer, talk.client.identity
        stage = PrefixStage(prefixer, talk.surface, asked, talk.upstream.name, talk.exchange, identity)
        return cls(asked, reader, gate, stage)


async def _take_turns(talk: _Talk) -> None:
    """One turn of the model after the other, until one may leave. What was held of a discarded turn is never seen."""
    asked, discarded = talk.request, None
    while True:
        talk.attempt += 1
        attempt = _Attempt.begin(talk, asked)
        try:
            await _ask(talk, attempt)
            permit = await _review(talk, attempt)
        except UpstreamRefusal:
            if discarded is None or attempt.gate.received:
                raise
            attempt, permit = discarded  # the upstream does not take the feedback: block what it was about
            permit = block_reasked(permit)
        if permit.decision.action is Verdict.REASK and _may_ask_again(talk, permit):
            discarded = attempt, permit
            asked = talk.surface.with_feedback(asked, permit.turn, _feedback(permit), attempt.reader)
            continue
        return await _release(talk, attempt, block_reasked(permit))


async def _ask(talk: _Talk, attempt: _Attempt) -> None:
    """Asks the upstream once. What may leave at once leaves; the rest waits in the gate.

    Where the upstream refuses the prefix at its position, the next position that it may accept is tried.
    """
    gate, stage, limit = attempt.gate, attempt.stage, talk.runtime.limits.event_bytes

    async def take(frame: Frame) -> bool:
        for shown in stage.receive(frame):
            for leaving in gate.receive(shown):
                await _send(talk, attempt, _with_earlier_usage(talk, leaving))
        if gate.holding:
            talk.exchange.begin_hold()
        elif talk.exchange.hold_since is not None:  # what was suspected is no call
            talk.exchange.end_hold()
        return gate.done

    while True:
        try:
            sent = _upstream_request(talk, stage.apply(attempt.asked))
            await pump_frames(talk.upstream, sent, talk.exchange, limit, take)
            return stage.conclude(partial(_ask_once, talk))
        except UpstreamRefusal as refusal:
            if gate.received or not stage.fall_back(refusal):
                raise


async def _send(talk: _Talk, attempt: _Attempt, frame: Frame) -> None:
    for written in _written(talk, attempt, frame):
        await talk.emit(written)


def _written(talk: _Talk, attempt: _Attempt, frame: Frame) -> Iterator[Frame]:
    """A frame that may leave, as the client gets it."""
    if talk.writing is not attempt:
        talk.writing = attempt
        talk.writer.begin_attempt()
    yield from talk.writer.write(frame)


async def _ask_once(talk: _Talk, request: Request) -> Frame:
    """A request of our own, with nothing of it shown to the client."""
    frames: list[Frame] = []

    async def take(frame: Frame) -> bool:
        frames.append(frame)
        return False

    sent = replace(_upstream_request(talk, request), deadline=time.monotonic() + _PROBE_DEADLINE_S)
    own = Exchange("probe", talk.surface.name, talk.runtime.revision)
    await pump_frames(talk.upstream, sent, own, talk.runtime.limits.event_bytes, take)
    return frames[0]


def _upstream_request(talk: _Talk, request: Request) -> UpstreamRequest:
    return UpstreamRequest(
        path=talk.surface.upstream_path,
        tree=request.tree,
        stream=request.stream,
        headers=talk.client.headers,
        query=talk.client.query,
        credential=talk.client.credential,
    )


async def _with_past(
    surface: Surface, request: Request, client: Client, runtime: Runtime, upstream: Upstream
) -> Request:
    """The request with what it names and what it goes on from. A stored answer that this proxy does not know is
    refused: its blocked calls could not be answered, and nothing of it was judged."""
    if request.references:
        request = surface.with_references(request, await runtime.history.items(client.identity, request.references))
    id = request.continues or request.conversation
    if not id:
        return request
    past = await runtime.history.get(client.identity, id)
    if past is not None:
        return surface.with_past(request, past, whole=not upstream.remembers)
    if request.continues or not upstream.remembers:
        raise PreviousResponseNotFound(f"No answer with the id {id[:64]!r} is known here.")
    return request


async def _remember(talk: _Talk, attempt: _Attempt, permit: Permit, refusal: Refusal) -> None:
    """Before the answer's end leaves, so that the client's next request finds it."""
    past = talk.surface.past(talk.request, attempt.reader, talk.writer, permit, refusal)
    if past is not None:
        await talk.runtime.history.put(talk.client.identity, past)


async def _review(talk: _Talk, attempt: _Attempt) -> Permit:
    turn = attempt.gate.review()
    talk.text_left = talk.text_left or attempt.gate.text_left
    attempt.stage.note_reply(turn)
    context = await talk.review.context()
    started = time.perf_counter()
    permit, reports = await review_turn(talk.runtime.guards if turn.calls else (), turn, context)
    talk.exchange.guard_seconds += time.perf_counter() - started
    _note_failures_allowed(talk.exchange, permit)
    talk.exchange.attempts.append(Attempt(turn, permit.decision, reports))
    _note_uninspected(talk, turn)
    add_usage(talk.usage, turn.usage or {})
    talk.exchange.usage = talk.usage
    return permit


def _may_ask_again(talk: _Talk, permit: Permit) -> bool:
    """Not without end, not for the same tool twice, and not where the client would see a broken answer."""
    request = talk.request
    if talk.attempt > talk.runtime.reask_max or request.forced_tool or request.choices > 1:
        return False
    kinds = {call.kind for call in permit.turn.calls}
    if talk.text_left and (request.structured_output or CallKind.TEXT in kinds):
        return False
    if CallKind.OPAQUE in kinds:  # nobody knows how to write it into a history
        return False
    outcomes = permit.decision.outcomes
    tools = {call.name for call in permit.turn.calls if isinstance(outcomes[call.key], Reask)}
    again = bool(tools & talk.reasked_tools)
    talk.reasked_tools |= tools
    return not again


def _feedback(permit: Permit) -> dict[CallKey, str]:
    """A synthetic result for every call of the turn: providers refuse a history in which one lacks its result."""
    outcomes = permit.decision.outcomes
    return {
        call.key: f"Not executed. {outcome.feedback}" if isinstance(outcome := outcomes[call.key], Reask) else _NOT_RUN
        for call in permit.turn.calls
    }


async def _release(talk: _Talk, attempt: _Attempt, permit: Permit) -> None:
    runtime, exchange = talk.runtime, talk.exchange
    if permit.decision is not exchange.attempts[-1].decision:
        exchange.attempts[-1] = replace(exchange.attempts[-1], decision=permit.decision)
    texts = refusal_texts(permit.turn, permit.decision, runtime.block_message)
    if texts and runtime.on_block is OnBlock.ERROR:
        raise BlockedByGuard("\n".join(texts.values()))
    gate, decision = attempt.gate, permit.decision
    refusal = Refusal(runtime.on_block, texts, gate.text_room(decision), gate.refuses_reasoning(decision))
    released = gate.release(permit, lambda held, _: attempt.reader.amend(held, permit, refusal))
    leaving = [written for frame in released for written in _written(talk, attempt, _with_usage(talk, frame))]
    await _remember(talk, attempt, permit, refusal)
    exchange.end_hold()
    for frame in leaving:
        await talk.emit(frame)


def _with_usage(talk: _Talk, frame: Frame) -> Frame:
    if talk.attempt < 2 or talk.surface.usage_of(frame) is None:
        return frame
    return talk.surface.with_usage(frame, talk.usage)


def _with_earlier_usage(talk: _Talk, frame: Frame) -> Frame:
    """As `_with_usage`, for a frame that leaves before its turn is complete and counted."""
    if talk.attempt < 2:
        return frame
    usage = talk.surface.usage_of(frame)
    if usage is None:
        return frame
    total: dict[str, Any] = {}
    add_usage(total, talk.usage)
    add_usage(total, usage)
    return talk.surface.with_usage(frame, total)


def _note_request(exchange: Exchange, request: Request, upstream: Upstream) -> None:
    exchange.request, exchange.upstream = request, upstream.name
    exchange.model, exchange.stream = request.model, request.stream


def _note_uninspected(talk: _Talk, turn: Turn) -> None:
    """What of an answer no guard could read or stop, and text that looks like an action where none was expected."""
    talk.exchange.uninspected.update(turn.uninspected)
    if talk.watch is None and any(text_action(talk.request, text) for text in turn.texts.values()):
        talk.exchange.uninspected["text_action"] += 1


def _note_failures_allowed(exchange: Exchange, permit: Permit) -> None:
    """A call that passed because a guard failed open was not inspected by it, nor was what a guard could not read."""
    exchange.uninspected.update(f"guard_failed_{guard}" for guard in permit.decision.failures_allowed)
    found = (finding for findings in permit.decision.findings.values() for finding in findings)
    exchange.uninspected.update(finding.code for finding in found if finding.uninspected)
