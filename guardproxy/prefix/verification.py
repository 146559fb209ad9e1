"""What is known about whether a prefix was applied. Pure: the questions are asked in `probe`.

Four kinds of evidence, weakest first, and what each does and does not show:

* none: the server answered. It may have dropped the text, closed the turn behind it or shown it as another role.
* tokens: with the text the server counted so many more prompt tokens that it must be among them. The model has read
  it; it need not have read it as the beginning of its own turn.
* echo: this very answer begins with the text (see `echo`). It says that for this answer, not for the next.
* probe: asked with half a sentence in its mouth, the model went on in the middle of a number that only that half
  sentence holds. So the text was rendered, as the model's own turn, and left open. It shows this for the model and
  the position on a short request without tools, at the time of the probe; results are forgotten after a while.

That the prefix *works*, i.e. that the model behaves better with it, none of them shows: the artifact's scores do.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from guardproxy.errors import UpstreamRefusal

QUESTION = "Finish the sentence that you have begun. Write nothing else."
_CHARACTERS_A_TOKEN = 8  # no tokenizer in use packs English more densely than this on average


class Outcome(StrEnum):
    """What became of the prefix in one exchange; a metric label."""

    OFF = "off"
    SKIPPED = "skipped"
    SHADOW = "shadow"  # all was worked out, and nothing sent
    APPLIED_ECHO = "applied_echo"
    APPLIED_TOKENS = "applied_tokens"
    APPLIED_PROBE = "applied_probe"
    SUFFIX = "suffix"  # sent at the end of the user's words
    INSTRUCTION = "instruction"  # sent as an instruction, as planned
    FALLBACK = "fallback"  # sent as an instruction, because the server did not take it better
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Nonce:
    """Two numbers of four digits. The probe's text holds both once, and ends after repeating the first."""

    head: str
    tail: str

    @property
    def prefill(self) -> str:
        known = "reference number of this conversation is"
        return f"The {known} {self.head}-{self.tail}. Once more: the {known} {self.head}-"


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """An answer's text, and the prompt tokens that the server counted (None: it did not say)."""

    text: str
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class Verification:
    """`rendered`: the model read the text. `continued`: it went on from it within its own turn. None: not known."""

    rendered: bool | None = None
    continued: bool | None = None
    echoes: bool = False
    token_rise: int | None = None
    refusal: UpstreamRefusal | None = None

    @property
    def outcome(self) -> Outcome:
        if self.continued:
            return Outcome.APPLIED_PROBE
        if self.rendered and self.continued is None:
            return Outcome.APPLIED_TOKENS
        return Outcome.UNVERIFIED

    @property
    def failed(self) -> bool:
        """Shown not to be applied as a prefix, which is more than not shown to be."""
        return self.rendered is False or self.continued is False


def judge(nonce: Nonce, plain: ProbeAnswer, prefilled: ProbeAnswer) -> Verification:
    """From a pair of answers to the same question, without and with the nonce's prefill."""
    said = prefilled.text.strip()
    echoes = said.startswith(nonce.prefill)
    said = said.removeprefix(nonce.prefill).strip()
    continued = _continued(nonce, said)
    rise = _rise(plain, prefilled)
    return Verification(_rendered(nonce, said, continued, rise), continued, echoes, rise)


def _continued(nonce: Nonce, said: str) -> bool | None:
    """True: it goes on with the second number. False: it begins anew with a sentence that holds the whole number."""
    if re.match(rf"{nonce.tail}(?!\d)", said):
        return True
    return False if f"{nonce.head}-{nonce.tail}" in said else None


def _rendered(nonce: Nonce, said: str, continued: bool | None, rise: int | None) -> bool | None:
    if continued is not None or nonce.tail in said:
        return True
    if rise is None:
        return None
    return rise >= len(nonce.prefill) // _CHARACTERS_A_TOKEN


def _rise(plain: ProbeAnswer, prefilled: ProbeAnswer) -> int | None:
    if plain.prompt_tokens is None or prefilled.prompt_tokens is None:
        return None
    return prefilled.prompt_tokens - plain.prompt_tokens
