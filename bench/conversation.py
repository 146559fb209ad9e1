"""The request of every measurement: an agent a few steps into its work, about four kilobytes of JSON."""

import orjson

from bench.plan import TOOL, Plan


def _tool(name: str, description: str, **properties: str) -> dict[str, object]:
    schema = {
        "type": "object",
        "properties": {key: {"type": "string", "description": text} for key, text in properties.items()},
        "required": list(properties)[:1],
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


_TOOLS = [
    _tool(TOOL, "The weather of a city now.", city="The city's name", units="celsius or fahrenheit"),
    _tool("bash", "Run a command in the workspace's shell.", command="The command line", directory="Where to run it"),
    _tool("read_file", "Read a text file of the workspace.", path="Path from the workspace's root", encoding="utf-8"),
    _tool("search", "Search the web.", query="What to look for", language="Two letters", region="Two letters"),
]
_SYSTEM = "You are an assistant that plans outdoor events. Use the tools; ask before you book anything. " * 6
_RESULT = "name,date,place,guests,notes\n" + "summer party,2026-06-20,Oslo,84,needs a roof if it rains\n" * 20


def _earlier_call(identity: str, name: str, arguments: dict[str, str]) -> dict[str, object]:
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    call = {"id": identity, "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


_MESSAGES = [
    {"role": "system", "content": _SYSTEM},
    {"role": "user", "content": "Which of our events this summer should get a tent? The list is in events.csv."},
    _earlier_call("call_1", "read_file", {"path": "events.csv"}),
    {"role": "tool", "tool_call_id": "call_1", "content": _RESULT},
    {"role": "assistant", "content": "There are twenty events. I will look at the weather of each place."},
    {"role": "user", "content": "Good. Begin with Oslo, and tell me before you go on."},
]


def request_body(plan: Plan, stream: bool) -> bytes:
    return orjson.dumps({"model": plan.model, "messages": _MESSAGES, "tools": _TOOLS, "stream": stream})


def wire_request(port: int, body: bytes) -> bytes:
    """The bytes of the whole HTTP request to a server on loopback."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"host: 127.0.0.1:{port}\r\n"
        "authorization: Bearer bench\r\n"
        "accept: application/json\r\n"
        "user-agent: guardproxy-bench\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
