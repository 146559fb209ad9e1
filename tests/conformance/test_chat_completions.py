"""Chat completions do what every surface does."""

from guardproxy.testing.conformance import SurfaceConformance
from guardproxy.testing.wires.chat_completions import ChatCompletionsWire


class TestChatCompletions(SurfaceConformance):
    wire = ChatCompletionsWire()
