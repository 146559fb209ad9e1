"""What the model server keeps of its answers, and what it refuses to go on from.

Like the real ones it refuses a conversation in which a call has no result, or a result no call, and a reference to what
it never said."""

from dataclasses import dataclass, replace
from types import ModuleType

from tests.frameworks.conversation import Conversation, Tree
from tests.frameworks.wires import responses


class CannotGoOn(Exception):
    """With the error object that says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.tree = {"type": "invalid_request_error", "code": code, "message": message, "param": None}


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer's items, and the conversation that it ended."""

    items: list[Tree]
    conversation: Conversation


class Stored:
    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def conversation(self, wire: ModuleType, tree: Tree) -> Conversation:
        """What a request says, with what it refers to."""
        if wire is responses:
            tree = {**tree, "input": [self._item(item) for item in responses.input_items(tree)]}
        conversation = self._continued(wire.read(tree), tree.get("previous_response_id"))
        if waiting := conversation.calls - conversation.answered:
            raise CannotGoOn("missing_tool_output", f"No tool output found for call {min(waiting)}.")
        if strange := conversation.answered - conversation.calls:
            raise CannotGoOn("missing_tool_call", f"No tool call found for output {min(strange)}.")
        return conversation

    def keep(self, answer: Tree, conversation: Conversation) -> None:
        said = responses.read({**answer, "input": answer["output"], "tools": []})
        self._kept[answer["id"]] = _Kept(answer["output"], _joined(conversation, said))

    def _item(self, item: Tree) -> Tree:
        if item.get("type") != "item_reference":
            return item
        for kept in self._kept.values():
            for known in kept.items:
                if known["id"] == item["id"]:
                    return known
        raise CannotGoOn("item_not_found", f"Item with id '{item['id']}' not found.")

    def _continued(self, conversation: Conversation, previous: str | None) -> Conversation:
        if previous is None:
            return conversation
        if previous not in self._kept:
            raise CannotGoOn("previous_response_not_found", f"Previous response with id '{previous}' not found.")
        return _joined(self._kept[previous].conversation, conversation)


def _joined(before: Conversation, after: Conversation) -> Conversation:
    return replace(
        after,
        pieces=[*before.pieces, *after.pieces],
        calls=before.calls | after.calls,
        answered=before.answered | after.answered,
    )
