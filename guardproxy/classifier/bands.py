"""What a score means: from which probability on a call is blocked, asked for again, or marked for a person. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Bands:
    """Probabilities from which on each applies; None for a band that is not used. `tainted` takes the place of `block`
    once a flagged tool result is in the conversation, and never loosens it."""

    block: float
    tainted: float
    reask: float | None = None
    review: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tainted", min(self.block, self.tainted))

    def blocks_from(self, *, tainted: bool) -> float:
        return self.tainted if tainted else self.block


@dataclass(frozen=True, slots=True)
class BandsByTool:
    """`tools` maps patterns of tool names (`send_*`) to bands; the first that fits counts."""

    default: Bands
    tools: Mapping[str, Bands]

    def of(self, tool: str) -> Bands:
        return next((bands for pattern, bands in self.tools.items() if fnmatchcase(tool, pattern)), self.default)


def with_changes(bands: Bands, **changes: float | None) -> Bands:
    """`bands` with those that are not None replaced."""
    return replace(bands, **{name: value for name, value in changes.items() if value is not None})
