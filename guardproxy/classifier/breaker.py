"""The breaker under its earlier name."""

from guardproxy.breaker import Breaker, BreakerState

__all__ = ["Breaker", "BreakerState"]
