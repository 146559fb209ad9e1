"""The Responses API does what every surface does."""

from guardproxy.testing.conformance import SurfaceConformance
from guardproxy.testing.wires.responses import ResponsesWire


class TestResponses(SurfaceConformance):
    wire = ResponsesWire()
