"""One script through the proxy: a guard that knows what to say of each call, and what must hold whatever it says.

Every call of a script carries a mark that occurs nowhere else: in its name, its id, its arguments and the noise beside
it. A client that got a mark of a call got something of that call.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from guardproxy.decision import Allow, Decision, Finding, Mode, OnError, Permit, Rewrite, Verdict
from guardproxy.errors import UpstreamError
from guardproxy.guards.guard import Context
from guardproxy.model import CallKey, CallKind, Request, ToolCall, ToolResult, Turn
from guardproxy.stream.frame import Frame, encode_frame
from guardproxy.testing.fakes import Play, finding
from guardproxy.testing.proxy import OnPart, ProxyUnderTest, Received, proxy
from guardproxy.testing.script import Call, Part, ReadCall, Shape, Tree, Wire, decode_frames, encode_frames

VERDICTS = ("allow", "rewrite", "reask", "block", "silent", "fail", "timeout")
_OF_THE_WHOLE_TURN = frozenset({"fail", "timeout"})  # a guard that gives no verdict gives none on any call
_PLACES = frozenset({"index", "output_index", "sequence_number"})  # may change where calls before are taken out


class ReadKey(NamedTuple):
    """A call that was read or judged, in a form to compare."""

    choice: int
    kind: CallKind
    name: str
    arguments: str


def marked(shape: Shape, verdict: str, place: int, *, choice: int = 0, pieces: int = 2, noise: bool = False) -> Call:
    """A call that asks for a verdict, and its mark in all that it says."""
    mark = mark_of(verdict, place)
    return Call(
        shape.name,
        shape.tool or mark,
        shape.arguments(" ".join([mark] * 3 * pieces)),  # so that there is a whole one in each piece
        id=f"id_{mark}",
        pieces=pieces,
        noise=f"noise {mark}" if noise else "",
        choice=choice,
    )


def mark_of(verdict: str, place: int) -> str:
    return f"{verdict}_mark{place}x"


@dataclass
class Judge:
    """Says of each call what its mark asks for. `before` is what the client had when a verdict was asked for."""

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    mode: Mode = Mode.ENFORCE
    deadline_s: float = 1.0
    name: str = "judge"
    on_error: OnError = OnError.BLOCK
    reads_requests: bool = False
    seen: list[ToolCall] = field(default_factory=list)
    before: list[bytes] = field(default_factory=list)
    received: Received | None = None

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        self.before.append(self.received.seen if self.received else b"")
        self.seen += calls
        if any(verdict_of(call) == "timeout" for call in calls):
            await asyncio.sleep(self.deadline_s + 5)
        said = {call.key: self._say(call) for call in calls}
        return {key: findings for key, findings in said.items() if findings is not None}

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        return ()

    async def review_request(self, request: Request, context: Context) -> Sequence[Finding]:
        return ()

    def _say(self, call: ToolCall) -> Sequence[Finding] | None:
        match verdict_of(call):
            case "rewrite":
                return self._rewrite(call)
            case "reask":
                return [self._finding(Verdict.REASK)]
            case "block":
                return [self._finding(Verdict.BLOCK)]
            case "silent":
                return None
            case "fail":
                raise RuntimeError("the guard fails")
            case _:
                return ()

    def _rewrite(self, call: ToolCall) -> Sequence[Finding]:
        shapes = (s for s in self.shapes.values() if s.kind is call.kind and s.tool in (None, call.name))
        wanted = next((shape.rewritten for shape in shapes), None) or "{}"
        if call.arguments == wanted:
            return ()
        return [self._finding(Verdict.REWRITE, wanted)]

    def _finding(self, verdict: Verdict, replacement: str | None = None) -> Finding:
        return finding(verdict, guard=self.name, mode=self.mode, replacement=replacement)


def verdict_of(call: ToolCall) -> str:
    """By the mark; a call without one is allowed."""
    for text in (call.name, call.id, call.arguments):
        for verdict in VERDICTS:
            if f"{verdict}_mark" in text:
                return verdict
    return "allow"


@dataclass
class Trial:
    """What came of it."""

    wire: Wire
    stream: bool
    received: Received
    judge: Judge
    under_test: ProxyUnderTest

    @property
    def frames(self) -> list[Frame]:
        """The good part of what the client got, a whole answer as one frame."""
        if not self.streamed:
            return [Frame(self.received.tree)] if self.received.status == 200 else []
        return decode_frames(self.received.seen)

    @property
    def streamed(self) -> bool:
        return self.received.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def complete(self) -> bool:
        if not self.stream:
            return self.received.status == 200
        return self.streamed and self.wire.ended(self.frames)

    @property
    def permitted(self) -> bool:
        """Whether the proxy let the whole turn pass, amended or not. It may be one that no client can read."""
        return self.received.status == 200 and self.under_test.exchange.outcome in ("completed", "blocked")

    @property
    def texts(self) -> Mapping[int, str]:
        return self.wire.texts(self.frames, stream=self.stream)

    @property
    def stops(self) -> Mapping[int, str]:
        return self.wire.stops(self.frames, stream=self.stream)

    def readings(self, *, strict: bool = True) -> Iterator[tuple[str, list[ReadKey]]]:
        """What each client reads. A client that fails reads nothing; if `strict`, it may fail on errors alone."""
        frames = self.frames
        for name, read in self.wire.readers(stream=self.stream).items():
            try:
                yield name, keys_of(self.wire, read(frames))
            except Exception:
                if strict and self.complete:
                    raise
                yield name, []

    def judged(self) -> list[ReadKey]:
        """The calls that may leave, as they were decided, in the order of the turn."""
        attempts = self.under_test.exchange.attempts
        return _let_through(attempts[-1].turn, attempts[-1].decision) if attempts else []


def calls_let_through(permit: Permit) -> list[ReadKey]:
    """The calls that a permit lets leave, as they were decided, in the order of the turn."""
    return _let_through(permit.turn, permit.decision)


def _let_through(turn: Turn, decision: Decision) -> list[ReadKey]:
    found: list[ReadKey] = []
    for call in sorted(turn.calls, key=lambda call: call.key):
        match decision.outcomes[call.key]:
            case Allow():
                found.append(ReadKey(call.key.choice, call.kind, call.name, canonical(call.kind, call.arguments)))
            case Rewrite(arguments):
                found.append(ReadKey(call.key.choice, call.kind, call.name, canonical(call.kind, arguments)))
            case _:
                pass
    return found


def keys_of(wire: Wire, calls: Sequence[ReadCall]) -> list[ReadKey]:
    """What a client read, in the same form."""
    kinds = {name: shape.kind for name, shape in wire.shapes.items()}
    return [ReadKey(c.choice, kinds[c.shape], c.name, canonical(kinds[c.shape], c.arguments)) for c in calls]


def canonical(kind: CallKind, arguments: str) -> str:
    """Arguments to compare: text is compared as it is, a structure by its value, and not by its place in the answer."""
    if kind not in (CallKind.BUILTIN, CallKind.OPAQUE):
        return arguments
    try:
        tree = json.loads(arguments)
    except ValueError:
        return arguments
    if kind is CallKind.OPAQUE and isinstance(tree, dict):
        tree = {name: value for name, value in tree.items() if name not in _PLACES}
    return json.dumps(tree, sort_keys=True)


def is_among(read: ReadKey, judged: Sequence[ReadKey]) -> bool:
    """Whether a call that a client reads is one of these. Of what kind it is does not matter, nor how its JSON is
    written; that a member is there twice does. Of a call in broken text a guard is shown more than some clients read,
    so there it is the name that must be right."""
    return any((read.choice, read.name) == (each.choice, each.name) and _agrees(read, each) for each in judged)


def _agrees(read: ReadKey, judged: ReadKey) -> bool:
    if judged.kind is CallKind.TEXT or read.arguments == judged.arguments:
        return True
    return _pairs(read.arguments) == _pairs(judged.arguments)


def _pairs(arguments: str) -> object:
    try:
        return json.loads(arguments, object_pairs_hook=lambda pairs: sorted(pairs, key=repr))
    except ValueError:
        return arguments


def play_of(wire: Wire, parts: Sequence[Part], *, stream: bool) -> list[bytes | UpstreamError | float]:
    """An upstream's answer, an event in each piece."""
    if not stream:
        return [json.dumps(wire.whole(parts)).encode()]
    return [encode_frames([frame]) for frame in wire.frames(parts)]


def try_out(
    wire: Wire,
    *plays: Play,
    stream: bool = True,
    n: int = 1,
    calls: Sequence[Call] = (),
    judge: Judge | None = None,
    body: Tree | None = None,
    on_part: OnPart = lambda received: None,
    **settings: Any,
) -> Trial:
    """One request, answered by these plays, under `judge`. Checks what holds for every exchange."""
    return asyncio.run(
        try_out_async(
            wire, *plays, stream=stream, n=n, calls=calls, judge=judge, body=body, on_part=on_part, **settings
        )
    )


async def try_out_async(
    wire: Wire,
    *plays: Play,
    stream: bool = True,
    n: int = 1,
    calls: Sequence[Call] = (),
    judge: Judge | None = None,
    body: Tree | None = None,
    on_part: OnPart = lambda received: None,
    **settings: Any,
) -> Trial:
    judge = judge or Judge()
    judge.shapes = wire.shapes
    under_test = proxy(*plays, guards=[judge], **{**wire.settings, **settings})

    def watch(received: Received) -> None:
        judge.received = received
        on_part(received)

    tree = wire.request(stream=stream, n=n, calls=calls) if body is None else body
    received = await under_test.post(tree, path=wire.surface.path, on_part=watch)
    trial = Trial(wire, stream, received, judge, under_test)
    assert under_test.exchange.error_code != "internal_error", "the proxy failed"
    assert under_test.upstream.closed == len(under_test.upstream.asked)
    return trial


# --- what must hold ----------------------------------------------------------------------------------------------


def leaves(wire: Wire, call: Call, calls: Sequence[Call]) -> bool:
    """Whether the verdict on a call, in a turn with the others, lets it pass."""
    verdicts = {asked_for(c) for c in calls}
    if verdicts & _OF_THE_WHOLE_TURN:
        return False
    return asked_for(call) == "allow" or (
        asked_for(call) == "rewrite" and wire.shapes[call.shape].rewritten is not None
    )


def asked_for(call: Call) -> str:
    return next(verdict for verdict in VERDICTS if call.id.startswith(f"id_{verdict}_"))


def assert_nothing_leaks(trial: Trial, calls: Sequence[Call], texts: Sequence[Frame] = ()) -> None:
    """Nothing of any call left before the verdict, and nothing of a refused one ever; the refusal names the tool.

    `texts` are frames of no call that say a mark all the same. They may leave."""
    marks = {call.id.removeprefix("id_"): call for call in calls}
    for before in trial.judge.before:
        assert not any(mark.encode() in _without(before, texts) for mark in marks), "something left before its verdict"
    seen = _without(trial.received.seen, texts)
    for mark, call in marks.items():
        if trial.complete and leaves(trial.wire, call, calls):
            if asked_for(call) == "rewrite":
                assert f"{mark} {mark}".encode() not in seen, f"the old arguments of {call.shape} left"
                assert f"noise {mark}".encode() not in seen, f"the noise beside {call.shape} left"
            continue
        assert mark.encode() not in seen.replace(f"call to `{mark}`".encode(), b""), f"a mark of {call.shape} left"


def _without(seen: bytes, frames: Sequence[Frame]) -> bytes:
    for frame in frames:
        seen = seen.replace(encode_frame(frame), b"")
    return seen


def assert_read_as_judged(trial: Trial) -> None:
    """Every client reads the calls that were let through, as they were decided, and no other."""
    expected = trial.judged() if trial.complete else []
    for name, calls in trial.readings():
        assert calls == expected, f"read by {name}"


def assert_reads_nothing_unjudged(trial: Trial) -> None:
    """For answers that no honest server sends: no client reads a call that was not let through."""
    judged = trial.judged() if trial.permitted else []
    for name, calls in trial.readings(strict=False):
        for call in calls:
            assert is_among(call, judged), f"read by {name}"


def assert_well_formed(trial: Trial) -> None:
    assert trial.complete, trial.received.seen
    assert trial.wire.faults(trial.frames, stream=trial.stream) == []


def json_equal(got: Sequence[Frame], sent: Sequence[Frame]) -> bool:
    """The same events, by their names and their values, `true` and `1` told apart."""
    return [(f.event, json.dumps(f.tree)) for f in got] == [(f.event, json.dumps(f.tree)) for f in sent]
