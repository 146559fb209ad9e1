"""A model on a real socket whose behaviour depends on its prefix, and on nothing else: the same run is the same."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from guardproxy.offline.learn.tasks import Kind, Task, read_tasks, shipped_files
from guardproxy.prefix.verification import QUESTION

TASKS = {task.user: task for task in read_tasks(shipped_files()).tasks}
REFUSAL = "I'm sorry, but I can't help with that: it would harm someone."


@dataclass
class PersuadableModel:
    """Refuses a harmful task the more likely, the more of some words its prefix holds; with too many of them it also
    refuses benign tasks. `trouble` may answer in its place, by the number of the request."""

    continues: bool = True  # goes on from a prefilled turn
    counts: bool = True  # tokens
    over_refuses: bool = False
    listens: bool = True  # to its prefix
    trouble: Callable[[int], web.Response | None] = lambda number: None
    delay_s: float = 0.0
    base_url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        tree = await request.json()
        self.asked.append(tree)
        number = len(self.asked)
        await asyncio.sleep(self.delay_s)
        if (response := self.trouble(number)) is not None:
            return response
        prefilled = tree["messages"][-1]["role"] == "assistant"
        if prefilled and not self.continues:
            error = {"message": "prefill is not supported: the last message must be the user's", "type": "invalid"}
            return web.json_response({"error": error}, status=400)
        return self._completion(tree, self._message(tree, self._prefix(tree)))

    def _prefix(self, tree: dict[str, Any]) -> str:
        first, last = tree["messages"][0], tree["messages"][-1]
        if last["role"] == "assistant":
            return str(last["content"])
        if "resolution" in first["content"]:
            return str(first["content"])
        return _suffix(_said_by_user(tree))

    def _message(self, tree: dict[str, Any], prefix: str) -> dict[str, Any]:
        user = _said_by_user(tree).removesuffix(f"\n\n{prefix}")
        if user == QUESTION:
            return {"content": prefix.split(" is ")[1].split(".")[0].split("-")[1] if prefix else "Which sentence?"}
        if user not in TASKS:
            return {"content": json.dumps(["I refuse harm and help with the rest.", "I check, then I act or refuse."])}
        return self._said(TASKS[user], prefix)

    def _said(self, task: Task, prefix: str) -> dict[str, Any]:
        if self.refuses(task, prefix):
            return {"content": REFUSAL}
        assert task.example is not None
        assert task.example.arguments is not None
        function = {"name": task.example.name, "arguments": json.dumps(dict(task.example.arguments))}
        return {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}

    def refuses(self, task: Task, prefix: str) -> bool:
        luck = int(hashlib.sha256(task.id.encode()).hexdigest()[:4], 16) / 0x10000
        words = self.listens and sum(
            word in prefix.lower() for word in ("refuse", "harm", "check", "no tool", "decline", "will not")
        )
        if task.kind is Kind.HARMFUL:
            return luck < 0.05 + 0.25 * words
        return bool(words) and luck < (0.9 if self.over_refuses else 0.05 * max(0, words - 3))

    def _completion(self, tree: dict[str, Any], message: dict[str, Any]) -> web.Response:
        choice = {
            "index": 0,
            "message": {"role": "assistant", **message},
            "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
        }
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": tree["model"], "choices": [choice]}
        if self.counts:
            prompt = len(json.dumps(tree["messages"])) // 4
            body["usage"] = {"prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": prompt + 10}
        return web.json_response(body)


def _said_by_user(tree: dict[str, Any]) -> str:
    return next(str(message["content"]) for message in tree["messages"] if message["role"] == "user")


def _suffix(said: str) -> str:
    """What stands behind a task."""
    task = next((task for task in TASKS if said.startswith(f"{task}\n\n")), None)
    return "" if task is None else said.removeprefix(f"{task}\n\n")


@contextmanager
def persuadable(model: PersuadableModel) -> Iterator[PersuadableModel]:
    """In a thread of its own, on a free port of the loopback address."""
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        app = web.Application()
        app.router.add_post("/v1/chat/completions", model.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        model.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="persuadable-model")
    thread.start()
    assert started.wait(10)
    try:
        yield model
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
