"""The tools of a Messages request, and the choice among them, as chat completions have them.

The API knows two tools that the client runs by name alone: their schemas are published, so a chat model gets them.
"""

from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.bridge.conversation import function_tool
from guardproxy.upstream.bridge.fields import Fields

_IGNORED = frozenset({"cache_control", "defer_loading", "eager_input_streaming", "input_examples"})


def chat_tools(body: Fields) -> JsonObject:
    """`tools`, `tool_choice` and `parallel_tool_calls`, which a chat server takes only together with tools."""
    tools: list[Json] = [_tool(tool) for tool in body.objects("tools")]
    choice = _choice(body)
    if not tools:
        return {}
    return {"tools": tools, **choice}


def _tool(tool: Fields) -> JsonObject:
    kind = tool.take("type")
    callers = tool.take("allowed_callers")
    if isinstance(callers, list) and "direct" not in callers:
        raise tool.refused("allowed_callers", "its tools are called by the model alone")
    name = tool.string("name")
    match kind:
        case None | "custom":
            description = tool.optional_string("description")
            translated = function_tool(name, description, tool.take("input_schema"), tool.take("strict"))
        case "bash_20250124":
            translated = function_tool(name, _BASH_DESCRIPTION, _BASH)
        case "text_editor_20250429" | "text_editor_20250728":
            tool.take("max_characters")  # how the client cuts what it shows; the model is not asked
            translated = function_tool(name, _EDITOR_DESCRIPTION, _EDITOR)
        case _:
            raise tool.refused("type", "this tool has no schema that a chat model could be given")
    tool.end(_IGNORED)
    return translated


def _choice(body: Fields) -> JsonObject:
    choice = body.object("tool_choice")
    if choice is None:
        return {}
    chat: JsonObject = {"parallel_tool_calls": False} if choice.take("disable_parallel_tool_use") is True else {}
    match choice.string("type"):
        case "auto":
            chat["tool_choice"] = "auto"
        case "any":
            chat["tool_choice"] = "required"
        case "none":
            chat["tool_choice"] = "none"
        case "tool":
            chat["tool_choice"] = {"type": "function", "function": {"name": choice.string("name")}}
        case _:
            raise choice.refused("type", "it has no such choice")
    choice.end()
    return chat


_BASH_DESCRIPTION = "Run a command in a bash session that stays open, or restart the session."
_BASH: JsonObject = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "description": "The command to run; not needed for a restart."},
        "restart": {"type": "boolean", "description": "True to restart the session instead."},
    },
}

_EDITOR_DESCRIPTION = "View, create and edit text files."
_EDITOR: JsonObject = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert"]},
        "path": {"type": "string", "description": "Path of the file or directory."},
        "file_text": {"type": "string", "description": "For create: the content of the file."},
        "old_str": {"type": "string", "description": "For str_replace: the text to replace, which must be unique."},
        "new_str": {"type": "string", "description": "For str_replace: the text in its place."},
        "insert_line": {"type": "integer", "description": "For insert: the line after which to insert; 0: at the top."},
        "insert_text": {"type": "string", "description": "For insert: the text to insert."},
        "view_range": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "For view: the first and the last line to show; -1: to the end.",
        },
    },
    "required": ["command", "path"],
}
