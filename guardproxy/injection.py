"""The learned prefix on its way through one attempt: into the request, and out of the answer again.

That it was applied is never assumed: the answer may show it, and for each model and position one probe is sent in the
background. What is known goes into the exchange.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from guardproxy.errors import GuardproxyError, UpstreamRefusal
from guardproxy.exchange import Exchange
from guardproxy.model import Injection, Request, Turn
from guardproxy.prefix.arms import arm_of
from guardproxy.prefix.echo import EchoFilter
from guardproxy.prefix.injector import Inject, Plan, Prefixer, Reason, Skip
from guardproxy.prefix.integrity import Tampering
from guardproxy.prefix.probe import probe
from guardproxy.prefix.refusals import is_refusal, without
from guardproxy.prefix.verification import Outcome, ProbeAnswer
from guardproxy.stream.frame import Frame
from guardproxy.surfaces.surface import Surface

_log = logging.getLogger(__name__)

AskOnce = Callable[[Request], Awaitable[Frame]]
"""Sends a whole (not streamed) request to the upstream and returns its one frame. Raises UpstreamError."""

_OFF = Skip(Reason.OFF)
_READ = 2000  # characters of an answer in which it refuses, if it does
_probes: set[asyncio.Task[None]] = set()  # a task that nobody refers to may be collected while it runs


def tampering_with(prefixer: Prefixer | None, text: str) -> Sequence[Tampering]:
    """What in a text from outside works against the prefixes at work."""
    return prefixer.integrity.of(text) if prefixer is not None else ()


class PrefixStage:
    """For one attempt. Without a prefixer, or where it skips the request, everything passes untouched."""

    def __init__(
        self,
        prefixer: Prefixer | None,
        surface: Surface,
        request: Request,
        upstream: str,
        exchange: Exchange,
        identity: str = "",
    ) -> None:
        """`identity` is the client's: with the conversation's first words it chooses the arm."""
        concerned = prefixer is not None and prefixer.concerns(request.model)
        self._arm = arm_of(prefixer.arms, request, identity) if prefixer is not None and concerned else None
        self._prefixer = prefixer
        self._surface = surface
        self._request = request
        self._upstream = upstream
        self._exchange = exchange
        self._replan()

    def apply(self, request: Request) -> Request:
        match self._plan:
            case Inject(injection):
                return self._surface.with_injection(request, injection)
            case Skip():
                return request

    def receive(self, frame: Frame) -> Sequence[Frame]:
        """What of a frame is judged and sent: its text without the echo, or nothing while it may yet be one. Before the
        gate, since a text may be a call only without what stood before it.
        """
        if self._echo is None:
            return (frame,)
        return self._echo.receive(frame)

    def fall_back(self, refusal: UpstreamRefusal) -> bool:
        """Whether the refusal was about the prefix and there is another position to try; it is then in force."""
        if not isinstance(self._plan, Inject) or self._prefixer is None:
            return False
        position = self._plan.injection.position
        if not self._prefixer.refused(self._upstream, self._request.model, position, refusal):
            return False
        self._replan()
        return True

    def conclude(self, ask_once: AskOnce) -> None:
        """At the end of the upstream's answer: notes what is known of the prefix, and sends the probe if it is due."""
        if self._prefixer is None or not isinstance(self._plan, Inject):
            return
        model, position = self._request.model, self._plan.injection.position
        echoed = self._echo.echoed if self._echo else None
        self._exchange.prefix_outcome = self._prefixer.outcome(self._plan, self._upstream, model, echoed).value
        if self._prefixer.probe_due(self._upstream, model, position):
            task = asyncio.create_task(self._probe(self._prefixer, ask_once))
            _probes.add(task)
            task.add_done_callback(_probes.discard)

    def note_reply(self, turn: Turn) -> None:
        """What the model did with it, or without it, for the comparison of arms."""
        if self._arm is not None:
            said = self._plan.injection.text if isinstance(self._plan, Inject) else ""
            self._exchange.prefix_reply = _reply(turn, said)

    def _replan(self) -> None:
        self._plan: Plan = _OFF
        self._echo: EchoStage | None = None
        if self._prefixer is None:
            return
        exchange = self._exchange
        exchange.prefix_arm = self._arm.name if self._arm else ""
        plan = self._prefixer.plan(
            self._request, self._upstream, self._surface.positions, arm=self._arm, risk=_risk(exchange)
        )
        match plan:
            case Skip():
                exchange.prefix_position, exchange.prefix_id, exchange.prefix_outcome = "none", "", plan.label
                self._plan = plan
            case Inject(injection, artifact_id):
                exchange.prefix_position, exchange.prefix_id = injection.position.value, artifact_id
                if self._arm is not None and self._arm.shadow:
                    exchange.prefix_outcome = Outcome.SHADOW.value
                    return
                exchange.prefix_outcome = Outcome.UNVERIFIED.value
                self._plan = plan
                texts = self._prefixer.echo_filter(plan)
                self._echo = EchoStage(self._surface, texts, self._request.choices) if texts else None

    async def _probe(self, prefixer: Prefixer, ask_once: AskOnce) -> None:
        assert isinstance(self._plan, Inject)
        surface, model, position = self._surface, self._request.model, self._plan.injection.position

        async def ask(question: str, injection: Injection | None, max_tokens: int) -> ProbeAnswer:
            request = surface.question(model, question, max_tokens)
            frame = await ask_once(surface.with_injection(request, injection) if injection else request)
            usage = surface.usage_of(frame) or {}
            tokens = usage.get("prompt_tokens", usage.get("input_tokens"))
            return ProbeAnswer(surface.texts_of(frame).get(0, ""), tokens if isinstance(tokens, int) else None)

        try:
            prefixer.learn(self._upstream, model, position, await probe(ask, position))
        except GuardproxyError as error:  # nothing was learned: the outcome stays unverified, which is counted
            _log.warning("the probe of upstream %s came to nothing: %s", self._upstream, type(error).__name__)


def _risk(exchange: Exchange) -> float | None:
    """Of the request, as the gate is to see it: not known, so that the prefix goes in, where a tool result is tainted
    or something works against the prefix."""
    if exchange.tainted_results or exchange.prefix_tampering:
        return None
    return exchange.request_risk


def _reply(turn: Turn, prefix: str) -> str:
    """A refusal is said in the first person and calls nothing; the prefix's own words are not the model's."""
    if turn.calls:
        return "calls"
    said = "\n".join(text[: _READ + len(prefix)] for text in turn.texts.values())
    return "refusal" if is_refusal(without(said, prefix)) else "text"


class EchoStage:
    """Takes the echo of a prefix out of frames, however it is spread over them."""

    def __init__(self, surface: Surface, texts: EchoFilter, choices: int = 1) -> None:
        self._surface = surface
        self._texts = texts
        self._choices = choices
        self._over = False
        self._undecided: set[int] = set()
        self._held: list[Frame] = []

    @property
    def echoed(self) -> bool | None:
        return self._texts.echoed

    def receive(self, frame: Frame) -> Sequence[Frame]:
        if self._over:
            return (frame,)
        if frame.tree is None:
            return [*self._take_held(), frame]
        texts = self._surface.texts_of(frame)
        shown = self._shown(texts)
        for choice in self._surface.finished_in(frame):
            rest = self._texts.finish(choice)
            self._undecided.discard(choice)
            if rest and (choice in texts or not self._put_back(choice, rest)):
                shown[choice] = shown.get(choice, "") + rest
        self._held.append(self._surface.with_texts(frame, shown) if shown else frame)
        if self._undecided:
            return ()
        self._over = self._texts.settled(self._choices)
        return self._take_held()

    def _shown(self, texts: Mapping[int, str]) -> dict[int, str]:
        """What each choice shows of the frame's text: nothing while it may be part of an echo."""
        shown: dict[int, str] = {}
        for choice, text in texts.items():
            passed = self._texts.receive(choice, text)
            shown[choice] = passed or ""
            (self._undecided.add if passed is None else self._undecided.discard)(choice)
        return shown

    def _put_back(self, choice: int, rest: str) -> bool:
        """Into the last held frame with text of the choice: one that ends a choice may have no place for text."""
        for place, frame in reversed([*enumerate(self._held)]):
            texts = self._surface.texts_of(frame)
            if choice in texts:
                self._held[place] = self._surface.with_texts(frame, {choice: texts[choice] + rest})
                return True
        return False

    def _take_held(self) -> list[Frame]:
        held, self._held = self._held, []
        return held
