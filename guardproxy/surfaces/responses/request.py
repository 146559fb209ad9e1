"""Reading a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardproxy.model import Message, Request, ToolSpec
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.responses.checks import boolean, fault, hidden_refusal, optional_string, refused, string
from guardproxy.surfaces.responses.contract import CONTRACT, SAMPLER_FIELDS
from guardproxy.surfaces.responses.conversation import REFERENCE, Seen, messages, own_items, type_of
from guardproxy.surfaces.responses.tools import (
    ITEMS_WITH_TOOLS,
    Declared,
    declared,
    forces_tool,
    listed_by_server,
    without_choice,
)
from guardproxy.surfaces.surface import RequestRules

_FIELDS = CONTRACT["request fields"]
_MOST_REFERENCES = 10_000


@dataclass(frozen=True, slots=True)
class ResponsesRequest(Request):
    """`before` is the stored past that it goes on from, `own` are its own items; its tree may hold both, or one."""

    before: tuple[JsonObject, ...] = ()
    own: tuple[JsonObject, ...] = ()
    hosted_shell: bool = False  # the provider may run a shell itself, because the operator allows it
    refuses_hidden: bool = False  # and so what it names and is not known here


def parse(tree: JsonObject, rules: RequestRules) -> ResponsesRequest:
    """Raises MalformedRequest, naming the field."""
    _check_fields(tree, rules)
    model = string(tree, "model")
    tree, tools = _with_allowed_tools(tree, rules)
    items = own_items(tree)
    seen = Seen()
    seen_messages = (*instructions(tree), *messages(items, seen, rules.allow_fields))
    if tree.get("prompt") is not None:
        seen.hide("prompt", "prompt")
    conversation = _conversation(tree)
    if conversation:
        seen.hide("conversation", "conversation")
    hidden = [at for kind, at in seen.hidden.items() if kind != REFERENCE]
    if rules.refuse_hidden_content and hidden:
        raise hidden_refusal(hidden[0])
    return ResponsesRequest(
        surface="responses",
        model=model,
        stream=boolean(tree, "stream", False),
        tree=tree,
        messages=seen_messages,
        tools=tools.specs,
        forced_tool=forces_tool(tree.get("tool_choice")),
        structured_output=_structured_output(tree),
        uninspected=tuple(sorted(seen.uninspected)),
        stop=_stop(tree),
        stored=boolean(tree, "store", True),
        continues=optional_string(tree, "previous_response_id"),
        conversation=conversation,
        references=_references(items),
        own=tuple(items),
        hosted_shell=tools.hosted_shell,
        refuses_hidden=rules.refuse_hidden_content,
    )


def instructions(tree: Mapping[str, Any]) -> tuple[Message, ...]:
    text = optional_string(tree, "instructions")
    return (Message("system", text),) if text else ()


def _check_fields(tree: JsonObject, rules: RequestRules) -> None:
    if boolean(tree, "background", False):
        why = "its answer would be fetched later, by a way on which nothing is judged"
        raise refused("background", why, "background_refused")
    for field, value in tree.items():
        known = field in _FIELDS or field in SAMPLER_FIELDS or field in rules.allow_fields
        if not known and isinstance(value, (dict, list)):
            why = "this proxy does not know it; the operator can name it in request.allow_fields"
            raise refused(field, why)


def _conversation(tree: Mapping[str, Any]) -> str:
    value = tree.get("conversation")
    if isinstance(value, dict):
        return string(value, "id", "conversation.id")
    if value is not None and (not isinstance(value, str) or not value):
        raise fault("conversation", "an id, or an object with one")
    return value or ""


def _references(items: list[JsonObject]) -> tuple[str, ...]:
    """The ids of items that are named and not given. Each costs a look-up."""
    named = (string(item, "id", f"input[{i}].id") for i, item in enumerate(items) if type_of(item) == REFERENCE)
    ids = tuple(dict.fromkeys(named))
    if len(ids) > _MOST_REFERENCES:
        raise fault("input", f"without more than {_MOST_REFERENCES} references")
    return ids


def _structured_output(tree: Mapping[str, Any]) -> bool:
    text = tree.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    return isinstance(form, dict) and form.get("type") not in (None, "text")


def _stop(tree: Mapping[str, Any]) -> tuple[str, ...]:
    stop = tree.get("stop")
    return tuple(s for s in (stop if isinstance(stop, list) else [stop]) if isinstance(s, str))


# --- tools, wherever they are ------------------------------------------------------------------------------------


def _with_allowed_tools(tree: JsonObject, rules: RequestRules) -> tuple[JsonObject, Declared]:
    """The request without the tools that are stripped, and what it declares."""
    own = declared(tree.get("tools"), "tools", rules)
    found = [own]
    items: list[JsonObject] = []
    for i, item in enumerate(own_items(tree)):
        item, more = _item_with_allowed_tools(item, f"input[{i}]", rules)
        items.append(item)
        if more is not None:
            found.append(more)
    everything = Declared(
        tuple(spec for part in found for spec in part.specs),
        own.kept,
        frozenset[str]().union(*(part.stripped for part in found)),
        any(part.hosted_shell for part in found),
    )
    if not everything.stripped:
        return tree, everything
    given = {"input": items} if isinstance(tree.get("input"), list) else {}
    return without_choice({**tree, **given, "tools": own.kept}, everything.stripped), everything


def _item_with_allowed_tools(
    item: JsonObject, at: str, rules: RequestRules | None
) -> tuple[JsonObject, Declared | None]:
    type = type_of(item)
    if type == "mcp_list_tools":
        return item, Declared(tuple(listed_by_server(item, at)), [], frozenset(), False)
    if type not in ITEMS_WITH_TOOLS:
        return item, None
    found = declared(item.get("tools"), f"{at}.tools", rules)
    return ({**item, "tools": list(found.kept)} if found.stripped else item), found


def tools_of(items: tuple[JsonObject, ...]) -> tuple[ToolSpec, ...]:
    """What the items of a stored past declare."""
    found = (_item_with_allowed_tools(item, "input", None)[1] for item in items)
    return tuple(spec for part in found if part is not None for spec in part.specs)
