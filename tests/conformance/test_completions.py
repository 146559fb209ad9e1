"""The completions API does what every surface does."""

from guardproxy.testing.conformance import SurfaceConformance
from guardproxy.testing.wires.completions import CompletionsWire


class TestCompletions(SurfaceConformance):
    wire = CompletionsWire()
