"""Whether a request gets a prefix and where, and what is remembered of how servers took it. No I/O but the clock."""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guardproxy.errors import UpstreamRefusal
from guardproxy.model import Injection, Position, Request
from guardproxy.prefix.arms import MAIN, Arm
from guardproxy.prefix.artifact import PrefixArtifact, Use
from guardproxy.prefix.capability import Capability, positions
from guardproxy.prefix.echo import EchoFilter
from guardproxy.prefix.integrity import Integrity
from guardproxy.prefix.memory import Memory
from guardproxy.prefix.verification import Outcome, Verification

_FORGET_AFTER_S = 3600.0
_MODELS_REMEMBERED = 1024
_PROBES_REMEMBERED = 256  # and made in an hour: model names come from clients, and each new one costs a probe

# How servers say that they do not take a prefix where it was put. Only such a refusal is worth a second request.
_NAMES_THE_PREFIX = re.compile(
    r"pre-?fill|continue_final_message|add_generation_prompt|\bprefix\b|last (?:message )?role|(?:last|final) message"
    r"|assistant (?:message|turn|role|prefill|response)|model turn|ends? with (?:a |an )?(?:user|assistant|role)"
    r"|roles? must alternate|role.{0,20}assistant",
    re.IGNORECASE,
)
_REFUSING = (400, 422, 500)  # 500: a chat template that raises


class Turns(StrEnum):
    """On which turns of a conversation the prefix goes in."""

    EVERY = "every"
    FIRST = "first"


class Reason(StrEnum):
    """Why a request gets no prefix."""

    OFF = "off"
    NO_ARTIFACT = "no_artifact"
    ASSISTANT_LAST = "assistant_last"  # the client prefills the turn itself
    CALL_IN_PROGRESS = "call_in_progress"
    LATER_TURN = "later_turn"  # the prefix is for the first turn of a conversation
    GATED = "gated"  # the request's risk is below the gate
    NO_POSITION = "no_position"  # what the request asks for leaves none that is possible
    REFUSED = "refused"  # the server takes it at no position that is possible
    TOKENS = "tokens"  # the prompt is no text
    SUFFIX = "suffix"  # asks for the middle of a text, which is no turn
    ECHO = "echo"  # the prompt comes back in the answer, and the prefix with it


@dataclass(frozen=True, slots=True)
class Inject:
    injection: Injection
    artifact_id: str
    fell_back: bool = False  # a better position was refused, or shown not to work


@dataclass(frozen=True, slots=True)
class Skip:
    reason: Reason

    @property
    def label(self) -> str:
        """As it is counted."""
        return self.outcome if self.reason is Reason.OFF else f"{self.outcome}_{self.reason}"

    @property
    def outcome(self) -> Outcome:
        return Outcome.OFF if self.reason is Reason.OFF else Outcome.SKIPPED


Plan = Inject | Skip


class Prefixer:
    """The first of an arm's artifacts whose model globs match is used; `artifacts` are those of a single arm.
    `upstreams` says by name what each server can do: one that is not named gets the prefix as an instruction.

    `gated`: a prefix is kept from requests whose risk is below `threshold`, or below its artifact's own where that is
    None. Not shared between threads.
    """

    def __init__(
        self,
        artifacts: Sequence[PrefixArtifact] = (),
        *,
        arms: Sequence[Arm] = (),
        keep: bool = False,
        turns: Turns = Turns.EVERY,
        gated: bool = True,
        threshold: float | None = None,
        upstreams: Mapping[str, Capability] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keep = keep
        self.arms = tuple(arms) or (Arm(MAIN, tuple(artifacts)),)
        self._turns = turns
        self.integrity = Integrity(
            text for arm in self.arms for own in arm.artifacts for text in (own.text, own.instruction_text)
        )
        self._fitting: dict[tuple[str, str], PrefixArtifact | None] = {}
        self.gated = gated and (threshold is not None or any(a.gate for arm in self.arms for a in arm.artifacts))
        self._threshold = threshold
        self._upstreams = dict(upstreams or {})
        self._refused: Memory[tuple[str, str], frozenset[Position]] = Memory(_MODELS_REMEMBERED, _FORGET_AFTER_S, clock)
        self._verified: Memory[tuple[str, str, Position], Outcome | None] = Memory(
            _PROBES_REMEMBERED, _FORGET_AFTER_S, clock
        )

    def concerns(self, model: str) -> bool:
        """Whether any arm has a prefix for a model: where none has, there is nothing to compare."""
        return any(self._artifact(arm, model) is not None for arm in self.arms)

    def plan(
        self,
        request: Request,
        upstream: str,
        carried: Collection[Position] = frozenset(Position),
        *,
        arm: Arm | None = None,
        risk: float | None = None,
    ) -> Plan:
        """`carried` are the positions that the request's API can carry. Where the risk is not known the prefix goes
        in: a gate that cannot tell is open."""
        arm = arm or self.arms[0]
        artifact = self._artifact(arm, request.model)
        if artifact is None:
            return Skip(Reason.NO_ARTIFACT if arm.artifacts else Reason.OFF)
        suffix = artifact.position is Use.SUFFIX
        known = positions(self._upstreams.get(upstream, Capability()), request.model, suffix=suffix)
        possible = tuple(p for p in known if p in carried)
        if not possible:
            return Skip(Reason.OFF)
        reason = self._reason_against(request, artifact, risk)
        if reason is not None:
            return Skip(reason)
        if artifact.position is Use.INSTRUCTION:
            possible = tuple(p for p in possible if p is Position.INSTRUCTION)
        elif _wants_an_instruction(request):
            possible = tuple(p for p in possible if not p.prefills)
        if not possible:
            return Skip(Reason.NO_POSITION)
        refused = self._refused.get((upstream, request.model)) or frozenset()
        left = [position for position in possible if position not in refused]
        return self._inject(artifact, left[0], fell_back=len(left) < len(possible)) if left else Skip(Reason.REFUSED)

    def refused(self, upstream: str, model: str, position: Position, error: UpstreamRefusal) -> bool:
        """Whether to send the request again, at the next position: the refusal is about the prefix. Remembers it."""
        if not position.prefills or not _is_about_the_prefix(error):
            return False
        self._avoid(upstream, model, position)
        return True

    def probe_due(self, upstream: str, model: str, position: Position) -> bool:
        """True once for each model and position, for the one who then probes; it is due again after an hour."""
        key = (upstream, model, position)
        if not position.prefills or key in self._verified or self._verified.full:
            return False
        self._verified.put(key, None)
        return True

    def learn(self, upstream: str, model: str, position: Position, shown: Verification) -> None:
        """What a probe showed. A position that is shown not to work is left, as if it had been refused."""
        self._verified.put((upstream, model, position), shown.outcome)
        if shown.refusal is not None:
            self.refused(upstream, model, position, shown.refusal)
        elif shown.failed and position.prefills:
            self._avoid(upstream, model, position)

    def echo_filter(self, plan: Inject) -> EchoFilter | None:
        """For the answer to a request that was sent with `plan`; what is not prefilled is not part of the answer."""
        if not plan.injection.position.prefills:
            return None
        return EchoFilter(plan.injection.text, keep=self.keep, trim=True)

    def outcome(self, plan: Plan, upstream: str, model: str, echoed: bool | None) -> Outcome:
        """What may be claimed of one answer. `echoed` is the echo filter's, None without one."""
        match plan:
            case Skip():
                return plan.outcome
            case Inject(Injection(position=Position.INSTRUCTION)):
                return Outcome.FALLBACK if plan.fell_back else Outcome.INSTRUCTION
            case Inject(Injection(position=Position.SUFFIX)):
                return Outcome.SUFFIX
            case Inject(injection):
                if echoed:
                    return Outcome.APPLIED_ECHO
                return self._verified.get((upstream, model, injection.position)) or Outcome.UNVERIFIED

    def _artifact(self, arm: Arm, model: str) -> PrefixArtifact | None:
        key = (arm.name, model)
        if key not in self._fitting:
            if len(self._fitting) >= _MODELS_REMEMBERED:
                self._fitting.clear()
            self._fitting[key] = next((artifact for artifact in arm.artifacts if artifact.fits(model)), None)
        return self._fitting[key]

    def _reason_against(self, request: Request, artifact: PrefixArtifact, risk: float | None) -> Reason | None:
        last = request.messages[-1] if request.messages else None
        if last is not None and last.role == "assistant":
            return Reason.CALL_IN_PROGRESS if last.calls else Reason.ASSISTANT_LAST
        if request.unprefixed:
            return Reason(request.unprefixed)
        if self._turns is Turns.FIRST and any(message.role == "assistant" for message in request.messages):
            return Reason.LATER_TURN
        threshold = self._threshold_of(artifact)
        return Reason.GATED if threshold is not None and risk is not None and risk < threshold else None

    def _threshold_of(self, artifact: PrefixArtifact) -> float | None:
        if not self.gated:
            return None
        if self._threshold is not None:
            return self._threshold
        return artifact.gate.threshold if artifact.gate is not None else None

    def _inject(self, artifact: PrefixArtifact, position: Position, fell_back: bool = False) -> Inject:
        text = artifact.instruction_text if position is Position.INSTRUCTION else artifact.text
        return Inject(Injection(text, position), artifact.id, fell_back)

    def _avoid(self, upstream: str, model: str, position: Position) -> None:
        known = self._refused.get((upstream, model)) or frozenset()
        self._refused.put((upstream, model), known | {position})


def _wants_an_instruction(request: Request) -> bool:
    """A forced call or a JSON answer cannot begin with a sentence, and a thinking model would skip its thoughts."""
    return request.forced_tool or request.structured_output or _asks_to_think(request.tree)


def _asks_to_think(tree: Mapping[str, Any]) -> bool:
    effort = tree.get("reasoning_effort")
    template = tree.get("chat_template_kwargs")
    switched = [template.get(name) for name in ("enable_thinking", "thinking")] if isinstance(template, Mapping) else []
    return (
        (effort is not None and effort != "none")
        or _is_on(tree.get("reasoning"))
        or _is_on(tree.get("thinking"))
        or any(switched)
    )


def _is_on(setting: object) -> bool:
    """Of `thinking` and `reasoning`, which are objects with a type, an effort or a switch."""
    if not isinstance(setting, Mapping):
        return bool(setting)
    return setting.get("type") != "disabled" and setting.get("enabled") is not False and setting.get("effort") != "none"


def _is_about_the_prefix(error: UpstreamRefusal) -> bool:
    said = " ".join(filter(None, (error.message, error.param, error.code)))
    return error.status in _REFUSING and _NAMES_THE_PREFIX.search(said) is not None
