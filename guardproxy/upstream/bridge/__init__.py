"""Clients of the Responses and Messages APIs, served by an upstream that speaks chat completions only.

The request is translated on the way in and the answer on the way back, event by event. What leaves here is what a
server of the asked API would have sent, and the guard reads it as such. What cannot be translated is refused by name.
"""

from guardproxy.upstream.bridge.bridged import BridgedUpstream
from guardproxy.upstream.bridge.discovery import DiscoveringUpstream

__all__ = ["BridgedUpstream", "DiscoveringUpstream"]
