"""A text as the artifact and the prefixer that the proxy would inject it with, at one position."""

from typing import Final

from guardproxy.model import Position
from guardproxy.prefix.artifact import Learned, PrefixArtifact, Use
from guardproxy.prefix.capability import Capability
from guardproxy.prefix.injector import Prefixer, Turns

_NO_DIGEST: Final = "sha256:" + "0" * 64  # a candidate is in no file that could be altered


def prefixer_for(
    text: str, position: Position, upstream: str, *, turns: Turns = Turns.EVERY, keep: bool = False
) -> Prefixer:
    """`keep`: what the model is made to say stays in the conversation."""
    capability = {upstream: Capability(prefill=position.value)}
    return Prefixer([_artifact(text, position)], upstreams=capability, turns=turns, keep=keep)


def use_of(position: Position) -> Use:
    match position:
        case Position.INSTRUCTION:
            return Use.INSTRUCTION
        case Position.SUFFIX:
            return Use.SUFFIX
        case _:
            return Use.PREFILL


def _artifact(text: str, position: Position) -> PrefixArtifact:
    return PrefixArtifact(
        version=1,
        id="candidate",
        text=text,
        learned=Learned(method="candidate", date=None, source="guardproxy learn"),
        models=["*"],
        position=use_of(position),
        scores=None,
        digest=_NO_DIGEST,
    )
