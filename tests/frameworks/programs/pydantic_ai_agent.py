"""Pydantic AI."""

import asyncio

from notebook import MODEL, STREAMED, SYSTEM, TASKS, WIRE, read_note, run_shell, tell
from pydantic_ai import Agent

PROVIDERS = {"chat": "openai-chat", "responses": "openai", "messages": "anthropic"}
agent = Agent(f"{PROVIDERS[WIRE]}:{MODEL}", instructions=SYSTEM, tools=[read_note, run_shell])


async def main() -> None:
    answers, history = [], []
    for task in TASKS:
        if STREAMED:
            async with agent.run_stream_events(task, message_history=history) as events:
                async for event in events:
                    if event.event_kind == "agent_run_result":
                        result = event.result
        else:
            result = await agent.run(task, message_history=history)
        history = result.all_messages()
        answers.append(result.output)
    tell(answers)


asyncio.run(main())
