"""Haystack."""

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from notebook import MODEL, STREAMED, SYSTEM, TASKS, WIRE, read_note, run_shell, tell

generator = (OpenAIResponsesChatGenerator if WIRE == "responses" else OpenAIChatGenerator)(model=MODEL)
tools = [create_tool_from_function(read_note), create_tool_from_function(run_shell)]
agent = Agent(chat_generator=generator, tools=tools, system_prompt=SYSTEM)

answers, history = [], []
for task in TASKS:
    callback = (lambda chunk: None) if STREAMED else None
    result = agent.run(messages=[*history, ChatMessage.from_user(task)], streaming_callback=callback)
    history = [message for message in result["messages"] if not message.is_from("system")]
    answers.append(history[-1].text)
tell(answers)
