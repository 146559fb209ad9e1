"""The OpenAI SDK, in the loop that its guide shows: call, run the tools, call again."""

import json

from notebook import MODEL, STORED, STREAMED, SYSTEM, TASKS, TOOLS, WIRE, tell
from openai import OpenAI
from openai.types.responses import Response

client = OpenAI()


def schema(name: str) -> dict:
    field = "name" if name == "read_note" else "command"
    properties = {field: {"type": "string"}}
    return {"type": "object", "properties": properties, "required": [field], "additionalProperties": False}


FUNCTIONS = [
    {"name": name, "description": tool.__doc__, "parameters": schema(name), "strict": True}
    for name, tool in TOOLS.items()
]


def run(name: str, arguments: str) -> str:
    return TOOLS[name](**json.loads(arguments))


def chat_turn(messages: list) -> str:
    tools = [{"type": "function", "function": function} for function in FUNCTIONS]
    while True:
        if STREAMED:
            with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(model=MODEL, messages=messages, tools=tools).choices[0].message
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls or []
        ]
        messages.append({"role": "assistant", "content": message.content} | ({"tool_calls": calls} if calls else {}))
        if not calls:
            return message.content
        for call in calls:
            result = run(call["function"]["name"], call["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


def ask(items: list, previous: str | None) -> Response:
    tools = [{"type": "function", **function} for function in FUNCTIONS]
    fields = {"model": MODEL, "input": items, "tools": tools, "instructions": SYSTEM, "store": STORED}
    if previous:
        fields["previous_response_id"] = previous
    if not STREAMED:
        return client.responses.create(**fields)
    with client.responses.stream(**fields) as stream:
        return stream.get_final_response()


def responses_turn(items: list, previous: str | None) -> tuple[str, str]:
    """With a server that stores, `items` has only what it does not know yet."""
    while True:
        response = ask(items, previous)
        if STORED:
            items.clear()
            previous = response.id
        else:
            items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output]
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text, previous
        for call in calls:
            output = run(call.name, call.arguments)
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": output})


answers, previous = [], None
history = [{"role": "system", "content": SYSTEM}] if WIRE == "chat" else []
for task in TASKS:
    history.append({"role": "user", "content": task})
    if WIRE == "chat":
        answer = chat_turn(history)
    else:
        answer, previous = responses_turn(history, previous)
    answers.append(answer)
tell(answers)
