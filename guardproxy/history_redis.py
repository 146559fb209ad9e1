"""Stored answers in Redis, so that any replica can serve the next request of a conversation.

Each answer is written with all that came before it: a conversation is read in one step, and what is forgotten of it is
forgotten whole.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from guardproxy import strict_json
from guardproxy.errors import HistoryUnavailable
from guardproxy.history import Past, decode_past, encode_past
from guardproxy.strict_json import JsonObject

_PAST, _ITEM = "guardproxy:past:", "guardproxy:item:"
_TIMEOUT_S = 2.0


class RedisHistory:
    """`keep_s` is how long an answer or an item is kept after it was last written or read.

    Nothing is asked of Redis at start.
    """

    def __init__(self, url: str, *, keep_s: float) -> None:
        self._keep_s = int(keep_s)
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, protocol=3
        )

    async def get(self, client: str, id: str) -> Past | None:
        """Raises HistoryUnavailable also for what Redis holds and this version cannot read."""
        try:
            data: Any = await self._redis.getex(_key(_PAST, client, id), ex=self._keep_s)
            return None if data is None else decode_past(data)
        except (RedisError, OSError, strict_json.MalformedJson, KeyError, TypeError):
            raise HistoryUnavailable("Earlier answers cannot be looked up now; try again shortly.") from None

    async def items(self, client: str, ids: Sequence[str]) -> Mapping[str, JsonObject]:
        """Raises HistoryUnavailable as `get` does."""
        try:
            async with self._redis.pipeline(transaction=False) as asked:
                for id in ids:
                    asked.getex(_key(_ITEM, client, id), ex=self._keep_s)
                found: list[Any] = await asked.execute()
            known = zip(ids, found, strict=True)
            return {id: strict_json.decode_object(data) for id, data in known if data is not None}
        except (RedisError, OSError, strict_json.MalformedJson, TypeError):
            raise HistoryUnavailable("Earlier answers cannot be looked up now; try again shortly.") from None

    async def put(self, client: str, past: Past) -> None:
        try:
            async with self._redis.pipeline(transaction=True) as written:
                for id, item in past.shown.items():
                    written.set(_key(_ITEM, client, id), strict_json.encode(item), ex=self._keep_s)
                written.set(_key(_PAST, client, past.id), encode_past(past), ex=self._keep_s)
                await written.execute()
        except (RedisError, OSError):
            raise HistoryUnavailable("The answer cannot be remembered now; try again shortly.") from None

    async def close(self) -> None:
        await self._redis.aclose()


def _key(prefix: str, client: str, id: str) -> str:
    """Ids come from clients, so they are hashed: no length, no character of theirs reaches a key."""
    return prefix + hashlib.sha256(f"{client}\n{id}".encode("utf-8", "surrogatepass")).hexdigest()
