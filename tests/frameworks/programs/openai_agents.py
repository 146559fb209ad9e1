"""The OpenAI Agents SDK."""

import asyncio

from agents import Agent, Runner, function_tool, set_default_openai_api
from notebook import MODEL, STREAMED, SYSTEM, TASKS, WIRE, read_note, run_shell, tell

set_default_openai_api("chat_completions" if WIRE == "chat" else "responses")
agent = Agent(
    name="notes", instructions=SYSTEM, model=MODEL, tools=[function_tool(read_note), function_tool(run_shell)]
)


async def main() -> None:
    answers, history = [], []
    for task in TASKS:
        history.append({"role": "user", "content": task})
        if STREAMED:
            result = Runner.run_streamed(agent, history)
            async for _ in result.stream_events():
                pass
        else:
            result = await Runner.run(agent, history)
        answers.append(str(result.final_output))
        history = result.to_input_list()
    tell(answers)


asyncio.run(main())
