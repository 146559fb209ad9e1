"""What is remembered of stored answers, by whom, and how much of it."""

import asyncio

from guardproxy.history import MemoryHistory, Past, decode_past, encode_past
from guardproxy.strict_json import JsonObject


def item(text: str) -> JsonObject:
    return {"type": "message", "content": text}


def test_an_answer_is_known_to_the_client_that_made_it_and_to_no_other() -> None:
    async def scenario() -> None:
        history = MemoryHistory()
        past = Past("resp_1", "resp_up", (item("a"),), (item("b"),))
        await history.put("me", past)
        assert await history.get("me", "resp_1") == past
        assert await history.get("you", "resp_1") is None
        assert await history.get("me", "resp_up") is None

    asyncio.run(scenario())


def test_the_newer_answer_of_an_id_is_the_one_that_counts() -> None:
    async def scenario() -> None:
        history = MemoryHistory()
        for text in ("old", "new"):
            await history.put("me", Past("conv_1", "conv_1", (item(text),)))
        found = await history.get("me", "conv_1")
        assert found is not None
        assert found.items == (item("new"),)

    asyncio.run(scenario())


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    async def scenario() -> None:
        history = MemoryHistory(max_bytes=3500)
        for name in "abc":
            await history.put("me", Past(name, name, (item(name * 900),)))
        await history.get("me", "a")
        await history.put("me", Past("d", "d", (item("d" * 900),)))
        assert [await history.get("me", name) is not None for name in "abcd"] == [True, False, True, True]

    asyncio.run(scenario())


def test_items_that_answers_share_are_counted_once() -> None:
    async def scenario() -> None:
        history = MemoryHistory(max_bytes=40_000)
        items: tuple[JsonObject, ...] = ()
        for turn in range(100):
            items = (*items, item(f"{turn:0100}"))
            await history.put("me", Past(f"r{turn}", f"r{turn}", items))
        assert await history.get("me", "r0") is not None
        await history.put("me", Past("big", "big", (item("x" * 40_000),)))
        assert await history.get("me", "r99") is None
        assert await history.get("me", "big") is not None
        await history.put("me", Past("small", "small", ()))
        assert await history.get("me", "small") is not None

    asyncio.run(scenario())


def test_single_items_are_known_to_the_same_client_alone() -> None:
    async def scenario() -> None:
        history = MemoryHistory()
        await history.put("me", Past("r", "r", (item("model"),), shown={"msg_1": item("a"), "msg_2": item("b")}))
        assert await history.items("me", ["msg_2", "msg_9", "msg_1"]) == {"msg_1": item("a"), "msg_2": item("b")}
        assert await history.items("you", ["msg_1"]) == {}
        assert await history.items("me", ["r"]) == {}
        assert await history.get("me", "msg_1") is None
        assert await history.get("me", "r") == Past("r", "r", (item("model"),))
        await history.put("me", Past("r2", "r2", (), shown={"msg_1": item("new")}))
        assert await history.items("me", ["msg_1"]) == {"msg_1": item("new")}

    asyncio.run(scenario())


def test_single_items_are_forgotten_as_answers_are() -> None:
    async def scenario() -> None:
        history = MemoryHistory(max_bytes=10_000)
        for turn in range(100):
            mine = item(f"{turn:0500}")
            await history.put("me", Past(f"r{turn}", f"r{turn}", (mine,), shown={f"msg_{turn}": mine}))
            await history.items("me", ["msg_0"])
        known = await history.items("me", [f"msg_{turn}" for turn in range(100)])
        assert next(iter(known)) == "msg_0"  # used in each turn
        assert list(known)[-1] == "msg_99"
        assert 8 <= len(known) <= 12

    asyncio.run(scenario())


def test_small_things_cost_something_too() -> None:
    async def scenario() -> None:
        history = MemoryHistory(max_bytes=10_000)
        for turn in range(1000):
            await history.put("me", Past(f"r{turn}", f"r{turn}", ()))
        assert await history.get("me", "r0") is None
        assert await history.get("me", "r999") is not None

    asyncio.run(scenario())


def test_encoding_loses_nothing() -> None:
    past = Past("a", "b", (item("x"), {"type": "function_call", "n": 1}), (item("y"),), (item("z"),))
    assert decode_past(encode_past(past)) == past
