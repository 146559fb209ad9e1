"""`python -m bench.first_stage`: what the classifier's first stage costs, as one JSON object.

The whole of the guard, without llama.cpp, on calls and results of the own corpus, each as the client sends it again: a
request that was parsed anew. `decided` is a new call in a conversation that was read at an earlier turn, `cached` the
same call again, `first_turn` a call in a conversation never seen before. `result` is a new tool result read for orders,
`index` the same result made ready to be searched, both for 1,000 characters. Microseconds of CPU of this thread, the
least of several rounds: whatever else the machine does can only add to it.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median, quantiles
from typing import Any

from guardproxy.classifier.bands import Bands, BandsByTool
from guardproxy.classifier.model_file import load_first_stage
from guardproxy.guards.classifier import ClassifierGuard
from guardproxy.guards.guard import Context
from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult, ToolSpec, Turn
from guardproxy.provenance import Conversation, trace
from training.corpus import calls, results

SEED = 1
PAIRS = 8  # of each domain of the corpora
ROUNDS = 7
_LEAST_RESULT = 200  # characters: shorter ones say little about a thousand


def main() -> None:
    json.dump(asyncio.run(figures()), sys.stdout, indent=2)
    print()


async def figures(pairs: int = PAIRS, rounds: int = ROUNDS) -> dict[str, Any]:
    first = load_first_stage()
    bands = Bands(first.thresholds.call, first.thresholds.tainted)
    guard = ClassifierGuard(first=first, engine=None, bands=BandsByTool(bands, {}), policy_revision="bench")
    looked = [await _call_costs(guard, row, rounds) for row in calls.rows(SEED, pairs)]
    texts = [row["tool_result"] for row in islice(results.rows(SEED, 1), 0, None, 64 // pairs)]
    texts = [text for text in texts if len(text) >= _LEAST_RESULT]
    read = [await _result_costs(guard, text, rounds) for text in texts]
    return {
        "us_of_cpu": {name: _spread([cost[name] for cost in looked]) for name in looked[0]},
        "us_of_cpu_per_1000_characters": {name: _spread([cost[name] for cost in read]) for name in read[0]},
        "calls": len(looked), "results": len(read), "rounds": rounds,
    }  # fmt: skip


async def _call_costs(guard: ClassifierGuard, row: dict[str, Any], rounds: int) -> dict[str, float]:
    call = _call(row["tool_call"]["name"], row["tool_call"]["arguments"])

    def judged(round: int, *, new: str = "") -> Callable[[], Awaitable[object]]:
        turn = replace(call, arguments=call.arguments + " " * round)  # as new as one with other values, and like it
        context = Context(_request(row, new), "bench")
        return lambda: guard.review(Turn((turn,), {}, {}), (turn,), context)

    found: dict[str, list[float]] = {"first_turn": [], "decided": [], "cached": []}
    for round in range(rounds):
        new = f"({row['id']} {round})"
        found["first_turn"].append(await _spent(judged(0, new=new)))
        found["decided"].append(await _spent(judged(1 + round, new=new)))
        found["cached"].append(await _spent(judged(1 + round, new=new)))
    return {name: min(costs) for name, costs in found.items()}


async def _result_costs(guard: ClassifierGuard, text: str, rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {"result": [], "index": []}
    nothing = Context(Request("chat_completions", "m", False, {}, (), ()), "bench")

    async def index(result: ToolResult) -> object:
        message = Message("tool", result.text, (), result)
        request = Request("chat_completions", "m", False, {}, (message,), ())
        return trace(_call("look", {}), Conversation.of(request)).features()

    for round in range(rounds):
        result = ToolResult.of("c", "look", f"{text} {round}")
        found["result"].append(await _spent(lambda result=result: guard.review_result(result, nothing)))  # type: ignore[misc]
        found["index"].append(await _spent(lambda result=result: index(result)))  # type: ignore[misc]
    return {name: min(costs) / len(text) * 1000 for name, costs in found.items()}


async def _spent(work: Callable[[], Awaitable[object]]) -> float:
    started = time.thread_time()
    await work()
    return (time.thread_time() - started) * 1e6


def _spread(costs: Sequence[float]) -> dict[str, float]:
    tenths = quantiles(costs, n=100)
    return {"p50": round(median(costs)), "p90": round(tenths[89]), "p99": round(tenths[98])}


def _call(name: str, arguments: Any) -> ToolCall:
    return ToolCall(CallKey(0, 0), CallKind.FUNCTION, "c", name, json.dumps(arguments))


def _request(row: dict[str, Any], new: str) -> Request:
    """Every object in it is its own, as after parsing. `new` makes it a conversation never seen before."""
    tools = tuple(ToolSpec(CallKind.FUNCTION, *_declared(tool), None) for tool in row["tools"] or ())
    messages = tuple(_messages(json.loads(json.dumps(row["history"])), f"{row['system']} {new}".strip()))
    return Request("chat_completions", "m", False, {}, messages, tools)


def _messages(history: Sequence[dict[str, Any]], system: str) -> Iterator[Message]:
    yield Message("system", system)
    for message in history:
        role, text = message["role"], message.get("content") or ""
        made = [
            _call(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()
        ]
        result = ToolResult.of(message.get("tool_call_id", ""), "", text) if role == "tool" else None
        yield Message(role, text, tuple(made), result)


def _declared(tool: dict[str, Any]) -> tuple[str, str]:
    spec = tool.get("function", tool)
    return spec["name"], spec.get("description", "")


if __name__ == "__main__":
    main()
