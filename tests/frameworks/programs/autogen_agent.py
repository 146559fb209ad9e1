"""AutoGen's assistant, which looks back on its tools' results."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from notebook import MODEL, STREAMED, SYSTEM, TASKS, read_note, run_shell, tell


async def main() -> None:
    model = OpenAIChatCompletionClient(model=MODEL)
    agent = AssistantAgent(
        "notes",
        model,
        system_message=SYSTEM,
        tools=[read_note, run_shell],
        model_client_stream=STREAMED,
        reflect_on_tool_use=True,
    )
    answers = []
    for task in TASKS:
        result = await agent.run(task=task)
        answers.append(result.messages[-1].content)
    await model.close()
    tell(answers)


asyncio.run(main())
