"""The tools and the calls that end-to-end tests speak of. Nobody runs them."""

from typing import Any

from guardproxy.testing.dialects import SaidCall


def function_tool(name: str, *parameters: str) -> dict[str, Any]:
    """A strict tool whose parameters are strings, all of them required."""
    schema = {
        "type": "object",
        "properties": {parameter: {"type": "string"} for parameter in parameters},
        "required": list(parameters),
        "additionalProperties": False,
    }
    function = {"name": name, "description": f"Tool {name}.", "parameters": schema, "strict": True}
    return {"type": "function", "function": function}


TOOLS = [function_tool("get_weather", "city"), function_tool("bash", "command")]
CUSTOM_TOOL = {"type": "custom", "custom": {"name": "bash", "description": "Runs a script."}}

WEATHER = SaidCall("get_weather", '{"city": "Oslo"}')
WIPE_COMMAND = "rm -rf / --no-preserve-root"
WIPE = SaidCall("bash", '{"command": "rm -rf / --no-preserve-root"}', id="call_Wp9xQ2")
