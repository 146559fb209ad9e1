"""What a rule may know beside the call: the request, the whole turn, and which earlier results were flagged."""

from dataclasses import dataclass, field

from guardproxy.model import Request, ToolCall, ToolSpec, Turn
from guardproxy.policy.conditions import MAX_LIST, CelValue
from guardproxy.policy.shell import Stop, never
from guardproxy.provenance import Conversation

_MAX_TEXT = 16_384


@dataclass(slots=True)
class Scene:
    """Shared by the calls of one turn. `stop` ends the reading of hostile scripts early."""

    request: Request
    turn: Turn | None = None
    tainted: frozenset[str] = frozenset()
    stop: Stop = never
    _shared: dict[str, CelValue] | None = field(default=None, repr=False)
    _specs: dict[str, ToolSpec] | None = field(default=None, repr=False)
    _conversation: Conversation | None = field(default=None, repr=False)

    def spec(self, name: str) -> ToolSpec | None:
        if self._specs is None:
            self._specs = {tool.name: tool for tool in self.request.tools}
        return self._specs.get(name)

    @property
    def conversation(self) -> Conversation:
        """The request's texts by origin."""
        if self._conversation is None:
            self._conversation = Conversation.of(self.request)
        return self._conversation

    def variables(self) -> dict[str, CelValue]:
        """The variables of conditions that do not depend on the call."""
        if self._shared is None:
            self._shared = {"turn": self._turn(), "history": self._history(), "request": self._request()}
        return self._shared

    def is_tainted(self) -> bool:
        return any(result.digest in self.tainted for result in self.request.results)

    def _turn(self) -> CelValue:
        calls = self.turn.calls if self.turn else ()
        text = "\n".join(self.turn.texts.values()) if self.turn else ""
        return {"calls": [_call_view(c) for c in calls[:MAX_LIST]], "text": text[:_MAX_TEXT]}

    def _history(self) -> CelValue:
        calls = [call for message in self.request.messages for call in message.calls]
        results: list[CelValue] = [
            {"tool": r.tool, "tainted": r.digest in self.tainted} for r in self.request.results[-MAX_LIST:]
        ]
        return {"calls": [_call_view(c) for c in calls[-MAX_LIST:]], "results": results, "tainted": self.is_tainted()}

    def _request(self) -> CelValue:
        user = self.request.tree.get("user")
        return {
            "model": self.request.model,
            "surface": self.request.surface,
            "stream": self.request.stream,
            "user": user if isinstance(user, str) else "",
        }

    def capped(self) -> frozenset[str]:
        """The lists that conditions see shortened."""
        long_history = (
            len(self.request.results) > MAX_LIST or sum(len(m.calls) for m in self.request.messages) > MAX_LIST
        )
        long_turn = self.turn is not None and len(self.turn.calls) > MAX_LIST
        return frozenset(({"calls", "results"} if long_history else set()) | ({"calls"} if long_turn else set()))


def _call_view(call: ToolCall) -> CelValue:
    return {"name": call.name, "text": call.arguments[:_MAX_TEXT]}
