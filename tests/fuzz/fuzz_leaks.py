"""Random answers through every surface: `python tests/fuzz/fuzz_leaks.py [COUNT [SURFACE...]]`, or an atheris target.

Half of the answers are honest, with calls of every shape and verdict: then no mark of a call that was refused may
leave. The other half have faults, or are another API's: then no client may read a call that was not let through.
Whatever is sent, nothing but an UpstreamError comes of it.
"""

import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy.decision import Finding, Verdict
from guardproxy.model import CallKind, Request, ToolCall
from guardproxy.stream.frame import Frame, encode_frame
from guardproxy.surfaces.surface import OnBlock
from guardproxy.testing.fakes import finding
from guardproxy.testing.mutations import mutate
from guardproxy.testing.passage import Passage, pass_through, read_request
from guardproxy.testing.script import Call, Part, ReadCalls, Reasoning, Shape, Text, Wire
from guardproxy.testing.trial import ReadKey, calls_let_through, is_among, keys_of, marked, verdict_of
from guardproxy.testing.wires import WIRES

_VERDICTS = ("allow", "allow", "rewrite", "reask", "block", "block", "silent")
_STYLES = (OnBlock.MESSAGE, OnBlock.CONTENT_FILTER, OnBlock.REFUSAL)
_SCRIPTS = 60  # turns that are in use at a time
_USES = 40  # how often one of them is drawn, on average, before it is replaced
_SLOW = "official SDK"
_SLOW_SHARE = 0.02


class Found(AssertionError):
    """A leak, or something else that must not happen."""


@dataclass(slots=True)
class Script:
    """One turn, written down, and the request that it answers."""

    wire: Wire
    stream: bool
    request: Request
    calls: list[Call]
    frames: list[Frame]


def script_of(wire: Wire, source: random.Random) -> Script:
    stream = source.random() < 0.75
    choices = source.choice((1, 1, 1, wire.most_choices))
    parts = list(_parts(wire, choices, source))
    calls = [part for part in parts if isinstance(part, Call)]
    asked: dict[str, Any] = {"n": choices} if choices > 1 else {}
    request = read_request(wire, wire.request(stream=stream, calls=calls, **asked))
    if not stream:
        return Script(wire, stream, request, calls, [Frame(wire.whole(parts))])
    if source.random() < 0.3:
        frames = source.choice([*wire.variants(parts).values(), wire.frames(parts)])
    else:
        order = [source.randrange(len(parts)) for _ in range(10)] if wire.interleaves and parts else None
        frames = wire.frames(parts, order)
    return Script(wire, stream, request, calls, list(frames))


def _parts(wire: Wire, choices: int, source: random.Random) -> Iterator[Part]:
    places = iter(range(1000))
    for choice in range(choices):
        if source.random() < 0.3:
            yield Reasoning(source.choice(("Hm. ", "I think so, yes. ")), choice)
        if source.random() < 0.5:
            yield Text(source.choice(("So: ", "one two three ", "wörld\u2028 <tool", "```")), choice)
        shapes = _shapes(wire, source)
        for shape in shapes:
            pieces = source.choice((1, 1, 2, 4))
            verdict = source.choice(_VERDICTS)
            yield marked(shape, verdict, next(places), choice=choice, pieces=pieces, noise=source.random() < 0.4)


def _shapes(wire: Wire, source: random.Random) -> Sequence[Shape]:
    shapes = list(wire.shapes.values())
    drawn = source.choices(shapes, k=source.choice((0, 1, 1, 2, 3)))
    if any(shape.kind is CallKind.TEXT for shape in drawn):
        return drawn[:1]  # where one in text is refused, what is written after it goes too
    return [s for i, s in enumerate(drawn) if not s.alone or s not in drawn[:i]]


# --- what is said of a call --------------------------------------------------------------------------------------


def _say(wire: Wire, call: ToolCall) -> Sequence[Finding] | None:
    match verdict_of(call):
        case "rewrite":
            shapes = (s for s in wire.shapes.values() if s.kind is call.kind and s.tool in (None, call.name))
            return [finding(Verdict.REWRITE, replacement=next((s.rewritten for s in shapes), None) or "{}")]
        case "reask":
            return [finding(Verdict.REASK)]
        case "block":
            return [finding(Verdict.BLOCK)]
        case "silent":
            return None
        case _:
            return ()


# --- what must hold ----------------------------------------------------------------------------------------------


def check_honest(script: Script, source: random.Random) -> None:
    """An honest answer is taken, and of a refused call nothing leaves but its name in the refusal."""
    passage = _passed(script, script.frames, source)
    if passage.permit is None:
        raise Found(f"an honest answer was refused: {passage.error}")
    seen = b"".join(map(encode_frame, passage.left))
    kept = {(key.choice, key.name) for key in calls_let_through(passage.permit)}
    for call in script.calls:
        mark = call.id.removeprefix("id_")
        verdict = verdict_of_mark(mark)
        if verdict == "allow" or (verdict == "rewrite" and script.wire.shapes[call.shape].rewritten is not None):
            if verdict == "rewrite" and f"{mark} {mark}".encode() in seen:
                raise Found("the old arguments of a rewritten call left")
            if script.wire.shapes[call.shape].tool is None and not any(mark in name for _, name in kept):
                raise Found("an allowed call was not let through")
        elif mark.encode() in seen.replace(f"call to `{mark}`".encode(), b""):
            raise Found(f"a mark of a refused {call.shape} left")
    _check_readings(script, passage, exact=True, slow=source.random() < _SLOW_SHARE)


def verdict_of_mark(mark: str) -> str:
    return mark.partition("_mark")[0]


def check_hostile(script: Script, frames: Sequence[Frame], source: random.Random) -> None:
    passage = _passed(script, frames, source)
    _check_readings(script, passage, exact=False, slow=source.random() < _SLOW_SHARE)


def _passed(script: Script, frames: Sequence[Frame], source: random.Random) -> Passage:
    style = source.choice(_STYLES)
    return pass_through(script.wire, script.request, frames, lambda call: _say(script.wire, call), style)


def _check_readings(script: Script, passage: Passage, *, exact: bool, slow: bool) -> None:
    through = calls_let_through(passage.permit) if passage.permit else []
    exact = exact and all(key.kind is not CallKind.TEXT for key in through)  # a text may be read in more ways than one
    for name, read in script.wire.readers(stream=script.stream).items():
        if name == _SLOW and not slow:
            continue
        try:
            got: list[ReadKey] = keys_of(script.wire, read(passage.left))
        except Exception:
            if exact and _can_read(script, read):
                raise
            continue  # a client that fails reads nothing
        if not exact:  # readers of text go by patterns, and take for a call what no program's parser would
            got = [key for key in got if key.kind is not CallKind.TEXT]
        # which of two calls comes first is not for a reader to say: items may end in another order than they began
        if (sorted(got) != sorted(through)) if exact else not all(is_among(call, through) for call in got):
            raise Found(f"{name} reads {got}, and what was let through is {through}")


def _can_read(script: Script, read: ReadCalls) -> bool:
    """Whether a client can read the answer as the model server sent it: not every one takes every honest answer."""
    try:
        read(script.frames)
    except Exception:
        return False
    return True


# --- by the thousand ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fuzzer:
    source: random.Random
    wires: Sequence[Wire]
    counts: Counter[str]

    @classmethod
    def of(cls, seed: int, wires: Sequence[Wire] = WIRES) -> "Fuzzer":
        return cls(random.Random(seed), wires, Counter())

    def run(self, count: int, seconds: float = float("inf")) -> int:
        """So many answers, or as many as there is time for. Raises Found, and says by which seed and number."""
        scripts = [self._script() for _ in range(_SCRIPTS)]
        until, done = time.monotonic() + seconds, 0
        while done < count and time.monotonic() < until:
            place = self.source.randrange(_SCRIPTS)
            if self.source.randrange(_USES) == 0:
                scripts[place] = self._script()
            self._one(scripts[place], scripts)
            done += 1
        return done

    def _script(self) -> Script:
        return script_of(self.source.choice(list(self.wires)), self.source)

    def _one(self, script: Script, scripts: Sequence[Script]) -> None:
        frames: Sequence[Frame] = script.frames
        chance = self.source.random()
        honest = chance < 0.4
        if not honest:
            foreign = chance > 0.95
            frames = mutate(self.source.choice(scripts).frames if foreign else frames, self.source)
            if not script.stream:  # a body has no event name
                frames = [frame._replace(event=None) for frame in frames]
        try:
            check_honest(script, self.source) if honest else check_hostile(script, frames, self.source)
        except Exception as error:
            error.add_note(f"surface: {script.wire.name}, stream: {script.stream}, n: {script.request.choices}")
            error.add_note("frames: " + b"".join(map(encode_frame, frames)).decode())
            raise
        self.counts[f"{script.wire.name} {'honest' if honest else 'hostile'}"] += 1


def main(arguments: Sequence[str]) -> None:
    count = int(arguments[0]) if arguments else 100_000
    wires = [wire for wire in WIRES if not arguments[1:] or wire.name in arguments[1:]]
    seed = int.from_bytes(random.SystemRandom().randbytes(4), "big")
    print("seed", seed, flush=True)
    fuzzer, started = Fuzzer.of(seed, wires), time.monotonic()
    warnings.simplefilter("ignore")  # what a client warns of
    fuzzer.run(count)
    seconds = time.monotonic() - started
    print(f"{count} answers, {count / seconds:.0f} a second, nothing found")
    for name, number in sorted(fuzzer.counts.items()):
        print(f"  {name}: {number}")


if __name__ == "__main__":
    main(sys.argv[1:])
