"""Where the values of a tool call came from: the user, the system prompt, a tool's result, or the model alone."""

from guardproxy.provenance.claims import Origin
from guardproxy.provenance.conversation import Conversation
from guardproxy.provenance.features import FEATURES
from guardproxy.provenance.trace import ArgumentOrigin, Match, Provenance, trace, trace_arguments

__all__ = [
    "FEATURES",
    "ArgumentOrigin",
    "Conversation",
    "Match",
    "Origin",
    "Provenance",
    "trace",
    "trace_arguments",
]
