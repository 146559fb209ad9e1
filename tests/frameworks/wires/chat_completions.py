"""Chat completions: what a request says, and an answer in the shape of api.openai.com."""

from collections.abc import Iterator, Sequence

from guardproxy.testing.dialects import OPENAI, Said
from tests.frameworks.conversation import Conversation, Piece, Role, Tree

PATH = "/v1/chat/completions"
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "tool": Role.RESULT, "function": Role.RESULT}


def read(tree: Tree) -> Conversation:
    pieces = [_piece(message) for message in tree["messages"] if message["role"] in _ROLES]
    functions = [tool["function"] for tool in tree.get("tools") or [] if tool["type"] == "function"]
    tools = {each["name"]: each.get("parameters", {}).get("properties", {}) for each in functions}
    calls = frozenset(call["id"] for message in tree["messages"] for call in message.get("tool_calls") or [])
    answered = frozenset(message["tool_call_id"] for message in tree["messages"] if message["role"] == "tool")
    return Conversation(tree["model"], pieces, tools, calls, answered)


def _piece(message: Tree) -> Piece:
    return Piece(_ROLES[message["role"]], text_of(message.get("content")))


def text_of(content: str | Sequence[Tree] | None) -> str:
    """Content is text, or a list of parts of which some have text."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part["text"] for part in content if "text" in part)


def whole(asked: Tree, id: str, said: Said) -> Tree:
    return OPENAI.whole([said]) | {"model": asked["model"], "id": f"chatcmpl-{id}"}


def events(asked: Tree, id: str, said: Said) -> Iterator[tuple[str, Tree]]:
    for chunk in OPENAI.chunks([said]):
        yield "", chunk | {"model": asked["model"], "id": f"chatcmpl-{id}"}
