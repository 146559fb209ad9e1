"""Tools that take free text, for servers that know functions alone: a function with the text as its one argument. Pure.

Few chat servers know custom tools, and those that do serve the Responses API themselves.
"""

from guardproxy.strict_json import JsonObject, MalformedJson, decode_object, encode
from guardproxy.upstream.bridge.conversation import function_call, function_tool

_TEXT = "input"
_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {_TEXT: {"type": "string", "description": "The whole input of the tool, as plain text."}},
    "required": [_TEXT],
    "additionalProperties": False,
}


def custom_as_function(name: str, description: str, grammar: str) -> JsonObject:
    """A server cannot hold the model to the `grammar`, so the model is told of it."""
    told = f"The input must follow this grammar:\n{grammar}" if grammar else ""
    return function_tool(name, "\n\n".join(filter(None, (description, told))) or None, _PARAMETERS)


def call_of_text(call_id: str, name: str, text: str) -> JsonObject:
    """An earlier call of such a tool."""
    return function_call(call_id, name, encode({_TEXT: text}).decode())


def text_of_arguments(arguments: str) -> str:
    """The text that the model called the tool with: what it said where that is not in the form it was asked for."""
    try:
        given = decode_object(arguments.encode())
    except MalformedJson:
        return arguments
    text = given.get(_TEXT)
    return text if isinstance(text, str) and len(given) == 1 else arguments
