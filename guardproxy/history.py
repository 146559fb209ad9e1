"""What is remembered of stored answers, so that a request that names one can be judged and, after a block, completed.

A provider that stores an answer remembers a blocked call too, and refuses the next turn unless the call is answered.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from guardproxy import strict_json
from guardproxy.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class Past:
    """One stored answer and all that came before it.

    `items` is the conversation so far in the surface's own form, the model's blocked calls included; `pending` answers
    those calls, and goes before whatever comes next. `id` is what the client calls the answer, `upstream_id` what the
    provider does: another one where the model was asked again.

    A blocked call that nobody can answer is not among the items. The provider has it all the same, so there one goes on
    from the answer before: `upstream_id` is that one's, or empty, and `since` is what has been said after it.

    `shown` are this answer's own items as the client saw them, by the ids under which it may refer to them. They are
    kept one by one, and are not in what `get` finds.
    """

    id: str
    upstream_id: str
    items: tuple[JsonObject, ...]
    pending: tuple[JsonObject, ...] = ()
    since: tuple[JsonObject, ...] = ()
    shown: Mapping[str, JsonObject] = field(default_factory=dict)


class History(Protocol):
    """Stored answers by the client that made them and their id. Another client's are as unknown as none.

    All but `close` raise HistoryUnavailable where the store cannot be reached.
    """

    async def get(self, client: str, id: str) -> Past | None: ...

    async def items(self, client: str, ids: Sequence[str]) -> Mapping[str, JsonObject]:
        """Single items of stored answers, as the client saw them. Ids that are not known are left out."""
        ...

    async def put(self, client: str, past: Past) -> None: ...

    async def close(self) -> None: ...


_ENTRY_BYTES = 200  # of what holds an answer or an item, beside the items themselves


class _Key(NamedTuple):
    client: str
    id: str
    single: bool  # of an item, not of an answer


class MemoryHistory:
    """In this process, and bounded: the answers and items that were used least recently are forgotten first.

    Successive answers of a conversation share their items, and each item is measured and counted once.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[_Key, Past | JsonObject] = OrderedDict()
        self._shared: dict[int, _Shared] = {}  # by identity, which is unique for as long as something holds the item

    async def get(self, client: str, id: str) -> Past | None:
        found = self._find(_Key(client, id, single=False))
        return found if isinstance(found, Past) else None

    async def items(self, client: str, ids: Sequence[str]) -> Mapping[str, JsonObject]:
        found = {id: self._find(_Key(client, id, single=True)) for id in ids}
        return {id: item for id, item in found.items() if isinstance(item, dict)}

    async def put(self, client: str, past: Past) -> None:
        for id, item in past.shown.items():
            self._enter(_Key(client, id, single=True), item)
        self._enter(_Key(client, past.id, single=False), replace(past, shown={}))
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            self._forget(self._kept.popitem(last=False)[1])

    async def close(self) -> None:
        pass

    def _find(self, key: _Key) -> Past | JsonObject | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def _enter(self, key: _Key, entry: Past | JsonObject) -> None:
        replaced = self._kept.pop(key, None)
        self._kept[key] = entry
        self._count(entry)
        if replaced is not None:
            self._forget(replaced)

    def _count(self, entry: Past | JsonObject) -> None:
        self._bytes += _ENTRY_BYTES
        for item in _items_of(entry):
            shared = self._shared.get(id(item))
            if shared is None:
                shared = self._shared[id(item)] = _Shared(len(strict_json.encode(item)))
                self._bytes += shared.size
            shared.holders += 1

    def _forget(self, entry: Past | JsonObject) -> None:
        self._bytes -= _ENTRY_BYTES
        for item in _items_of(entry):
            shared = self._shared[id(item)]
            shared.holders -= 1
            if not shared.holders:
                self._bytes -= self._shared.pop(id(item)).size


def _items_of(entry: Past | JsonObject) -> tuple[JsonObject, ...]:
    return (*entry.items, *entry.pending, *entry.since) if isinstance(entry, Past) else (entry,)


@dataclass(slots=True)
class _Shared:
    size: int  # bytes
    holders: int = 0


def encode_past(past: Past) -> bytes:
    """An answer, without what is kept of its items one by one."""
    tree: JsonObject = {
        "id": past.id,
        "upstream_id": past.upstream_id,
        "items": list(past.items),
        "pending": list(past.pending),
        "since": list(past.since),
    }
    return strict_json.encode(tree)


def decode_past(data: bytes) -> Past:
    """Raises MalformedJson, KeyError or TypeError for what `encode_past` did not make."""
    tree: Any = strict_json.decode_object(data)
    items, pending, since = (tuple(tree[name]) for name in ("items", "pending", "since"))
    return Past(str(tree["id"]), str(tree["upstream_id"]), items, pending, since)
