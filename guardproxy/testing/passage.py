"""An answer through a surface and the gate, without the proxy around them: what a fuzzer can afford a million times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from guardproxy.decision import Finding, GuardReport, Mode, OnError, Permit, block_reasked, decide
from guardproxy.errors import UpstreamError
from guardproxy.model import Request, ToolCall
from guardproxy.runtime import Runtime
from guardproxy.stream.frame import Frame
from guardproxy.stream.gate import Gate
from guardproxy.surfaces.refusal import DEFAULT_TEMPLATE, refusal_texts
from guardproxy.surfaces.surface import OnBlock, Refusal, RequestRules
from guardproxy.testing.script import Tree, Wire
from guardproxy.text_calls import watch_for

Say = Callable[[ToolCall], Sequence[Finding] | None]

_DEFAULTS = {f.name: f.default for f in fields(Runtime)}


@dataclass(slots=True)
class Passage:
    """What left, and by which permit. Without a permit the answer was refused, and `error` says why."""

    left: list[Frame] = field(default_factory=list)
    permit: Permit | None = None
    error: UpstreamError | None = None


def read_request(wire: Wire, tree: Tree) -> Request:
    return wire.surface.parse(tree, wire.settings.get("request_rules", RequestRules()))


def pass_through(
    wire: Wire, request: Request, frames: Sequence[Frame], say: Say, on_block: OnBlock = OnBlock.MESSAGE
) -> Passage:
    """One attempt at an answer, judged by `say`. Only an UpstreamError is caught."""
    surface, passage = wire.surface, Passage()
    reader, writer = surface.reader(request), surface.writer(request)
    settings: dict[str, Any] = {**_DEFAULTS, **wire.settings}
    watch = watch_for(request, settings["text_calls"], settings["hold_text_actions"])
    gate = Gate(reader, hold_end=request.stored, watch=watch)
    writer.begin_attempt()

    def send(leaving: Sequence[Frame]) -> None:
        passage.left += [written for frame in leaving for written in writer.write(frame)]

    try:
        for frame in frames:
            send(gate.receive(frame))
        turn = gate.review()
    except UpstreamError as error:
        passage.error = error
        return passage
    said = {call.key: found for call in turn.calls if (found := say(call)) is not None}
    permit = block_reasked(decide(turn, [GuardReport("fuzz", Mode.ENFORCE, OnError.BLOCK, said)]))
    texts = refusal_texts(turn, permit.decision, DEFAULT_TEMPLATE)
    refusal = Refusal(on_block, texts, gate.text_room(permit.decision), gate.refuses_reasoning(permit.decision))
    send(gate.release(permit, lambda held, permit: reader.amend(held, permit, refusal)))
    surface.past(request, reader, writer, permit, refusal)
    passage.permit = permit
    return passage
