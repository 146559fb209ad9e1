"""One wire for each surface: how model servers write a turn in that API, and how its clients read it."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from guardproxy.surfaces import SURFACES
from guardproxy.surfaces.contract import Contract
from guardproxy.testing.script import Wire
from guardproxy.testing.wires.chat_completions import ChatCompletionsWire
from guardproxy.testing.wires.completions import CompletionsWire
from guardproxy.testing.wires.messages import MessagesWire
from guardproxy.testing.wires.responses import ResponsesWire

_ALL: Sequence[Wire] = (ChatCompletionsWire(), ResponsesWire(), MessagesWire(), CompletionsWire())
_BY_NAME = {wire.surface.name: wire for wire in _ALL}

WIRES: Sequence[Wire] = tuple(_BY_NAME[surface.name] for surface in SURFACES)
"""In the order of the surfaces. A surface without a wire is an error."""

CONTRACTS: Mapping[str, Contract] = {
    wire.surface.path: import_module(f"guardproxy.surfaces.{wire.surface.name}.contract").CONTRACT for wire in WIRES
}
"""The closed contract of each surface, by its path."""
