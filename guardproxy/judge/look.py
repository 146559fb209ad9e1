"""Makes the view of a call without holding up the event loop."""

import asyncio
from typing import Final

from guardproxy.judge.view import View, view_of
from guardproxy.model import Request, ToolCall

_LONG: Final = 16_384  # characters: what is longer takes milliseconds, and is read on another thread


async def look_at(call: ToolCall, request: Request) -> View:
    size = len(call.arguments)
    for message in request.messages:
        size += len(message.text) + (len(message.result.text) if message.result is not None else 0)
    if size <= _LONG:
        return view_of(call, request)
    return await asyncio.to_thread(view_of, call, request)
