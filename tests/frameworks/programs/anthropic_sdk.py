"""The Anthropic SDK, in the loop that its guide shows: call, run the tools, call again."""

from anthropic import Anthropic, beta_tool
from notebook import MODEL, STREAMED, SYSTEM, TASKS, TOOLS, read_note, run_shell, tell

client = Anthropic()
DECLARED = [beta_tool(read_note).to_dict(), beta_tool(run_shell).to_dict()]


def turn(messages: list) -> str:
    fields = {"model": MODEL, "max_tokens": 500, "system": SYSTEM, "messages": messages, "tools": DECLARED}
    while True:
        if STREAMED:
            with client.messages.stream(**fields) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**fields)
        messages.append({"role": "assistant", "content": message.content})
        if message.stop_reason != "tool_use":
            return "".join(block.text for block in message.content if block.type == "text")
        calls = [block for block in message.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": c.id, "content": TOOLS[c.name](**c.input)} for c in calls]
        messages.append({"role": "user", "content": results})


answers, history = [], []
for task in TASKS:
    history.append({"role": "user", "content": task})
    answers.append(turn(history))
tell(answers)
