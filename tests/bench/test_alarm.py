import asyncio
from functools import partial

from bench.alarm import Alarm, now_ns


def test_alarms_ring_in_order_of_their_times_and_never_early() -> None:
    rung: list[tuple[str, int]] = []

    def ring(name: str, due_ns: int) -> None:
        rung.append((name, now_ns() - due_ns))

    async def wait() -> None:
        alarm, done = Alarm(), asyncio.Event()
        start = now_ns()
        for name, after_ms in (("c", 9), ("a", 3), ("b", 6), ("past", -5)):
            due = start + int(after_ms * 1e6)
            alarm.at(due, partial(ring, name, due))
        alarm.at(start + 12_000_000, done.set)
        await asyncio.wait_for(done.wait(), 5)
        alarm.close()

    asyncio.run(wait())
    assert [name for name, _ in rung] == ["past", "a", "b", "c"]
    assert all(late_ns >= 0 for _, late_ns in rung)


def test_an_alarm_may_set_the_next() -> None:
    async def wait() -> int:
        alarm, done, count = Alarm(), asyncio.Event(), 0

        def ring() -> None:
            nonlocal count
            count += 1
            if count == 5:
                done.set()
            else:
                alarm.at(now_ns() + 500_000, ring)

        alarm.at(now_ns(), ring)
        await asyncio.wait_for(done.wait(), 5)
        alarm.close()
        return count

    assert asyncio.run(wait()) == 5
