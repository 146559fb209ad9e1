"""Stored answers in a real Redis, shared by replicas and lost to nobody else."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from guardproxy.errors import HistoryUnavailable
from guardproxy.history import Past
from guardproxy.history_redis import RedisHistory
from guardproxy.strict_json import JsonObject

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")

SAID: JsonObject = {"type": "message", "content": "wörld \u2028"}
PAST = Past("resp_1", "resp_up", (SAID,), ({"type": "x", "n": 1},), ({"type": "y"},))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with Path(folder, "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            found = f"redis://127.0.0.1:{port}/0"
            wait_for(found)
            yield found
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    until = time.monotonic() + 10
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except (OSError, RedisConnectionError):
                assert time.monotonic() < until
                time.sleep(0.05)


def run(url: str, scenario: Callable[[RedisHistory, RedisHistory], Awaitable[None]], keep_s: float = 60) -> None:
    """With two replicas."""

    async def both() -> None:
        one, other = RedisHistory(url, keep_s=keep_s), RedisHistory(url, keep_s=keep_s)
        try:
            await scenario(one, other)
        finally:
            await one.close()
            await other.close()

    asyncio.run(both())


def test_another_replica_knows_it_and_another_client_does_not(url: str) -> None:
    async def scenario(one: RedisHistory, other: RedisHistory) -> None:
        await one.put("me", PAST)
        assert await other.get("me", "resp_1") == PAST
        assert await other.get("you", "resp_1") is None
        assert await other.get("me", "resp_2") is None

    run(url, scenario)


def test_single_items_are_known_to_replicas_and_not_to_other_clients(url: str) -> None:
    async def scenario(one: RedisHistory, other: RedisHistory) -> None:
        await one.put("me", replace(PAST, shown={"msg_1": SAID, "msg_2": {"type": "z"}}))
        assert await other.items("me", ["msg_2", "msg_9", "msg_1"]) == {"msg_1": SAID, "msg_2": {"type": "z"}}
        assert await other.items("you", ["msg_1"]) == {}
        assert await other.items("me", ["resp_1"]) == {}
        assert await other.get("me", "resp_1") == PAST

    run(url, scenario)


def test_an_item_that_is_used_is_kept_longer(url: str) -> None:
    async def scenario(one: RedisHistory, other: RedisHistory) -> None:
        with Redis.from_url(url) as client:
            client.flushall()
            await one.put("me", Past("resp_1", "u", (), shown={"msg_secret": SAID}))
            (key,) = (key for key in client.keys("*") if key.startswith(b"guardproxy:item:"))
            assert b"secret" not in key
            client.expire(key, 5)
            await other.items("me", ["msg_secret"])
            assert 5 < client.ttl(key) <= 60

    run(url, scenario)


def test_keys_hold_nothing_that_a_client_wrote_and_expire(url: str) -> None:
    async def scenario(one: RedisHistory, other: RedisHistory) -> None:
        await one.put("secret-client", Past("resp_secret", "u", ()))

    run(url, scenario, keep_s=50)
    with Redis.from_url(url) as client:
        keys = [key for key in client.keys("*") if 0 < client.ttl(key) <= 50]
        assert len(keys) == 1
        assert b"secret" not in keys[0]


def test_what_cannot_be_read_is_no_unknown_answer(url: str) -> None:
    async def scenario(one: RedisHistory, other: RedisHistory) -> None:
        await one.put("me", Past("resp_broken", "u", (), shown={"msg_broken": SAID}))
        with Redis.from_url(url) as client:
            for key in client.keys("*"):
                client.set(key, b'{"id": "x"')
        with pytest.raises(HistoryUnavailable):
            await one.get("me", "resp_broken")
        with pytest.raises(HistoryUnavailable):
            await one.items("me", ["msg_broken"])

    run(url, scenario)


def test_without_redis_nothing_is_looked_up_or_lost_in_silence() -> None:
    async def scenario(one: RedisHistory, other: RedisHistory) -> None:
        with pytest.raises(HistoryUnavailable):
            await one.get("me", "resp_1")
        with pytest.raises(HistoryUnavailable):
            await one.items("me", ["msg_1"])
        with pytest.raises(HistoryUnavailable):
            await one.put("me", PAST)

    run(f"redis://127.0.0.1:{free_port()}/0", scenario)
