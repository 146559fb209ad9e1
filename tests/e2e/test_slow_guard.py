"""A guard that takes its time, in front of clients that are used to servers that do not."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from openai import OpenAI

from guardproxy.decision import Verdict
from guardproxy.runtime import Limits
from guardproxy.testing.chat import call, events, finish
from guardproxy.testing.fakes import FakeGuard, finding
from guardproxy.testing.proxy import proxy
from guardproxy.testing.service import eventually
from guardproxy.testing.tools import TOOLS

ASKED = [{"role": "user", "content": "Hello."}]


@contextmanager
def served(guard: FakeGuard) -> Iterator[str]:
    """The application over loopback, in this process, since no setting slows a guard down."""
    answer = [events([call("bash", '{"command": "ls"}'), finish()])]
    app = proxy(answer, guards=[guard], limits=Limits(keepalive_s=0.1)).app
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or None, "the server's start")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(10)


def listen(base_url: str) -> list[Any]:
    with OpenAI(base_url=base_url, api_key="sk-client", max_retries=0, timeout=0.8) as impatient:
        stream = impatient.chat.completions.create(model="m", messages=ASKED, tools=TOOLS, stream=True)
        return [choice for chunk in stream for choice in chunk.choices]


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.BLOCK], ids=lambda verdict: verdict.label)
def test_a_stream_outlives_its_client_s_patience_while_a_guard_thinks(verdict: Verdict) -> None:
    guard = FakeGuard(lambda _: [finding(verdict)], delay_s=1.5, deadline_s=5)
    with served(guard) as base_url:
        started = time.monotonic()
        choices = listen(base_url)
    assert time.monotonic() - started >= 1.5
    assert any(choice.delta.tool_calls for choice in choices) == (verdict is Verdict.ALLOW)
    assert choices[-1].finish_reason == ("tool_calls" if verdict is Verdict.ALLOW else "stop")
