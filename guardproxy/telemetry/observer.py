"""What an observer is: it is told, and must never be able to stop an answer."""

from typing import Protocol

from guardproxy.exchange import Exchange


class Observer(Protocol):
    """`record` never raises and never blocks: slow work goes to a bounded queue of the observer's own."""

    def record(self, exchange: Exchange) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...
