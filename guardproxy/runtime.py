"""What the pipeline runs with: built whole from a configuration, read once by each request, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from guardproxy.guards.guard import Guard
from guardproxy.history import History, MemoryHistory
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.refusal import DEFAULT_TEMPLATE
from guardproxy.surfaces.surface import OnBlock, RequestRules
from guardproxy.taint import TaintMemory
from guardproxy.telemetry.observer import Observer
from guardproxy.text_calls import TextCallMode
from guardproxy.upstream.upstream import Upstream, UpstreamRequest

if TYPE_CHECKING:
    from guardproxy.prefix.injector import Prefixer


class ToolResults(StrEnum):
    """What happens to a tool result that a guard flags."""

    TAINT = "taint"  # it passes, and makes later calls of the conversation more suspect
    WITHHOLD = "withhold"  # the model gets a notice in its place


class Router(Protocol):
    """Which upstream serves which model."""

    def route(self, model: str) -> Upstream: ...

    async def models(self, request: UpstreamRequest) -> JsonObject: ...

    async def model(self, name: str, request: UpstreamRequest) -> JsonObject: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`deadline_s` bounds a whole exchange, `keepalive_s` is the silence after which a held stream gets a comment."""

    body_bytes: int = 10 * 1024 * 1024
    event_bytes: int = 8 * 1024 * 1024
    deadline_s: float = 600.0
    keepalive_s: float = 1.0
    concurrent_requests: int = 1024


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call. `client_keys` are SHA-256 hex digests; empty: no key is asked for (loopback only).

    `allowed_hosts` are further names for the Host header beside the loopback ones; `allowed_origins` are web origins.
    """

    client_keys: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Runtime:
    """`revision` is the digest of everything that decides: settings, policy, model."""

    revision: str
    guards: tuple[Guard, ...]
    router: Router
    taint: TaintMemory
    observers: Sequence[Observer] = ()
    prefixer: "Prefixer | None" = None
    request_rules: RequestRules = field(default_factory=RequestRules)
    on_block: OnBlock = OnBlock.MESSAGE
    block_message: str = DEFAULT_TEMPLATE
    reask_max: int = 2
    tool_results: ToolResults = ToolResults.TAINT
    hold_turn: bool = False
    text_calls: TextCallMode = TextCallMode.AUTO
    hold_text_actions: bool = False  # judge code and actions in text although nothing says that the agent runs them
    history: History = field(default_factory=MemoryHistory)
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)


class RuntimeSource(Protocol):
    """Where a request finds the runtime in force when it begins."""

    @property
    def current(self) -> Runtime: ...
