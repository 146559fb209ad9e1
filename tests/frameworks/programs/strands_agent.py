"""Strands. Its models always stream."""

import asyncio
import os

from notebook import MODEL, SYSTEM, TASKS, WIRE, read_note, run_shell, tell
from strands import Agent, tool

if WIRE == "messages":
    from strands.models.anthropic import AnthropicModel

    model = AnthropicModel(model_id=MODEL, max_tokens=500)
elif WIRE == "responses":
    from strands.models.openai_responses import OpenAIResponsesModel

    model = OpenAIResponsesModel(model_id=MODEL)
else:
    from strands.models.openai import OpenAIModel

    model = OpenAIModel(model_id=MODEL, client_args={"base_url": os.environ["OPENAI_BASE_URL"]})

agent = Agent(model=model, tools=[tool(read_note), tool(run_shell)], system_prompt=SYSTEM, callback_handler=None)


async def main() -> None:
    tell([str(await agent.invoke_async(task)).strip() for task in TASKS])


asyncio.run(main())
