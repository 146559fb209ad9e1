"""The items of an answer, and how its events name them: by an id, by an index, or by both."""

from guardproxy.model import CallKind, Delta
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.responses.contract import CONTRACT, LIFECYCLE, TERMINAL
from guardproxy.surfaces.responses.items import SHAPES, ItemFault, text_of
from guardproxy.surfaces.responses.seen import Item, Parts, server_run, uninspected

_KNOWN_ITEMS = CONTRACT["output items"]


class Register:
    """`hosted_shell`: the request lets the provider run a shell, so that its calls may have been run."""

    def __init__(self, *, hosted_shell: bool) -> None:
        self._hosted_shell = hosted_shell
        self._by_id: dict[str, Item] = {}
        self._by_index: dict[int, Item] = {}
        self._last_index = -1
        self.parts = Parts()
        self.items: list[Item] = []

    def new(self, given: JsonObject, index: int | None) -> tuple[Item, list[Delta]]:
        type = text_of(given, "type")
        if not type:
            raise ItemFault("an item has no type")
        refuse_respelled(given)
        id = text_of(given, "id") or (text_of(given, "call_id") if type in SHAPES else "")
        if id and id in self._by_id:
            raise ItemFault("two items have the same id")
        item = Item(type, id, index, given)
        deltas: list[Delta] = []
        if (kind := server_run(given, hosted_shell=self._hosted_shell)) is not None:
            deltas = list(uninspected(kind))
        elif type in SHAPES:
            item.call = self.parts.new_call(SHAPES[type].kind)
        elif type not in _KNOWN_ITEMS:
            item.call = self.parts.new_call(CallKind.OPAQUE)
            item.call.id = self.parts.opaque_id(given)
        self._enter(item)
        return item, deltas

    def _enter(self, item: Item) -> None:
        self.items.append(item)
        if item.id:
            self._by_id[item.id] = item
        if item.index is not None:
            self._by_index[item.index] = item
            self._last_index = item.index

    def target(self, tree: JsonObject) -> Item:
        """The item that an event is about. An id and an index must agree."""
        id = text_of(tree, "item_id")
        if id and (item := self._by_id.get(id)) is not None:
            return self._at_index(tree, item)
        index = tree.get("output_index")
        found = self._by_index.get(index_of(index)) if index is not None else None
        if found is None or (id and found.id):
            raise ItemFault("an event is about an item that was not added")
        return found

    def find_done(self, tree: JsonObject, given: JsonObject) -> Item | None:
        id = text_of(given, "id") or text_of(given, "call_id")
        if (item := self._by_id.get(id)) is not None:
            return self._at_index(tree, item)
        index = tree.get("output_index")
        if index is None:
            return None
        item = self._by_index.get(index_of(index))
        if item is not None and item.id and id and item.type == given.get("type"):
            raise ItemFault("the id of an item changed")
        return item if item is not None and not (item.id and id) else None

    def _at_index(self, tree: JsonObject, item: Item) -> Item:
        index = tree.get("output_index")
        if index is not None and item.index is not None and index != item.index:
            raise ItemFault("an event names one item and another one's index")
        return item

    def next_index(self, tree: JsonObject, given: JsonObject) -> int | None:
        """Clients append what was added, and find it by its index: so there are no gaps."""
        index = tree.get("output_index")
        if index is None:
            return None
        last = self._by_index.get(self._last_index)
        after_text = last is not None and last.call is None and text_of(given, "type") in SHAPES
        if index_of(index) != self._last_index + 1 and not (index == self._last_index and after_text):
            raise ItemFault("an item was added at another index than the next")
        return index  # type: ignore[return-value]

    def match(self, given: JsonObject) -> Item | None:
        """The item that is listed: the one of its id, or else the next of its type."""
        type, id = text_of(given, "type"), text_of(given, "id") or text_of(given, "call_id")
        item = self._by_id.get(id)
        if item is not None and not item.matched:
            return item
        call_id = text_of(given, "call_id")
        alike = [item for item in self.items if item.type == type and item.listed and not item.matched]
        for item in alike:
            if item.call is not None and call_id and item.call.id == call_id:
                return item
        return alike[0] if alike else None


def index_of(value: object) -> int:
    if type(value) is not int or not 0 <= value < 4096:
        raise ItemFault("an index is not a whole number")
    return value


_READ_FIELDS = frozenset(
    """type item item_id output_index content_index summary_index command_index delta text arguments input refusal part
    response output id call_id name namespace server_label action actions operation execution environment command
    sequence_number error status usage""".split()
)


def refuse_respelled(tree: JsonObject) -> None:
    """Go's encoding/json takes `Arguments` for `arguments`, and the last of several spellings wins."""
    for name in tree:
        if name not in _READ_FIELDS and name.casefold() in _READ_FIELDS:
            raise ItemFault("a known field has an unusual spelling")


_ITEM_EVENTS = frozenset({"response.output_item.added", "response.output_item.done"})
_RESPONSE_EVENTS = LIFECYCLE | TERMINAL


def refuse_hidden_call(event: JsonObject) -> None:
    """In an event of a known type, a call where none belongs: some clients look at the field before the type."""
    type, item, response = event.get("type"), event.get("item"), event.get("response")
    if type not in CONTRACT["events"]:
        return  # all of it is judged
    if item and type not in _ITEM_EVENTS:
        raise ItemFault("an event that is about no item holds one")
    if response and type not in _RESPONSE_EVENTS and (not isinstance(response, dict) or response.get("output")):
        raise ItemFault("an event amid the answer holds the whole of it")
