"""smolagents' tool-calling agent."""

import os

from notebook import MODEL, STREAMED, TASKS, read_note, run_shell, tell
from smolagents import OpenAIModel, ToolCallingAgent, tool

model = OpenAIModel(MODEL, api_base=os.environ["OPENAI_BASE_URL"])
agent = ToolCallingAgent([tool(read_note), tool(run_shell)], model, max_steps=5, stream_outputs=STREAMED)
tell([str(agent.run(task, reset=not number)) for number, task in enumerate(TASKS)])
