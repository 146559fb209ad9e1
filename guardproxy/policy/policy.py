"""A policy: all packs in force, compiled."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from guardproxy.decision import Mode
from guardproxy.policy.compile import CompiledRule
from guardproxy.policy.names import NameGlobs
from guardproxy.policy.schema import CaseModel

_MAX_NAMES = 4_096


@dataclass(frozen=True, slots=True)
class PackCase:
    """A pack's own test, and where it is written.

    `scope` holds the rules of the pack and of those that it extends, with the modes that it gives them: a case speaks
    for its own pack, whatever other packs are in force beside it.
    """

    source: str
    line: int | None
    pack: str
    case: CaseModel
    scope: Mapping[str, Mode]


@dataclass(frozen=True, slots=True)
class Policy:
    """`revision` is 12 hex digits of a digest over everything that was compiled."""

    revision: str
    packs: tuple[str, ...]
    rules: tuple[CompiledRule, ...]
    tests: tuple[PackCase, ...] = ()
    opaque: NameGlobs | None = None  # opaque calls that a pack names
    hold_text_actions: bool = False
    _by_name: dict[str, tuple[CompiledRule, ...]] = field(default_factory=dict, repr=False, compare=False)

    def rules_for(self, tool: str) -> tuple[CompiledRule, ...]:
        """The call rules about this tool, in order; remembered by name."""
        found = self._by_name.get(tool)
        if found is None:
            if len(self._by_name) >= _MAX_NAMES:
                self._by_name.clear()
            found = tuple(r for r in self.rules if not r.on_result and r.names(tool))
            self._by_name[tool] = found
        return found

    def matters(self, tool: str) -> bool:
        """Whether a dispatched call of this name is judged by other rules than a call of any name."""
        return self._asks_for_target or self.rules_for(tool) != self.rules_for("")

    @property
    def asks_for_provenance(self) -> bool:
        """Whether a rule has to know where a call's values came from, which takes the whole conversation."""
        return any(r.condition is not None and r.condition.asks_for_provenance for r in self.rules)

    @property
    def _asks_for_target(self) -> bool:
        return any(r.condition is not None and r.condition.asks_for_target and r.tools.everything for r in self.rules)

    def result_rules(self, tool: str) -> tuple[CompiledRule, ...]:
        return tuple(r for r in self.rules if r.on_result and r.names(tool))

    def allows_opaque(self, name: str) -> bool:
        return self.opaque is not None and self.opaque.match(name)
