"""The items that are calls: reading one as a call, writing one with other arguments, and answering one unexecuted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from guardproxy.model import CallKind
from guardproxy.strict_json import Json, JsonObject, MalformedJson, decode_object, encode

Tree = Mapping[str, Any]


class ItemFault(ValueError):
    """An item that cannot be read. The message names the field, never a value."""


class Spoken(NamedTuple):
    """What an item says of its call. Empty strings say nothing: an item that was only begun may lack its arguments."""

    kind: CallKind
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Shape:
    """How calls of one item type are written. `tool` is the name that the API fixes for those it defines itself."""

    kind: CallKind
    arguments: tuple[str, ...]  # the fields that hold them
    tool: str = ""
    more: tuple[str, ...] = ()  # known fields beside `_COMMON`
    result: str = ""  # the type of the item that answers it


_COMMON = ("id", "type", "status", "call_id", "caller", "created_by")

SHAPES: Mapping[str, Shape] = {
    "function_call": Shape(
        CallKind.FUNCTION, ("arguments",), more=("name", "namespace", "async"), result="function_call_output"
    ),
    "custom_tool_call": Shape(
        CallKind.CUSTOM, ("input",), more=("name", "namespace", "async"), result="custom_tool_call_output"
    ),
    "shell_call": Shape(CallKind.BUILTIN, ("action",), "shell", ("environment",), "shell_call_output"),
    "local_shell_call": Shape(CallKind.BUILTIN, ("action",), "local_shell", (), "local_shell_call_output"),
    "apply_patch_call": Shape(CallKind.BUILTIN, ("operation",), "apply_patch", (), "apply_patch_call_output"),
    "computer_call": Shape(
        CallKind.BUILTIN, ("action", "actions"), "computer", ("pending_safety_checks",), "computer_call_output"
    ),
    "tool_search_call": Shape(CallKind.BUILTIN, ("arguments",), "tool_search", ("execution",), "tool_search_output"),
    "mcp_approval_request": Shape(
        CallKind.APPROVAL, ("arguments",), more=("name", "server_label"), result="mcp_approval_response"
    ),
}

BUILTIN_TYPES: Mapping[str, str] = {shape.tool: type for type, shape in SHAPES.items() if shape.tool}
"""The item type by the name of the tool."""


def spoken(item: Tree) -> Spoken:
    """The call of an item of one of the types in SHAPES. Raises ItemFault."""
    shape = SHAPES[item["type"]]
    id = text_of(item, "call_id") or text_of(item, "id")
    if item["type"] == "mcp_approval_request":
        id = text_of(item, "id")
    return Spoken(shape.kind, id, _name(item, shape), _arguments(item, shape))


def opaque(item: Tree, id: str) -> Spoken:
    """An item of a type that nobody knows here: all of it is its arguments."""
    return Spoken(CallKind.OPAQUE, id, text_of(item, "type"), encode(dict(item)).decode())


def text_of(tree: Tree, field: str) -> str:
    value = tree.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ItemFault(f"'{field}' is not a string")
    return value


def _name(item: Tree, shape: Shape) -> str:
    if shape.tool:
        return shape.tool
    name = text_of(item, "name")
    space = text_of(item, "server_label" if item["type"] == "mcp_approval_request" else "namespace")
    return f"{space}.{name}" if space and name else name


def _arguments(item: Tree, shape: Shape) -> str:
    if shape.kind is not CallKind.BUILTIN:
        return text_of(item, shape.arguments[0])
    given = {field: item[field] for field in shape.arguments if item.get(field) is not None}
    if not given:
        return ""
    if len(shape.arguments) > 1:  # a computer call may hold one action, several, or both
        return encode(given).decode()
    (value,) = given.values()
    if isinstance(value, str):
        raise ItemFault(f"'{shape.arguments[0]}' is not an object")
    return encode(value).decode()


def known_fields(item: Tree) -> JsonObject:
    """The call without the fields that nobody knows here."""
    shape = SHAPES[item["type"]]
    return {field: item[field] for field in (*_COMMON, *shape.more, *shape.arguments) if field in item}


def with_arguments(item: Tree, arguments: str) -> JsonObject | None:
    """The call with other arguments; None where they cannot be those of such a call."""
    shape = SHAPES[item["type"]]
    written = known_fields(item)
    if shape.kind is CallKind.APPROVAL:
        return None
    if shape.kind is not CallKind.BUILTIN:
        return {**written, shape.arguments[0]: arguments}
    try:
        value = decode_object(arguments.encode())
    except MalformedJson:
        return None
    if len(shape.arguments) == 1:
        return {**written, shape.arguments[0]: value}
    if not value or not value.keys() <= set(shape.arguments):
        return None
    return {name: field for name, field in written.items() if name not in shape.arguments} | value


# --- answering a call that was not executed ----------------------------------------------------------------------

_NO_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


def answer(item: Tree, text: str) -> JsonObject:
    """The item that tells the model that a call of a known type was not executed, and why."""
    type, id = SHAPES[item["type"]].result, spoken(item).id
    tied: JsonObject = {"type": type, "call_id": id}
    if isinstance(item.get("caller"), dict):
        tied["caller"] = item["caller"]
    match type:
        case "mcp_approval_response":
            return {"type": type, "approval_request_id": id, "approve": False, "reason": text}
        case "local_shell_call_output":
            return {"type": type, "id": id, "output": encode({"output": text}).decode()}
        case "computer_call_output":
            return tied | {"output": {"type": "computer_screenshot", "image_url": _NO_IMAGE}}
        case "tool_search_output":
            return tied | {"execution": "client", "status": "completed", "tools": []}
        case "apply_patch_call_output":
            return tied | {"status": "failed", "output": text}
        case "shell_call_output":
            return tied | {"output": _shell_output(text)}
        case _:
            return tied | {"output": text}


def _shell_output(text: str) -> list[Json]:
    return [{"stdout": "", "stderr": text, "outcome": {"type": "exit", "exit_code": 1}}]


def with_result(item: Tree, text: str) -> JsonObject:
    """A tool's result with other words in it."""
    match item["type"]:
        case "shell_call_output":
            return {**item, "output": _shell_output(text)}
        case "local_shell_call_output":
            return {**item, "output": encode({"output": text}).decode()}
        case "tool_search_output":
            return {**item, "tools": []}
        case _:
            return {**item, "output": text}
