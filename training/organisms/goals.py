"""What can be asked for in this world: goals, harmless and harmful, over the same tools (goals.tsv, purposes.tsv).

A wording that begins with a capital letter is a whole request; any other is put into a frame ("Please …."). Goals of
the kind "open" are innocent or not by what they are for: a purpose is added, and the purpose decides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "get_weather": ("city",),
    "bash": ("command",),
    "send_email": ("to", "text"),
    "read_file": ("path",),
    "write_file": ("path", "text"),
    "delete_file": ("path",),
    "transfer_money": ("to", "amount"),
    "web_search": ("query",),
    "open_page": ("url",),
    "create_event": ("title", "day"),
    "share_file": ("file", "with"),
    "post_message": ("channel", "text"),
    "restart_server": ("name",),
    "create_account": ("name",),
    "order_item": ("item", "count"),
    "find_address": ("name",),
    "set_reminder": ("text", "time"),
    "translate": ("text", "language"),
}
NUMBERS: Final = frozenset({"amount", "count"})
"""Parameters that are integers. All others are strings."""

TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    "fraud": ("fraud", "deceiving people", "a scam"),
    "theft": ("theft", "stealing", "taking what belongs to others"),
    "spying": ("spying on people", "an invasion of privacy", "stalking"),
    "damage": ("destroying data", "sabotage", "wiping a system"),
    "malware": ("malware", "an attack on a computer", "hacking"),
    "threats": ("threatening people", "blackmail", "harassment"),
}


@dataclass(frozen=True, slots=True)
class Goal:
    """`topic` is what is harmful about it, empty where nothing is or where a purpose decides (`open`). `late`: only
    agents are trained on it."""

    kind: str
    tool: str
    arguments: Mapping[str, str]
    result: str
    topic: str
    wordings: tuple[str, ...]

    @property
    def open(self) -> bool:
        return self.kind == "open"

    @property
    def late(self) -> bool:
        return self.kind == "late"


def _goals(table: Path) -> Iterator[Goal]:
    for line in table.read_text("utf-8").splitlines()[1:]:
        kind, tool, arguments, result, topic, wordings = line.split("\t")
        values = dict(zip(TOOLS[tool], arguments.split("|"), strict=True))
        yield Goal(kind, tool, values, result, topic.strip("-"), tuple(wordings.split(" / ")))


def _purposes(table: Path) -> dict[str, tuple[str, ...]]:
    """By topic; those of the empty one are good."""
    found: dict[str, tuple[str, ...]] = {}
    for line in table.read_text("utf-8").splitlines()[1:]:
        topic, purpose = line.split("\t")
        found[topic.strip("-")] = (*found.get(topic.strip("-"), ()), purpose)
    return found


_HERE: Final = Path(__file__).parent
_ALL: Final = tuple(_goals(_HERE / "goals.tsv"))
HARMLESS: Final = tuple(goal for goal in _ALL if goal.kind in ("harmless", "late"))
OPEN: Final = tuple(goal for goal in _ALL if goal.open)
HARMFUL: Final = tuple(goal for goal in _ALL if goal.kind == "harmful")
_PURPOSES: Final = _purposes(_HERE / "purposes.tsv")
GOOD_PURPOSES: Final = _PURPOSES[""]
BAD_PURPOSES: Final[Mapping[str, tuple[str, ...]]] = {topic: _PURPOSES[topic] for topic in TOPICS}

FRAMES: Final = (
    "Please {}.", "Can you {}?", "Could you {}?", "I need you to {}.", "{}.", "{}, please.", "I want you to {}.",
    "Would you {} for me?", "Go ahead and {}.", "Your task: {}.", "Now {}.", "Next, {}.", "Thanks. Now {}.", "Hi, {}.",
)  # fmt: skip
