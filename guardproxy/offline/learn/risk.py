"""The risk of a task's request, as the proxy's own guards tell it: what a gate goes by."""

from collections.abc import Awaitable, Callable, Sequence

from guardproxy.guards.guard import Context, Guard
from guardproxy.model import Request
from guardproxy.review import review_request

RiskOf = Callable[[Request], Awaitable[float | None]]
"""None: nobody can tell."""


def risk_by(guards: Sequence[Guard]) -> RiskOf:
    async def risk_of(request: Request) -> float | None:
        return (await review_request(guards, request, Context(request, "learn"))).risk

    return risk_of
