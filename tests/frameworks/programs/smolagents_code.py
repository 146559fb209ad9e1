"""smolagents' code agent: its actions are Python in the model's text, and no request declares a tool."""

import os

from notebook import MODEL, STREAMED, TASKS, read_note, run_shell, tell
from smolagents import CodeAgent, OpenAIModel, tool

model = OpenAIModel(f"{MODEL}-code", api_base=os.environ["OPENAI_BASE_URL"])
agent = CodeAgent([tool(read_note), tool(run_shell)], model, max_steps=5, stream_outputs=STREAMED)
tell([str(agent.run(task, reset=not number)) for number, task in enumerate(TASKS)])
