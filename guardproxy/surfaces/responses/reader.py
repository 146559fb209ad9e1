"""Reading an answer, streamed or whole, as deltas. What has no single reading is refused.

Servers differ in what they leave out: llama.cpp sends no indexes and no sequence numbers, and knows a call by its
call id; Ollama gives a call the index of the text before it; vLLM lists other ids at the end than it streamed. All of
that has one reading. An item that is named in two ways which contradict each other has none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guardproxy.decision import Permit
from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import CallKind, Delta, FinishDelta, TextDelta, UsageDelta
from guardproxy.provider_error import ErrorFields, fields_of
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.responses import amend
from guardproxy.surfaces.responses.contract import CONTRACT, LIFECYCLE, TERMINAL
from guardproxy.surfaces.responses.items import SHAPES, ItemFault, Spoken, opaque, spoken, text_of
from guardproxy.surfaces.responses.plan import Plan
from guardproxy.surfaces.responses.register import Register, index_of, refuse_hidden_call, refuse_respelled
from guardproxy.surfaces.responses.seen import CallState, Item, Note, uninspected, whole_call
from guardproxy.surfaces.surface import Refusal

_STATUSES = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
_ENDED = frozenset({"completed", "incomplete", "cancelled"})


_NOTHING = Note()
_BEGUN = TextDelta(0, "")  # an answer that has begun must end


class ResponsesReader:
    """One attempt. `hosted_shell`: the request lets the provider run a shell, so that its calls may have been run."""

    def __init__(self, *, stream: bool, hosted_shell: bool = False) -> None:
        self._stream = stream
        self._register = Register(hosted_shell=hosted_shell)
        self._parts = self._register.parts
        self._last_number: int | None = None
        self._note = _NOTHING
        self.notes: list[Note] = []
        self.items = self._register.items
        self.response_id = ""
        self.response: JsonObject = {}  # as the terminal event has it
        self.ended = False

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        """Raises UpstreamError."""
        if self.ended:
            raise UpstreamProtocolError("the upstream went on after the end of its answer")
        if tree.get("error") is not None or tree.get("type") == "error":
            raise _refusal(tree)
        self._note = _NOTHING
        try:
            deltas = self._read_event(tree) if self._stream else self._read_whole(tree)
        except ItemFault as fault:
            raise UpstreamProtocolError(f"the upstream's answer cannot be read: {fault}") from None
        self.notes.append(self._note)
        return deltas if len(self.notes) > 1 else [_BEGUN, *deltas]

    def amend(self, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        left = len(self.notes) - sum(frame.tree is not None for frame in held)
        plan = Plan.of(self.items, self.notes, left, permit, refusal)
        if self._stream:
            return amend.amend_events(held, self.notes[left:], self.items, plan)
        return amend.amend_whole(held, self.items, plan)

    # --- events ------------------------------------------------------------------------------------------------

    def _read_event(self, tree: JsonObject) -> Sequence[Delta]:
        type = text_of(tree, "type")
        refuse_respelled(tree)
        refuse_hidden_call(tree)
        self._check_number(tree.get("sequence_number"))
        if type in TERMINAL:
            return self._end(_object(tree, "response"), _STATUSES[type])
        handler = _HANDLERS.get(type)
        if handler is not None:
            return handler(self, tree)
        if type in LIFECYCLE:
            return self._begin(_object(tree, "response"))
        match CONTRACT["events"].get(type):
            case Treatment.PASSED:
                return self._of_server(tree)
            case Treatment.COUNTED:
                return () if any(i.type == type for i in self.items) else self._count(type, tree)
            case _:
                return self._unknown_event(type, tree)

    def _check_number(self, number: object) -> None:
        if number is None:
            return
        if type(number) is not int or (self._last_number is not None and number <= self._last_number):
            raise ItemFault("the sequence numbers of its events do not rise")
        self._last_number = number

    def _begin(self, response: JsonObject) -> Sequence[Delta]:
        self._check_id(response)
        if response.get("output"):
            raise ItemFault("it lists items before it has begun them")
        return ()

    def _check_id(self, response: JsonObject) -> None:
        id = text_of(response, "id")
        if id and self.response_id and id != self.response_id:
            raise ItemFault("the id of the answer changed")
        self.response_id = self.response_id or id

    def _count(self, type: str, tree: JsonObject) -> Sequence[Delta]:
        """Something beside the items, such as audio. Counted once."""
        self.items.append(Item(type, "", None, tree, listed=False))
        return tuple(uninspected(type.removeprefix("response.").split(".")[0]))

    def _unknown_event(self, type: str, tree: JsonObject) -> Sequence[Delta]:
        call = self._parts.new_call(CallKind.OPAQUE)
        call.id = self._parts.opaque_id(tree)
        item = Item(type, "", None, tree, call, listed=False)
        self.items.append(item)
        self._note = Note(item)
        return whole_call(item, tree)

    def _item_added(self, tree: JsonObject) -> Sequence[Delta]:
        given = _object(tree, "item")
        item, deltas = self._register.new(given, self._register.next_index(tree, given))
        self._note = Note(item)
        if item.call is not None:
            said = spoken(given) if item.type in SHAPES else opaque(given, item.call.id)
            return [item.call.begin(said)]
        return [*deltas, *self._settle(item, given)]

    def _item_done(self, tree: JsonObject) -> Sequence[Delta]:
        given = _object(tree, "item")
        item = self._register.find_done(tree, given)
        if item is None:
            item, deltas = self._register.new(given, self._register.next_index(tree, given))
            item.added, item.done = False, True
            if item.call is not None:
                self._note = Note(item)
                return whole_call(item, given)
            return [*deltas, *self._settle(item, given)]
        if item.done:
            raise ItemFault("an item was done twice")
        began_as, item.done = item.tree.get("id"), True
        deltas = self._settle(item, given)
        if item.call is not None and item.call.late and given.get("id") != began_as:
            raise ItemFault("a tool call whose arguments came in one piece was done under another id")
        return deltas

    def _settle(self, item: Item, given: JsonObject, *, terminal: bool = False) -> list[Delta]:
        """What a whole item brings. How much of that is text is told from how much there was before."""
        refuse_respelled(given)
        before = {id(part): part.words.length for part in item.parts}
        deltas = item.settle(given, self._parts, terminal=terminal)
        grown = ((part, part.words.length - before.get(id(part), 0)) for part in item.parts)
        self._note = Note(item, (*self._note.said, *((part, length) for part, length in grown if length)))
        return deltas

    # --- pieces of calls ---------------------------------------------------------------------------------------

    def _arguments_delta(self, tree: JsonObject) -> Sequence[Delta]:
        return [self._call_item(tree).piece(text_of(tree, "delta"))]

    def _arguments_done(self, tree: JsonObject) -> Sequence[Delta]:
        call, item = self._call_item(tree), self._note.item
        assert item is not None
        if call.whole:
            raise ItemFault("the arguments of a tool call were done twice")
        name = text_of(tree, "name")
        if name and name not in (call.name, item.tree.get("name")):
            raise ItemFault("a tool call was repeated with another name")
        arguments = text_of(tree, "input" if item.type == "custom_tool_call" else "arguments")
        return call.settle(Spoken(call.kind, "", "", arguments))

    def _call_item(self, tree: JsonObject) -> CallState:
        item = self._register.target(tree)
        wanted = "custom_tool_call" if "custom_tool_call" in str(tree["type"]) else "function_call"
        if item.type != wanted or item.call is None or item.done:
            raise ItemFault("part of a tool call came for an item that is none, or is done")
        self._note = Note(item)
        return item.call

    def _command(self, tree: JsonObject) -> Sequence[Delta]:
        """A shell call's commands, as they are written. The call is complete only when its item is."""
        item = self._register.target(tree)
        self._note = Note(item)
        if item.type != "shell_call" or item.done:
            raise ItemFault("a shell command came for an item that is no shell call, or is done")
        if item.call is None:
            return ()
        commands, place = item.call.commands, index_of(tree.get("command_index"))
        match str(tree["type"]).rpartition(".")[2]:
            case "added" if place == len(commands):
                commands[place] = text_of(tree, "command")
            case "delta" if place in commands:
                commands[place] += text_of(tree, "delta")
            case "done" if commands.get(place) == text_of(tree, "command"):
                pass
            case _:
                raise ItemFault("the commands of a shell call do not fit together")
        return ()

    # --- pieces of texts ---------------------------------------------------------------------------------------

    def _part_added(self, tree: JsonObject) -> Sequence[Delta]:
        item = self._register.target(tree)
        parts = item.summary if "summary" in str(tree["type"]) else item.content
        place = tree.get("summary_index") if parts is item.summary else tree.get("content_index")
        if item.call is not None or item.done or index_of(place or 0) != len(parts):
            raise ItemFault("a part was added where none can be")
        part, deltas = self._parts.begin(_object(tree, "part"))
        parts.append(part)
        self._note = Note(item, ((part, part.words.length),))
        return deltas

    def _part_done(self, tree: JsonObject) -> Sequence[Delta]:
        item, given = self._register.target(tree), _object(tree, "part")
        summary = "summary" in str(tree["type"])
        place = index_of(tree.get("summary_index" if summary else "content_index") or 0)
        parts = item.summary if summary else item.content
        if item.call is not None or (place < len(parts) and parts[place].done):
            raise ItemFault("a part was done that cannot be there, or is done")
        before = parts[place].words.length if place < len(parts) else 0
        deltas = self._parts.settle_at(parts, place, given)
        part = parts[place]
        part.done = True
        self._note = Note(item, ((part, part.words.length - before),))
        return deltas

    def _text(self, tree: JsonObject, item_type: str, part_type: str) -> Sequence[Delta]:
        item = self._register.target(tree)
        if item.type != item_type or item.done:
            raise ItemFault("a text came for an item that has none, or is done")
        where, place = ("summary", "summary_index") if part_type == "summary_text" else ("content", "content_index")
        part = item.part(where, index_of(tree.get(place) or 0), part_type)
        before = part.words.length
        if str(tree["type"]).endswith(".delta"):
            deltas = part.say(text_of(tree, "delta"))
        else:
            if part.text_done:
                raise ItemFault("a text was done twice")
            deltas = part.settle(text_of(tree, "refusal" if part_type == "refusal" else "text"))
            part.text_done = True
        self._note = Note(item, ((part, part.words.length - before),))
        return deltas

    def _annotation(self, tree: JsonObject) -> Sequence[Delta]:
        item = self._register.target(tree)
        if item.type != "message" or item.done:
            raise ItemFault("an annotation came for an item that has no text, or is done")
        part = item.part("content", index_of(tree.get("content_index") or 0), "output_text")
        part.annotations.append(tree.get("annotation"))
        self._note = Note(item)
        return ()

    def _of_server(self, tree: JsonObject) -> Sequence[Delta]:
        """Progress of what the provider runs itself."""
        item = self._register.target(tree)
        if item.call is not None or item.type in ("message", "reasoning"):
            raise ItemFault("an event of the provider's own tools is about another item")
        self._note = Note(item)
        return ()

    # --- the end -----------------------------------------------------------------------------------------------

    def _read_whole(self, tree: JsonObject) -> Sequence[Delta]:
        refuse_respelled(tree)
        return self._end(tree, text_of(tree, "status") or "completed")

    def _end(self, response: JsonObject, status: str) -> Sequence[Delta]:
        refuse_respelled(response)
        self._check_id(response)
        if response.get("error") is not None or status == "failed" or response.get("status") == "failed":
            raise _refusal(response)
        if text_of(response, "status") not in ("", status) or status not in _ENDED:
            raise ItemFault("its status is not that of an answer that has ended")
        deltas = self._repeated(response.get("output"))
        deltas += [delta for item in self.items for delta in _left_open(item)]
        deltas.append(FinishDelta(0, _reason(response, status)))
        if isinstance(usage := response.get("usage"), dict):
            deltas.append(UsageDelta(usage))
        self.response = response
        self.ended = True
        return deltas

    def _repeated(self, output: object) -> list[Delta]:
        """The items as the terminal event lists them. A server that lists none has nothing to repeat."""
        if output is None:
            return []
        if not isinstance(output, list) or not all(isinstance(given, dict) for given in output):
            raise ItemFault("its output is not a list of objects")
        deltas: list[Delta] = []
        for given in output:
            item = self._register.match(given)
            if item is not None:
                if item.call is not None and not item.call.pieced and not item.done:
                    raise ItemFault("a tool call was begun and never done")
                item.matched = True
                deltas += self._settle(item, given, terminal=True)
                continue
            item, more = self._register.new(given, None)
            item.announced, item.matched = False, True
            deltas += more
            deltas += whole_call(item, given) if item.call is not None else self._settle(item, given)
        if output and any(item.call is not None and item.listed and not item.matched for item in self.items):
            raise ItemFault("a tool call is not among the items that it lists in the end")
        return deltas


def _left_open(item: Item) -> Sequence[Delta]:
    """A call whose end was never said is complete as it was begun, unless more of it was to come."""
    call = item.call
    if any(part.call is not None and not part.call.whole for part in item.parts):
        raise ItemFault("a part was begun and never completed")
    if call is not None and call.late and not item.done:
        raise ItemFault("a tool call whose arguments came in one piece was never done")
    if call is None or call.whole:
        return ()
    if call.pieced:
        call.whole = True
        return ()
    if call.commands or item.type not in SHAPES:
        raise ItemFault("a tool call was begun and never completed")
    return call.settle(spoken(item.tree))


def _reason(response: JsonObject, status: str) -> str:
    details = response.get("incomplete_details")
    if status == "incomplete" and isinstance(details, dict):
        return text_of(details, "reason") or status
    return status


def _refusal(tree: Mapping[str, Any]) -> UpstreamRefusal:
    """An error in the place of an answer, or in the midst of a stream."""
    fields = fields_of(dict(tree)) or ErrorFields("The upstream reported an error.")
    return UpstreamRefusal(502, fields.message, type=fields.type, param=fields.param, code=fields.code)


def _object(tree: JsonObject, field: str) -> JsonObject:
    value = tree.get(field)
    if not isinstance(value, dict):
        raise ItemFault(f"'{field}' is not an object")
    return value


_Handler = Callable[[ResponsesReader, JsonObject], Sequence[Delta]]


def _text_handler(item_type: str, part_type: str) -> _Handler:
    return lambda reader, tree: reader._text(tree, item_type, part_type)


_HANDLERS: Mapping[str, _Handler] = {
    "response.output_item.added": ResponsesReader._item_added,
    "response.output_item.done": ResponsesReader._item_done,
    **{
        f"response.{name}.{step}": getattr(ResponsesReader, f"_arguments_{step}")
        for name in ("function_call_arguments", "custom_tool_call_input")
        for step in ("delta", "done")
    },
    **{f"response.shell_call_command.{step}": ResponsesReader._command for step in ("added", "delta", "done")},
    **{
        f"response.{name}.{step}": getattr(ResponsesReader, f"_part_{step}")
        for name in ("content_part", "reasoning_part", "reasoning_summary_part")
        for step in ("added", "done")
    },
    **{
        f"response.{name}.{step}": _text_handler(item_type, part_type)
        for name, item_type, part_type in (
            ("output_text", "message", "output_text"),
            ("refusal", "message", "refusal"),
            ("reasoning_text", "reasoning", "reasoning_text"),
            ("reasoning_summary_text", "reasoning", "summary_text"),
        )
        for step in ("delta", "done")
    },
    "response.output_text.annotation.added": ResponsesReader._annotation,
}
