"""What is remembered of stored answers, so that a request that names one can be judged and, after a block, completed.

A provider that stores an answer remembers a blocked call too, and refuses the next turn unless the call is answered.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

from guardproxy import strict_json
from guardproxy.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class Past:
    """One stored answer and all that came before it.

    `items` is the conversation so far in the surface's own form, the model's blocked calls included; `pending` answers
    those calls, and goes before whatever comes next. `id` is what the client calls the answer, `upstream_id` what the
    provider does: another one where the model was asked again.
    """

    id: str
    upstream_id: str
    items: tuple[JsonObject, ...]
    pending: tuple[JsonObject, ...] = ()


class History(Protocol):
    """Stored answers by the client that made them and their id. Another client's are as unknown as none.

    `get` and `put` raise HistoryUnavailable where the store cannot be reached.
    """

    async def get(self, client: str, id: str) -> Past | None: ...

    async def put(self, client: str, past: Past) -> None: ...

    async def close(self) -> None: ...


class MemoryHistory:
    """In this process, and bounded: the answers that were used least recently are forgotten first.

    Successive answers of a conversation share their items, and each item is measured and counted once.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], Past] = OrderedDict()
        self._items: dict[int, _Shared] = {}  # by identity, which is unique for as long as an answer holds the item

    async def get(self, client: str, id: str) -> Past | None:
        past = self._kept.get((client, id))
        if past is not None:
            self._kept.move_to_end((client, id))
        return past

    async def put(self, client: str, past: Past) -> None:
        replaced = self._kept.pop((client, past.id), None)
        self._kept[client, past.id] = past
        self._count(past)
        if replaced is not None:
            self._forget(replaced)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            self._forget(self._kept.popitem(last=False)[1])

    async def close(self) -> None:
        pass

    def _count(self, past: Past) -> None:
        for item in (*past.items, *past.pending):
            shared = self._items.get(id(item))
            if shared is None:
                shared = self._items[id(item)] = _Shared(len(strict_json.encode(item)))
                self._bytes += shared.size
            shared.holders += 1

    def _forget(self, past: Past) -> None:
        for item in (*past.items, *past.pending):
            shared = self._items[id(item)]
            shared.holders -= 1
            if not shared.holders:
                self._bytes -= self._items.pop(id(item)).size


@dataclass(slots=True)
class _Shared:
    size: int  # bytes
    holders: int = 0


def encode_past(past: Past) -> bytes:
    tree: JsonObject = {
        "id": past.id,
        "upstream_id": past.upstream_id,
        "items": list(past.items),
        "pending": list(past.pending),
    }
    return strict_json.encode(tree)


def decode_past(data: bytes) -> Past:
    """Raises MalformedJson, KeyError or TypeError for what `encode_past` did not make."""
    tree: Any = strict_json.decode_object(data)
    return Past(str(tree["id"]), str(tree["upstream_id"]), tuple(tree["items"]), tuple(tree["pending"]))
