"""Asks a model two short questions to see whether a prefix reaches its turn. Costs about 150 tokens."""

import secrets
from typing import Protocol

from guardproxy.errors import UpstreamRefusal
from guardproxy.model import Injection, Position
from guardproxy.prefix.verification import QUESTION, Nonce, ProbeAnswer, Verification, judge

MAX_TOKENS = 24  # what an answer to the probe may have


class Ask(Protocol):
    """Asks one upstream for one model. Whoever builds it knows the surface and the upstream; this module does not.

    `question` is the only user message, at most `max_tokens` are wanted, at temperature 0. Raises UpstreamError.
    """

    async def __call__(self, question: str, injection: Injection | None, max_tokens: int) -> ProbeAnswer: ...


async def probe(ask: Ask, position: Position) -> Verification:
    """What a probe shows of `position`. Raises UpstreamError, but for a refusal of the prefilled question.

    A fresh nonce each time: no cache and no training set can hold its continuation.
    """
    nonce = Nonce(_four_digits(), _four_digits())
    plain = await ask(QUESTION, None, MAX_TOKENS)
    try:
        prefilled = await ask(QUESTION, Injection(nonce.prefill, position), MAX_TOKENS)
    except UpstreamRefusal as refusal:
        return Verification(refusal=refusal)
    return judge(nonce, plain, prefilled)


def _four_digits() -> str:
    return str(1000 + secrets.randbelow(9000))
