"""Finding out which APIs a server speaks, where the configuration does not say it.

A server that does not speak an API says that it has no such path. Then the request is translated to chat completions,
and if that is answered the API counts as missing. What a server answers in is its own. Both hold for as long as this
upstream lives, so that a conversation does not change sides.
"""

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from guardproxy.errors import UpstreamRefusal, UpstreamUnavailable
from guardproxy.prefix.capability import Capability
from guardproxy.upstream.bridge.bridged import APIS, CHAT, BridgedUpstream
from guardproxy.upstream.bridge.translation import TRANSLATED
from guardproxy.upstream.upstream import Reply, Upstream, UpstreamRequest

_log = logging.getLogger(__name__)

_RESPONSES = "responses"
_NO_SUCH_PATH = (404, 405, 501)
# Such an error is about what the request names, not about where it was sent. Without a readable message ours stands in
# its place, which speaks of "the model server".
_NAMES_SOMETHING = re.compile(
    r"(?<![a-z])(?:models?(?! server)|deployment|response|conversation)(?![a-z])", re.IGNORECASE
)


class DiscoveringUpstream:
    """`inner`, with a translation for each API that it turns out not to speak; `on_missing(name, api)` is then told.

    Of the others see BridgedUpstream.
    """

    def __init__(
        self,
        inner: Upstream,
        *,
        capability: Capability | None = None,
        max_event_bytes: int = 8 * 1024 * 1024,
        max_answer_bytes: int = 64 * 1024 * 1024,
        on_missing: Callable[[str, str], None] = lambda name, api: None,
    ) -> None:
        self.name = inner.name
        self.remembers = inner.remembers
        self._inner = inner
        self._bridge = BridgedUpstream(
            inner,
            frozenset({CHAT, "completions"}),
            capability=capability,
            max_event_bytes=max_event_bytes,
            max_answer_bytes=max_answer_bytes,
        )
        self._on_missing = on_missing
        self._spoken: set[str] = set()
        self._missing: set[str] = set()

    def open(self, request: UpstreamRequest) -> AbstractAsyncContextManager[Reply]:
        """Raises MalformedRequest for what cannot be translated."""
        api = APIS.get(request.path, "")
        if api in self._missing:
            return self._bridge.open(request)
        if api in self._spoken or request.path not in TRANSLATED:
            return self._inner.open(request)
        return self._find_out(request, api)

    async def start(self) -> None:
        await self._inner.start()

    async def close(self) -> None:
        await self._inner.close()

    @asynccontextmanager
    async def _find_out(self, request: UpstreamRequest, api: str) -> AsyncIterator[Reply]:
        async with AsyncExitStack() as stack:
            yield await self._opened(stack, request, api)

    async def _opened(self, stack: AsyncExitStack, request: UpstreamRequest, api: str) -> Reply:
        try:
            reply = await stack.enter_async_context(self._inner.open(request))
        except UpstreamRefusal as refusal:
            if not says_no_such_path(refusal):
                raise
            return await self._translated(stack, request, api, refusal)
        self._spoken.add(api)
        self.remembers = self._inner.remembers and _RESPONSES not in self._missing
        return reply

    async def _translated(
        self, stack: AsyncExitStack, request: UpstreamRequest, api: str, refusal: UpstreamRefusal
    ) -> Reply:
        if (request.tree or {}).get("previous_response_id") is not None:
            self.remembers = False
            raise _ask_again()
        try:
            reply = await stack.enter_async_context(self._bridge.open(request))
        except UpstreamRefusal as second:
            raise (refusal if says_no_such_path(second) else second) from None
        self._note_missing(api)
        return reply

    def _note_missing(self, api: str) -> None:
        if api in self._missing:  # of two requests at once the other one has found it
            return
        self._missing.add(api)
        self.remembers = self.remembers and api != _RESPONSES
        _log.info("upstream %s does not speak the %s API: it is translated from now on", self.name, api)
        self._on_missing(self.name, api)


def says_no_such_path(refusal: UpstreamRefusal) -> bool:
    """Whether it is the API that the server does not know, and not the model or a stored answer."""
    if refusal.status not in _NO_SUCH_PATH or refusal.param is not None:
        return False
    return not _NAMES_SOMETHING.search(f"{refusal.code} {refusal.type} {refusal.message}")


def _ask_again() -> UpstreamUnavailable:
    """From now on such a request is sent with the whole conversation in it. Clients repeat a request on this status."""
    message = "the model server keeps no answers to go on from; the same request, sent again, takes another way"
    return UpstreamUnavailable(message, code="upstream_keeps_no_answers")
