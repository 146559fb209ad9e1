"""How earlier reasoning finds its way back to the server that said it. Pure.

DeepSeek refuses a turn with calls that comes back without its reasoning; other servers refuse a field that they do not
know. So the field in which reasoning came is noted where clients send it back as it is: in the signature of a thinking
block, in the id of a reasoning item. Reasoning of another origin is not sent.
"""

from collections.abc import Mapping

from guardproxy.surfaces.chat_completions.answer import REASONING_FIELDS

_PREFIXES = {"reasoning_content": "rsc", "reasoning": "rsr"}


def field_of(message: Mapping[str, object]) -> str:
    """The field of a chat message, or of a piece of one, that holds its reasoning; empty where it is elsewhere."""
    return next((field for field in REASONING_FIELDS if message.get(field)), "")


def item_id(field: str, core: str) -> str:
    return f"{_PREFIXES.get(field, 'rs')}_{core}"


def field_of_item(id: str | None) -> str | None:
    """None for reasoning that is not sent back. Codex leaves ids out: then it is the field that most servers know."""
    if id is None:
        return "reasoning_content"
    prefix = id.partition("_")[0]
    return next((field for field, known in _PREFIXES.items() if prefix == known), None)


def field_of_signature(signature: str) -> str | None:
    return signature if signature in REASONING_FIELDS else None
