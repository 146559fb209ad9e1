"""The API surfaces that clients speak. One line here for each."""

from collections.abc import Sequence

from guardproxy.surfaces.chat_completions import ChatCompletions
from guardproxy.surfaces.completions import Completions
from guardproxy.surfaces.messages import Messages
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import Surface

SURFACES: Sequence[Surface] = (
    ChatCompletions(),
    Responses(),
    Messages(),
    Completions(),
)
