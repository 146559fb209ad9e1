"""`python -m bench.prefix`: what a learned prefix costs in the proxy, as one JSON object.

For one request of an agent at work (a system prompt, a task, three tool results, then the next turn): planning with
arms and a gate, looking at the user's words and at one new tool result of 2,000 characters, writing the prefix into the
request, taking its echo out of a streamed answer of 20 events, and noting what the model did; without sockets and
guards. The same without a prefix is taken off. Microseconds of CPU, the least of several rounds.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guardproxy.exchange import Exchange
from guardproxy.injection import PrefixStage, tampering_with
from guardproxy.model import Position, Request, Turn
from guardproxy.prefix.arms import Arm
from guardproxy.prefix.artifact import Gate, Learned, PrefixArtifact, Use
from guardproxy.prefix.capability import Capability
from guardproxy.prefix.injector import Prefixer
from guardproxy.stream.frame import Frame
from guardproxy.surfaces.chat_completions import ChatCompletions
from guardproxy.surfaces.surface import RequestRules
from guardproxy.testing import chat

REQUESTS = 500
ROUNDS = 9
TEXT = "I will help with what harms nobody, and before I call a tool I check what it does; what would do harm I refuse."
RESULT = "total 48\ndrwxr-xr-x 2 agent agent 4096 Nov 21 10:00 reports\n" * 33


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    use: Use = Use.PREFILL
    arms: int = 1
    echoed: bool = False


CASES = (
    Case("prefill"),
    Case("prefill, echoed", echoed=True),
    Case("prefill, two arms", arms=2),
    Case("suffix", Use.SUFFIX),
    Case("instruction", Use.INSTRUCTION),
)


def main() -> None:
    costs = {case.name: round(cost(case), 1) for case in CASES}
    seen = {"new result of 2,000 characters": round(look_cost(), 1)}
    json.dump({"us_of_cpu_per_request": costs, "us_of_cpu_once": seen, "requests": REQUESTS}, sys.stdout, indent=2)
    print()


def cost(case: Case) -> float:
    request, frames = _request(), _frames(case.echoed)
    bare = _least(lambda: _pass(None, request, frames))
    prefixer = _prefixer(case)
    _pass(prefixer, request, frames)  # the first of a model is probed, which is not each request's cost
    return _least(lambda: _pass(prefixer, request, frames)) - bare


def look_cost() -> float:
    """Looking at a text that was not seen before, which is done once."""
    prefixer = _prefixer(Case("look"))
    number = iter(range(10**9))
    return _least(lambda: tampering_with(prefixer, f"{RESULT}{next(number)}"))  # the copy is a microsecond of it


def _pass(prefixer: Prefixer | None, request: Request, frames: Sequence[Frame]) -> None:
    exchange = Exchange("bench", "chat_completions", "r")
    exchange.request_risk = 0.9
    tampering_with(prefixer, request.messages[1].text)
    stage = PrefixStage(prefixer, ChatCompletions(), request, "main", exchange, "client")
    stage.apply(request)
    for frame in frames:
        stage.receive(frame)
    stage.note_reply(_TURN)


def _least(once: Callable[[], object]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(REQUESTS):
            once()
        rounds.append(time.process_time() - started)
    return min(rounds) / REQUESTS * 1e6


def _prefixer(case: Case) -> Prefixer:
    artifact = PrefixArtifact(
        version=1,
        id="bench",
        text=TEXT,
        learned=Learned(method="bench", date=None, source="bench"),
        models=["*"],
        position=case.use,
        scores=None,
        gate=Gate(threshold=0.5),
        digest="sha256:" + "0" * 64,
    )
    arms = [Arm(f"arm-{n}", (artifact,)) for n in range(case.arms)]
    capability = Capability(Position.CONTINUE_FINAL_MESSAGE.value if case.use is Use.PREFILL else "auto", "vllm")
    return Prefixer(arms=arms, upstreams={"main": capability})


def _request() -> Request:
    messages: list[object] = [
        {"role": "system", "content": "You are an agent with tools. " * 40},
        {"role": "user", "content": "Look through the reports and tell me what was sold in November, by country."},
    ]
    for number in range(3):
        messages.append(
            {"role": "assistant", "content": None, "tool_calls": [chat.whole_call("ls", "{}", f"c{number}")]}
        )
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": RESULT})
    return ChatCompletions().parse(chat.request(messages=messages), RequestRules())


def _frames(echoed: bool) -> list[Frame]:
    words = (
        "Here is what I found in the reports: most of it was sold in France, then in Spain and Italy, and so on".split()
    )
    said = ([TEXT] if echoed else []) + [f"{word} " for word in words[:20]]
    return [Frame(chat.text(text)) for text in said]


_TURN = Turn((), {0: "Here is what I found in the reports: most of it was sold in France. " * 5}, {0: "stop"})


if __name__ == "__main__":
    main()
