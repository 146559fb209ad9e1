"""The gate: text leaves as it comes; from a call's first frame on everything waits, in order, for a permit.

Sans-io, and the same for streamed and whole answers. A gate serves one turn.
"""

from collections.abc import Callable, Sequence

from guardproxy.decision import Allow, Permit
from guardproxy.errors import UpstreamProtocolError
from guardproxy.model import CallDelta, Delta, TextDelta, Turn
from guardproxy.stream.assemble import Assembler
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject

Read = Callable[[JsonObject], Sequence[Delta]]
Amend = Callable[[Sequence[Frame], Permit], Sequence[Frame]]


class Gate:
    """`read` is the surface's reading of one frame. `hold_all` keeps text back too, for deployments that judge it."""

    def __init__(self, read: Read, *, max_held_frames: int = 100_000, hold_all: bool = False) -> None:
        self._read = read
        self._assembler = Assembler()
        self._held: list[Frame] = []
        self._max_held = max_held_frames
        self._done = False
        self._turn: Turn | None = None
        self.holding = hold_all
        self.text_left = False
        self.received = False

    def receive(self, frame: Frame) -> Sequence[Frame]:
        """What may leave now: the frame itself, or nothing. Raises UpstreamProtocolError."""
        self.received = True
        if self._done:
            raise UpstreamProtocolError("the upstream went on after the end of its answer")
        if frame.tree is None:
            self._done = True  # the end mark waits too, until the turn is known to be complete
        else:
            deltas = self._read(frame.tree)
            self._assembler.feed(deltas)
            self.holding = self.holding or any(isinstance(delta, CallDelta) for delta in deltas)
            if not self.holding:
                self.text_left = self.text_left or any(isinstance(d, TextDelta) and d.text for d in deltas)
                return (frame,)
        self._held.append(frame)
        if len(self._held) > self._max_held:
            raise UpstreamProtocolError("the upstream's answer has more held events than the limit")
        return ()

    def review(self) -> Turn:
        """The whole turn, at the end of the upstream's answer. A turn without an end is an UpstreamProtocolError."""
        if not self.received:
            raise UpstreamProtocolError("the upstream closed its answer before it said anything")
        self._turn = self._assembler.turn()
        return self._turn

    def release(self, permit: Permit, amend: Amend) -> Sequence[Frame]:
        """The held frames as the permit says, once. `amend` is the surface's way to drop or rewrite calls in them."""
        if self._turn is None or permit.turn is not self._turn:
            raise ValueError("this permit is for another turn")
        held, self._held = self._held, []
        self.holding = False
        if all(isinstance(outcome, Allow) for outcome in permit.decision.outcomes.values()):
            return held
        return amend(held, permit)
