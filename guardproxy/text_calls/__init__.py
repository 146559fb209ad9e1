"""Tool calls that a model writes into its text, for agents that parse text. Pure: texts in, calls out."""

from guardproxy.text_calls.request import TextCallMode, text_action, watch_for
from guardproxy.text_calls.scanner import Channel, Suspicion, TextCall, TextCallScanner
from guardproxy.text_calls.watch import Format, Watch

__all__ = [
    "Channel",
    "Format",
    "Suspicion",
    "TextCall",
    "TextCallMode",
    "TextCallScanner",
    "Watch",
    "text_action",
    "watch_for",
]
