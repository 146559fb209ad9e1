"""A model elsewhere as judge, through litellm: one question, one word. Off unless an operator configures it.

What it is shown (see `view`) leaves this machine. Anything but the one word it was asked for, a refusal above all, is
no verdict. What the provider says is never quoted in an error: it may quote the call, or a key.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from guardproxy.breaker import Breaker, BreakerState
from guardproxy.flights import Failure, Timeout, Unavailable
from guardproxy.judge import formats, view
from guardproxy.judge.formats import POLICY, material
from guardproxy.judge.look import look_at
from guardproxy.judge.view import View
from guardproxy.model import Request, ToolCall
from guardproxy.quiet_litellm import load

_HARM: Final = {"harmful": 1.0, "benign": 0.0}
_AROUND_A_WORD: Final = " \t\r\n.!*_`\"'"
_BEHIND_OURS_S: Final = 5.0  # litellm's own timeout comes after ours, whose error is clear
_MAX_TOKENS: Final = 16


class RemoteJudge:
    """`model` as litellm names it. At most `queue` questions are under way at once. For one event loop."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        queue: int = 16,
        breaker: Breaker | None = None,
    ) -> None:
        self._model = model
        self._api_key = api_key
        self._base_url = base_url
        self._queue = queue
        self._breaker = breaker or Breaker()
        self._under_way = 0
        self._closed = False
        self.truncated = 0
        asked = f"{model} {base_url} {POLICY} {formats.VERSION} {view.VERSION}"
        self.revision = hashlib.sha256(asked.encode()).hexdigest()[:12]

    @property
    def queue_depth(self) -> int:
        """Questions under way; none of them waits for another."""
        return self._under_way

    @property
    def breaker_state(self) -> BreakerState:
        return self._breaker.state

    async def score(self, call: ToolCall, request: Request, deadline_s: float) -> float:
        self._admit()
        self._under_way += 1
        try:
            async with asyncio.timeout(deadline_s):
                answer = await self._ask(call, request, deadline_s)
        except TimeoutError:
            self._breaker.failed()
            raise Timeout(f"the judge gave no verdict within {deadline_s:g} s") from None
        except Failure:
            self._breaker.failed()
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        finally:
            self._under_way -= 1
        self._breaker.succeeded()  # it answers; what it says may still be no verdict
        return verdict(answer)

    def close(self) -> None:
        """Questions under way end with their callers."""
        self._closed = True

    def _admit(self) -> None:
        if self._closed:
            raise Unavailable("the judge is closed")
        if self._under_way >= self._queue:
            raise Unavailable("the judge's queue is full")
        if not self._breaker.admit():
            raise Unavailable("the judge's breaker is open")

    async def _ask(self, call: ToolCall, request: Request, deadline_s: float) -> Mapping[str, Any]:
        """The provider's first choice."""
        arguments = self._question(await look_at(call, request), deadline_s)
        litellm = await asyncio.to_thread(load)
        try:
            answer = await litellm.acompletion(**arguments)
            choice: Mapping[str, Any] = answer.model_dump(mode="json")["choices"][0]
            return choice
        except (TimeoutError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise Failure(f"the judge's provider failed ({type(error).__name__})") from None

    def _question(self, shown: View, deadline_s: float) -> dict[str, Any]:
        self.truncated += shown.truncated
        text = "".join(piece.text for piece in material(shown))
        return {
            "model": self._model,
            "messages": [{"role": "system", "content": POLICY}, {"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": _MAX_TOKENS,
            "stream": False,
            "api_key": self._api_key,
            "api_base": self._base_url,
            "timeout": max(deadline_s, 0) + _BEHIND_OURS_S,
            "drop_params": True,
            "max_retries": 0,
            "num_retries": 0,
            "caching": False,
            "no-log": True,
        }


def verdict(choice: Mapping[str, Any]) -> float:
    """The harm that an answer of one word says. Raises Failure for any other answer."""
    content = (choice.get("message") or {}).get("content")
    if isinstance(content, str):
        harm = _HARM.get(content.strip(_AROUND_A_WORD).lower())
        if harm is not None:
            return harm
    raise Failure("the judge gave no verdict")
