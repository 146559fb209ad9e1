"""LlamaIndex."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context
from llama_index.llms.openai import OpenAI, OpenAIResponses
from notebook import MODEL, STREAMED, SYSTEM, TASKS, WIRE, read_note, run_shell, tell

llm = (OpenAIResponses if WIRE == "responses" else OpenAI)(model=MODEL)
agent = FunctionAgent(tools=[read_note, run_shell], llm=llm, system_prompt=SYSTEM, streaming=STREAMED)


async def main() -> None:
    context, answers = Context(agent), []
    for task in TASKS:
        answers.append(str(await agent.run(task, ctx=context)))
    tell(answers)


asyncio.run(main())
