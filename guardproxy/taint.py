"""What is remembered of tool results: which were read, and which of them a guard flagged, by content digest."""

from collections import OrderedDict


class TaintMemory:
    """Bounded; the least recently asked is forgotten first. A forgotten result is simply judged again.

    `revision` is part of the key: a new policy reads every result anew.
    """

    def __init__(self, capacity: int = 65_536) -> None:
        self._capacity = capacity
        self._flagged: OrderedDict[tuple[str, str], bool] = OrderedDict()

    def verdict(self, revision: str, digest: str) -> bool | None:
        """True for flagged, False for clean, None for not seen."""
        key = (revision, digest)
        if key in self._flagged:
            self._flagged.move_to_end(key)
        return self._flagged.get(key)

    def remember(self, revision: str, digest: str, flagged: bool) -> None:
        self._flagged[revision, digest] = flagged
        if len(self._flagged) > self._capacity:
            self._flagged.popitem(last=False)
