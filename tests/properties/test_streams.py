"""Whatever a model server sends, in whatever pieces: nothing undecided leaves, and what leaves is what was judged.

Every call carries marks that occur nowhere else: in its name, id, arguments, and in the fields beside it. A client
that got a mark of a call got something of that call.
"""

import asyncio
import contextlib
import copy
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from guardproxy.decision import Finding, Mode, OnError, Verdict
from guardproxy.errors import UpstreamError, UpstreamUnavailable
from guardproxy.model import ToolCall
from guardproxy.surfaces.surface import OnBlock
from guardproxy.testing.chat import choice, chunk, events, request, usage
from guardproxy.testing.fakes import FakeGuard, finding
from guardproxy.testing.proxy import Received, proxy

Tree = dict[str, Any]
VERDICTS = ["allow", "rewrite", "reask", "block", "silent", "fail"]
FIXED = '{"fixed":true}'


@dataclass
class Call:
    """A call to be streamed. `mark` is in every value of it."""

    mark: str
    verdict: str
    kind: str
    arguments: list[str]
    noise: bool

    @property
    def name(self) -> str:
        return f"{self.verdict}_{self.mark}"

    def pieces(self, choice_index: int, index: int) -> Iterator[Tree]:
        """Its chunks' choices."""
        field_name = "input" if self.kind == "custom" else "arguments"
        bodies = [{"name": self.name, field_name: self.arguments[0]}] + [{field_name: a} for a in self.arguments[1:]]
        for place, body in enumerate(bodies):
            if self.kind == "function_call":
                delta: Tree = {"function_call": body}
            else:
                first = {"id": f"id_{self.mark}", "type": self.kind} if place == 0 else {}
                delta = {"tool_calls": [{"index": index, **first, self.kind: body}]}
            piece = choice(choice_index, **delta)
            if self.noise:
                piece |= {"logprobs": {"content": [{"token": self.mark}]}, "token_ids": [self.mark]}
                piece["delta"]["reasoning_content"] = piece["delta"]["unknown"] = self.mark
            yield piece


@dataclass
class Case:
    """A stream, how it is cut, and what it holds."""

    trees: list[Tree]
    calls: list[Call]
    cuts: list[int]
    n: int
    dies_at: int | None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def play(self) -> list[bytes | UpstreamError]:
        data = events(self.trees)
        bounds = sorted({0, len(data), *(cut % len(data) for cut in self.cuts)})
        pieces: list[bytes | UpstreamError] = [data[a:b] for a, b in itertools.pairwise(bounds)]
        if self.dies_at is not None:
            pieces[self.dies_at % (len(pieces) + 1) :] = [UpstreamUnavailable("gone")]
        return pieces

    @property
    def request(self) -> Tree:
        return request(n=self.n)


@st.composite
def cases(draw: st.DrawFn, verdicts: Sequence[str] = VERDICTS, deaths: bool = True, most_choices: int = 2) -> Case:
    n = draw(st.integers(1, most_choices))
    marks = (f"mark{i}x" for i in itertools.count())
    calls, tracks = [], []
    for index in range(n):
        track = [
            choice(index, content=t) for t in draw(st.lists(st.sampled_from(["", "hello ", "wörld\u2028"]), max_size=2))
        ]
        for place in range(draw(st.integers(0, 3))):
            mark = next(marks)
            pieces = draw(
                st.lists(st.sampled_from(["", '{"a":', f'"{mark}"', "}", f"\\u0000{mark}"]), min_size=1, max_size=4)
            )
            kind = draw(st.sampled_from(["function", "function", "custom"]))
            call = Call(mark, draw(st.sampled_from(verdicts)), kind, pieces, draw(st.booleans()))
            calls.append(call)
            track += call.pieces(index, place)
        if draw(st.booleans()) and draw(st.booleans()):
            mark = next(marks)
            legacy = Call(mark, draw(st.sampled_from(verdicts)), "function_call", [mark], draw(st.booleans()))
            calls.append(legacy)
            track += legacy.pieces(index, -1)
        track.append(choice(index, "tool_calls"))
        tracks.append(track)
    trees = [chunk(*(choice(i, role="assistant", content="") for i in range(n)))]
    while any(tracks):
        track = draw(st.sampled_from([track for track in tracks if track]))
        trees.append(chunk(track.pop(0)))
    if draw(st.booleans()):
        trees.append(usage())
    cuts = draw(st.lists(st.integers(0, 10_000), max_size=10))
    dies_at = draw(st.none() | st.integers(0, 10)) if deaths else None
    return Case(trees, calls, cuts, n, dies_at)


def say(call: ToolCall) -> Sequence[Finding] | None:
    match call.name.partition("_")[0]:
        case "rewrite" if call.arguments != FIXED:
            return [finding(Verdict.REWRITE, replacement=FIXED)]
        case "reask":
            return [finding(Verdict.REASK)]
        case "block":
            return [finding(Verdict.BLOCK)]
        case "silent":
            return None
        case "fail":
            raise RuntimeError("the guard fails")
        case _:
            return []


@dataclass
class Watching(FakeGuard):
    """Knows what the client has when its verdict is asked for, and when it has given it."""

    received: Received | None = None
    before: list[bytes] = field(default_factory=list)

    async def review(self, *args: Any) -> Any:
        self.before.append(self.received.seen if self.received else b"")
        return await super().review(*args)


def run(case: Case, guard: FakeGuard, **settings: Any) -> tuple[Received, Any]:
    under_test = proxy(case.play, guards=[guard], **settings)
    seen: list[Received] = []

    def on_part(received: Received) -> None:
        seen.append(received)
        if isinstance(guard, Watching):
            guard.received = received

    received = under_test.ask(case.request, on_part=on_part)
    return received, under_test


def leaves(call: Call, case: Case) -> bool:
    """A failing guard gives no verdict on any call of the turn."""
    return call.verdict in ("allow", "rewrite") and not any(c.verdict == "fail" for c in case.calls)


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from(OnBlock), st.booleans(), st.integers(0, 1))
def test_nothing_of_an_undecided_or_refused_call_leaves_at_any_time(
    case: Case, on_block: OnBlock, hold_turn: bool, reask_max: int
) -> None:
    guard = Watching(say)
    received, under_test = run(case, guard, on_block=on_block, hold_turn=hold_turn, reask_max=reask_max)
    for before in guard.before:
        assert not any(call.mark.encode() in before for call in case.calls)
    whole = received.seen
    for call in case.calls:
        if leaves(call, case):
            continue
        for value in (f"id_{call.mark}", *(f'"{piece}"' for piece in call.arguments if call.mark in piece)):
            assert value.encode() not in whole
        # the refusal names the tool, and nothing else does
        named = f"call to `{call.name}`".encode()
        assert whole.replace(named, b"").count(call.mark.encode()) == 0
    if case.dies_at is not None and not received.done:
        assert not any(call.mark.encode() in whole for call in case.calls)
    assert len(under_test.observer.exchanges) == 1


@settings(max_examples=50, deadline=None)
@given(cases(verdicts=["allow"], deaths=False))
def test_on_allow_the_client_gets_the_same_events_in_the_same_order(case: Case) -> None:
    received, _ = run(case, FakeGuard(say))
    assert received.done
    assert received.events == case.trees


# --- what leaves is what was judged ------------------------------------------------------------------------------

Reading = dict[tuple[int, int], tuple[str, str]]
"""Name and arguments by choice and place."""


def as_the_sdk_reads(trees: Sequence[Tree]) -> Reading:
    """As the streaming helper does, which passes over chunks that are called something else."""
    state = ChatCompletionStreamState()
    for tree in trees:
        if tree.get("object") == "chat.completion.chunk":
            state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=copy.deepcopy(tree)))  # type: ignore[arg-type]
    found: Reading = {}
    if not any(tree.get("object") == "chat.completion.chunk" for tree in trees):
        return found
    for each in state.current_completion_snapshot.choices:
        for place, call in enumerate(each.message.tool_calls or []):
            body = call.to_dict()[call.type]
            assert isinstance(body, dict)
            found[each.index, place] = (str(body["name"]), str(body.get("arguments", body.get("input"))))
        legacy = each.message.to_dict().get("function_call")
        if isinstance(legacy, dict):
            found[each.index, -1] = (str(legacy["name"]), str(legacy["arguments"]))
    return found


def by_hand(pick: Callable[[str, str], str]) -> Callable[[Sequence[Tree]], Reading]:
    """A client that puts deltas together itself; of two names it picks one."""

    def read(trees: Sequence[Tree]) -> Reading:
        names: dict[tuple[int, int], str] = {}
        texts: dict[tuple[int, int], str] = defaultdict(str)
        for each in (each for tree in trees for each in tree["choices"]):
            pieces = list(each["delta"].get("tool_calls") or [])
            if each["delta"].get("function_call"):
                pieces.append({"index": -1, "function": each["delta"]["function_call"]})
            for piece in pieces:
                key = each["index"], piece["index"]
                body = piece.get("function") or piece.get("custom") or {}
                names[key] = pick(names.get(key, ""), body.get("name") or "")
                texts[key] += body.get("arguments") or body.get("input") or ""
        return {key: (name, texts[key]) for key, name in names.items()}

    return read


def first_wins(old: str, new: str) -> str:
    return old or new


def last_wins(old: str, new: str) -> str:
    return new or old


def concatenates(old: str, new: str) -> str:
    return old + new


def judged(guard: FakeGuard) -> Reading:
    """The calls as they were when the guard last saw them, numbered anew without those that were refused."""
    last = {call.key: call for call in guard.seen}
    found: Reading = {}
    counts: dict[int, itertools.count[int]] = defaultdict(itertools.count)
    for key, call in sorted(last.items()):
        if not call.name.startswith(("allow", "rewrite")):
            continue
        place = -1 if key.position == -1 else next(counts[key.choice])
        found[key.choice, place] = (call.name, call.arguments)
    return found


@settings(max_examples=100, deadline=None)
@given(cases(verdicts=["allow", "allow", "rewrite", "block"], deaths=False))
def test_what_leaves_is_read_as_it_was_judged(case: Case) -> None:
    guard = FakeGuard(say)
    received, _ = run(case, guard)
    assert received.done
    expected = judged(guard)
    for read in (as_the_sdk_reads, by_hand(first_wins), by_hand(last_wins), by_hand(concatenates)):
        assert read(received.events) == expected


# --- hostile servers: whatever they send, no client reads a call that was not judged --------------------------------

HEAD = chunk(choice(role="assistant", content=""))


def _calls(tree: Tree) -> list[Tree]:
    found: list[Tree] = tree["choices"][0]["delta"].get("tool_calls", [])
    return found


def _piece(tree: Tree) -> Tree:
    """The first call's piece in a chunk."""
    return next(iter(_calls(tree)), {})


def _body(tree: Tree) -> Tree:
    found: Tree = _piece(tree).get("function") or {}
    return found


def _wrap(tree: Tree) -> None:
    tree["chunk"] = {"choices": tree["choices"]}
    tree["choices"] = []


def _respell(tree: Tree) -> None:
    delta = tree["choices"][0]["delta"]
    delta["Tool_calls"] = delta.pop("tool_calls", [])


MUTATIONS: dict[str, Callable[[Tree], object]] = {
    "another object": lambda tree: tree.update(object=""),
    "a type": lambda tree: tree.update(type="content.delta"),
    "a name": lambda tree: _body(tree).update(name="sh"),
    "another id": lambda tree: _piece(tree).update(id="other"),
    "index 0": lambda tree: _piece(tree).update(index=0),
    "index 1": lambda tree: _piece(tree).update(index=1),
    "index true": lambda tree: _piece(tree).update(index=True),
    "no index": lambda tree: _piece(tree).pop("index", None),
    "no function": lambda tree: _piece(tree).pop("function", None),
    "a custom body": lambda tree: _piece(tree).update(custom={"name": "sh", "input": "x"}),
    "a flat name": lambda tree: _piece(tree).update(name="sh"),
    "a respelled name": lambda tree: _body(tree).update(Name="sh"),
    "respelled calls": _respell,
    "wrapped": _wrap,
    "twice in one event": lambda tree: (
        tree["choices"][0]["delta"].get("tool_calls", []).append(copy.deepcopy(_piece(tree)))
    ),
    "beside a bodiless one": lambda tree: (
        tree["choices"][0]["delta"].get("tool_calls", []).append({"index": 1, "id": "x"})
    ),
    "a user's": lambda tree: tree["choices"][0]["delta"].update(role="user"),
    "a message": lambda tree: tree["choices"][0].update(message=tree["choices"][0]["delta"]),
    "in choice 1": lambda tree: tree["choices"][0].update(index=1),
    "the choice twice": lambda tree: tree["choices"].append(copy.deepcopy(tree["choices"][0])),
    "the end": lambda tree: tree["choices"][0].update(finish_reason="tool_calls"),
    "a legacy call": lambda tree: tree["choices"][0]["delta"].update(function_call=copy.deepcopy(_body(tree))),
}


@st.composite
def hostile(draw: st.DrawFn) -> list[Tree]:
    """An honest stream of two calls, with one to three things wrong."""
    trees = [HEAD]
    for index, name in enumerate(draw(st.sampled_from([["ba"], ["ba", "look"]]))):
        first = {"index": index, "id": f"id{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        trees.append(chunk(choice(tool_calls=[first])))
        for text in draw(st.lists(st.sampled_from(["{", "echo ", "rm"]), min_size=1, max_size=3)):
            trees.append(chunk(choice(tool_calls=[{"index": index, "function": {"arguments": text}}])))
    trees.append(chunk(choice(0, "tool_calls")))
    trees = copy.deepcopy(draw(st.permutations(trees)) if draw(st.integers(0, 9)) == 0 else trees)
    for name in draw(st.lists(st.sampled_from(sorted(MUTATIONS)), min_size=1, max_size=3, unique=True)):
        tree = draw(st.sampled_from([tree for tree in trees if tree["choices"]]))
        MUTATIONS[name](tree)
    return trees[draw(st.integers(0, 1)) :]


def as_langchain_reads(trees: Sequence[Tree]) -> list[tuple[str, str]]:
    from langchain_core.messages import AIMessageChunk
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", api_key="k")  # type: ignore[arg-type]
    message, kind = None, AIMessageChunk
    for tree in trees:
        generation = model._convert_chunk_to_generation_chunk(tree, kind, None)
        if generation is None:
            continue
        kind = type(generation.message)
        message = generation.message if message is None else message + generation.message
    if not isinstance(message, AIMessageChunk):
        return []
    calls = [(call["name"] or "", call["args"] or "") for call in message.tool_call_chunks]
    legacy = message.additional_kwargs.get("function_call")
    if legacy:
        calls.append((legacy.get("name") or "", legacy.get("arguments") or ""))
    return calls


@settings(max_examples=200, deadline=None)
@given(hostile())
def test_no_client_reads_a_call_that_was_not_judged(trees: list[Tree]) -> None:
    guard = FakeGuard(lambda call: ())
    received = proxy([events(trees)], guards=[guard]).ask()
    allowed = {(call.name, call.arguments) for call in guard.seen}
    if received.status != 200 or not received.done:
        assert 'tool_calls":[{' not in received.seen.decode()
        allowed = set()
    got = [tree for tree in received.events if "error" not in tree]
    readers = (as_the_sdk_reads, by_hand(first_wins), by_hand(last_wins), by_hand(concatenates))
    for calls in (as_langchain_reads(got), *(or_fails(read, got).values() for read in readers)):
        assert set(calls) <= allowed


def or_fails(read: Callable[[Sequence[Tree]], Reading], trees: list[Tree]) -> Reading:
    """A client that fails reads nothing."""
    try:
        return read(trees)
    except Exception:
        return {}


# --- more guards, other ends ---------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(cases(deaths=False), st.sampled_from(VERDICTS), st.sampled_from(Mode), st.sampled_from(OnError))
def test_another_guard_never_lets_more_through(case: Case, verdict: str, mode: Mode, on_error: OnError) -> None:
    def also_say(call: ToolCall) -> Sequence[Finding] | None:
        found = say(ToolCall(call.key, call.kind, call.id, f"{verdict}_", call.arguments))
        return None if found is None else [Finding(**{**_fields(f), "mode": mode}) for f in found]

    alone, _ = run(case, FakeGuard(say), reask_max=0)
    both, _ = run(Case(**vars(case)), FakeGuard(say), reask_max=0)
    under_test = proxy(
        case.play, guards=[FakeGuard(say), FakeGuard(also_say, mode=mode, on_error=on_error, name="other")], reask_max=0
    )
    with_other = under_test.ask(case.request)
    assert both.seen == alone.seen
    assert calls_in(with_other) <= calls_in(alone)


def _fields(found: Finding) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Finding.__slots__}


def calls_in(received: Received) -> set[str]:
    return {name for name, _ in by_hand(first_wins)(received.events).values()}


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 20), st.booleans())
def test_one_record_for_each_exchange_also_when_the_client_goes(case: Case, goes_after: int, slow: bool) -> None:
    under_test = proxy(case.play, guards=[FakeGuard(say, delay_s=0.01 if slow else 0.0)])

    async def scenario() -> None:
        gone = asyncio.Event()
        parts = itertools.count()

        def on_part(received: Received) -> None:
            if next(parts) >= goes_after:
                gone.set()

        if goes_after == 0:
            gone.set()
        with contextlib.suppress(asyncio.CancelledError):
            await under_test.post(case.request, gone=gone, on_part=on_part)

    asyncio.run(scenario())
    assert under_test.exchange.outcome in {"completed", "blocked", "cancelled", "upstream_error"}
    assert under_test.upstream.closed == len(under_test.upstream.asked)
