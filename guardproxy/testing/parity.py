"""What the guard does on every surface, from runs of it: `python -m guardproxy.testing.parity FILE` writes the page."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from guardproxy.decision import Mode
from guardproxy.stream.frame import Frame
from guardproxy.surfaces.contract import Contract, Treatment
from guardproxy.testing.script import Call, Part, Shape, Text, Wire
from guardproxy.testing.trial import (
    Judge,
    Trial,
    assert_nothing_leaks,
    assert_read_as_judged,
    assert_well_formed,
    json_equal,
    marked,
    play_of,
    try_out,
)

FAILED = "**FAILED**"
VERDICTS = ("allow", "rewrite", "reask", "block", "monitor")

_HEAD = """\
# What is guarded

Written by `make parity` from runs of the proxy, one for each cell; do not edit it.

## Calls

What becomes of a call, in each shape that an API has for one, when a guard says so. Every cell is a run with two calls
in a turn, of which the guard objects to the first, and it holds for every way in which clients of the API are known to
read an answer. `monitor` is a guard that objects and is not enforced.

"""

_WORDS = """
* **unchanged**: every event leaves as the model server sent it, equal as JSON.
* **rewritten**: every client reads the new arguments, and nothing of the old ones leaves.
* **asked again**: the model is told why and answers anew; nothing of the first answer's calls leaves.
* **blocked**: nothing of the call leaves but its name, in the text that says that it was blocked. The other call stays.
* **unchanged, recorded**: as unchanged, with the objection in the record of the exchange.

A shape that this version does not know (`opaque`) is a call too: it is held, judged by its type, and blocked unless a
policy names it. It is neither rewritten nor asked for again, since nobody knows where its arguments are.
"""

_CONTRACT = """
## Names

Every name of each API that the newest official SDKs know, and what becomes of it.

* **guarded**: read as a call, a tool or a part of one, and judged.
* **passed**: read as far as the guards need it, and passed on.
* **counted**: passed on, though no guard can read or stop it, and counted as not inspected.
* **refused**: the request is refused, unless the operator names it.
"""


def page(wires: Sequence[Wire], contracts: Mapping[str, Contract]) -> str:
    return "".join((_HEAD, *_calls_table(wires), _WORDS, _CONTRACT, *_contract_tables(contracts)))


def _calls_table(wires: Sequence[Wire]) -> Iterator[str]:
    yield f"| API | call | answer | {' | '.join(VERDICTS)} |\n|---|---|---|{'---|' * len(VERDICTS)}\n"
    for wire in wires:
        for shape in wire.shapes.values():
            for stream in (True, False):
                cells = " | ".join(result(wire, shape, verdict, stream=stream) for verdict in VERDICTS)
                yield f"| `{wire.surface.path}` | `{shape.name}` | {'streamed' if stream else 'whole'} | {cells} |\n"


def result(wire: Wire, shape: Shape, verdict: str, *, stream: bool) -> str:
    """What came of one run, in the words of the page."""
    try:
        return _RUNS[verdict](wire, shape, stream)
    except AssertionError:
        return FAILED


def _pair(shape: Shape, verdict: str) -> list[Call]:
    return [marked(shape, v, i, noise=True) for i, v in enumerate([verdict, "allow"][: 1 if shape.alone else 2])]


def _run(wire: Wire, calls: Sequence[Call], stream: bool, mode: Mode = Mode.ENFORCE) -> Trial:
    plays = [play_of(wire, turn, stream=stream) for turn in (_turn(calls), [Text("Done.")])]
    trial = try_out(wire, *plays, stream=stream, calls=calls, judge=Judge(mode=mode))
    assert_well_formed(trial)
    return trial


def _unchanged(wire: Wire, calls: Sequence[Call], stream: bool, trial: Trial) -> bool:
    parts = _turn(calls)
    return json_equal(trial.frames, wire.frames(parts) if stream else [Frame(wire.whole(parts))])


def _turn(calls: Sequence[Call]) -> list[Part]:
    return [Text("So: "), *calls]


def _allow(wire: Wire, shape: Shape, stream: bool) -> str:
    calls = _pair(shape, "allow")
    trial = _run(wire, calls, stream)
    assert_nothing_leaks(trial, calls)
    assert_read_as_judged(trial)
    assert len(trial.judged()) == len(calls)
    return "unchanged" if _unchanged(wire, calls, stream, trial) else FAILED


def _refuse(verdict: str, changed: str) -> Callable[[Wire, Shape, bool], str]:
    def run(wire: Wire, shape: Shape, stream: bool) -> str:
        calls = _pair(shape, verdict)
        trial = _run(wire, calls, stream)
        assert_nothing_leaks(trial, calls)
        assert_read_as_judged(trial)
        left = len(trial.judged())
        if left == len(calls):
            return changed
        assert left == len(calls) - 1
        assert "fake_code" in trial.texts[0] or "rewrite_impossible" in trial.texts[0]
        return "blocked"

    return run


def _reask(wire: Wire, shape: Shape, stream: bool) -> str:
    calls = _pair(shape, "reask")
    trial = _run(wire, calls, stream)
    assert_read_as_judged(trial)
    if len(trial.under_test.upstream.asked) == 2:
        assert not any(call.id.removeprefix("id_").encode() in trial.received.seen for call in calls)
        return "asked again"
    assert_nothing_leaks(trial, calls)
    return "blocked"


def _monitor(wire: Wire, shape: Shape, stream: bool) -> str:
    calls = _pair(shape, "block")
    trial = _run(wire, calls, stream, Mode.MONITOR)
    decision = trial.under_test.exchange.decision
    assert decision is not None
    assert decision.verdict.label == "block"
    return "unchanged, recorded" if _unchanged(wire, calls, stream, trial) else FAILED


_RUNS: Mapping[str, Callable[[Wire, Shape, bool], str]] = {
    "allow": _allow,
    "rewrite": _refuse("rewrite", "rewritten"),
    "reask": _reask,
    "block": _refuse("block", FAILED),
    "monitor": _monitor,
}


def _contract_tables(contracts: Mapping[str, Contract]) -> Iterator[str]:
    for path, contract in contracts.items():
        yield f"\n### `{path}`\n\n| | {' | '.join(Treatment)} |\n|---|{'---|' * len(Treatment)}\n"
        for section, names in contract.items():
            cells = (" ".join(f"`{name}`" for name, how in sorted(names.items()) if how is t) for t in Treatment)
            yield f"| {section} | {' | '.join(cells)} |\n"


def write(file: Path) -> None:
    from guardproxy.testing.wires import CONTRACTS, WIRES

    file.write_text(page(WIRES, CONTRACTS))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
