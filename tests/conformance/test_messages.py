"""The Messages API does what every surface does."""

from guardproxy.testing.conformance import SurfaceConformance
from guardproxy.testing.wires.messages import MessagesWire


class TestMessages(SurfaceConformance):
    wire = MessagesWire()
