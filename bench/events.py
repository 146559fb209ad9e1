"""`python -m bench.events`: what one streamed event costs in the core, for each surface, as one JSON object.

From the bytes of an event to the bytes that leave: event-stream parser, strict JSON, the surface's reading, the gate,
the writer, encoding; no sockets and no guards. `text` are events that leave at once, `call` are pieces of a call's
arguments, held to the end of the turn and then let go. Microseconds of CPU, the least of several rounds: whatever else
the machine does can only add to it.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence

from guardproxy.decision import GuardReport, Mode, OnError, decide
from guardproxy.stream.frame import Frame, encode_frame, frame_of_event
from guardproxy.stream.gate import Gate
from guardproxy.stream.sse import SseParser
from guardproxy.surfaces.surface import RequestRules
from guardproxy.testing.script import Call, Part, Text, Wire
from guardproxy.testing.wires import WIRES

EVENTS = 2000
ROUNDS = 9


def main() -> None:
    costs = {wire.name: {"text": text_cost(wire), "call": call_cost(wire)} for wire in WIRES}
    json.dump({"us_of_cpu_per_event": costs, "events": EVENTS, "rounds": ROUNDS}, sys.stdout, indent=2)
    print()


def text_cost(wire: Wire) -> float:
    frames = wire.frames([Text("hello ")])
    place = next(i for i, frame in enumerate(frames) if frame.tree and any(wire.surface.texts_of(frame).values()))
    stream = [*frames[:place], *_numbered(frames[place], EVENTS)]
    return _least(lambda: _pass_through(wire, [Text("hello ")], stream), len(stream))


def call_cost(wire: Wire) -> float | None:
    """None where the API has no calls of its own."""
    shape = next((shape for shape in wire.shapes.values() if shape.tool is None and not shape.free_text), None)
    if shape is None:
        return None
    call = Call(shape.name, "look", shape.arguments("x" * 4 * EVENTS), pieces=EVENTS)
    stream = wire.frames([call])
    return _least(lambda: _pass_through(wire, [call], stream), len(stream))


def _numbered(frame: Frame, times: int) -> list[Frame]:
    """The same event again and again, with the numbers of its sequence where it has one."""
    assert frame.tree is not None
    first = frame.tree.get("sequence_number")
    if not isinstance(first, int):
        return [frame] * times
    return [frame._replace(tree=frame.tree | {"sequence_number": first + n}) for n in range(times)]


def _pass_through(wire: Wire, parts: Sequence[Part], stream: Sequence[Frame]) -> float:
    """Seconds of CPU."""
    calls = [part for part in parts if isinstance(part, Call)]
    request = wire.surface.parse(wire.request(stream=True, calls=calls), RequestRules())
    data = [encode_frame(frame) for frame in stream]
    reader, writer, parser = wire.surface.reader(request), wire.surface.writer(request), SseParser(1 << 24)
    gate = Gate(reader)
    writer.begin_attempt()
    left = 0
    started = time.process_time()
    for chunk in data:
        for event in parser.feed(chunk):
            left += _write(gate.receive(frame_of_event(event)), writer.write)
    if calls:
        turn = gate.review()
        report = GuardReport("bench", Mode.ENFORCE, OnError.BLOCK, {call.key: () for call in turn.calls})
        left += _write(gate.release(decide(turn, [report]), lambda held, permit: held), writer.write)
    spent = time.process_time() - started
    assert left == len(stream), "every event must leave"
    return spent


def _write(frames: Sequence[Frame], write: Callable[[Frame], Sequence[Frame]]) -> int:
    written = [encode_frame(frame) for each in frames for frame in write(each)]
    return len(written)


def _least(run: Callable[[], float], events: int) -> float:
    return round(min(run() for _ in range(ROUNDS)) / events * 1e6, 2)


if __name__ == "__main__":
    main()
