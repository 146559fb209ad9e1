"""What goes to the model is judged before it goes: the results of its tools, and what the user asks for."""

import asyncio
import time
from dataclasses import replace

from guardproxy.exchange import Exchange
from guardproxy.guards.guard import Context
from guardproxy.injection import tampering_with
from guardproxy.model import Request
from guardproxy.review import review_request, review_result
from guardproxy.runtime import Runtime


async def review_results(request: Request, runtime: Runtime, exchange: Exchange) -> Context:
    """What the guards say of the results of tools that go to the model. Each is judged once, however often it is
    sent."""
    said = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
    exchange.prefix_tampering.update(f"user_{kind}" for kind in tampering_with(runtime.prefixer, said))
    return Context(request, runtime.revision, await _flagged(request, runtime, exchange))


class RequestReview:
    """What the guards say of what the user asks for. It goes on while the upstream answers, and is waited for where it
    is needed first: before a prefix that has a gate, or by the review of the turn."""

    def __init__(self, runtime: Runtime, context: Context, exchange: Exchange) -> None:
        self._exchange = exchange
        self._task = asyncio.create_task(_judged(runtime, context, exchange))

    async def context(self) -> Context:
        """The context with what was found."""
        started = time.perf_counter()
        context = await self._task
        self._exchange.guard_seconds += time.perf_counter() - started
        return context

    def drop(self) -> None:
        """Nobody waits for it any more."""
        self._task.cancel()


async def _judged(runtime: Runtime, context: Context, exchange: Exchange) -> Context:
    review = await review_request(runtime.guards, context.request, context)
    exchange.uninspected.update(f"guard_failed_{guard}" for guard in review.failures_allowed)
    exchange.uninspected.update(review.uninspected)
    exchange.request_risk, exchange.request_flagged = review.risk, review.flagged
    return replace(context, risky=review.flagged)


async def _flagged(request: Request, runtime: Runtime, exchange: Exchange) -> frozenset[str]:
    """The digests of the flagged tool results. Each result is judged once, however often it is sent."""
    context = Context(request, runtime.revision)
    flagged: set[str] = set()
    for result in request.results:
        verdict = runtime.taint.verdict(runtime.revision, result.digest)
        if verdict is None:
            started = time.perf_counter()
            review = await review_result(runtime.guards, result, context)
            exchange.guard_seconds += time.perf_counter() - started
            exchange.uninspected.update(f"guard_failed_{guard}" for guard in review.failures_allowed)
            exchange.uninspected.update(review.uninspected)
            tampering = tampering_with(runtime.prefixer, result.text)
            exchange.prefix_tampering.update(f"result_{kind}" for kind in tampering)
            verdict = review.flagged or bool(tampering)
            if review.certain:
                runtime.taint.remember(runtime.revision, result.digest, verdict)
        if verdict:
            flagged.add(result.digest)
    exchange.tainted_results = tuple(sorted(flagged))
    return frozenset(flagged)
