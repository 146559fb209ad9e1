"""LangChain's agent, which is a LangGraph."""

from langchain.agents import create_agent
from notebook import MODEL, STREAMED, SYSTEM, TASKS, WIRE, read_note, run_shell, tell

if WIRE == "messages":
    from langchain_anthropic import ChatAnthropic

    model = ChatAnthropic(model=MODEL, streaming=STREAMED)
else:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, streaming=STREAMED, use_responses_api=WIRE == "responses")

agent = create_agent(model, [read_note, run_shell], system_prompt=SYSTEM)
answers, history = [], []
for task in TASKS:
    state = agent.invoke({"messages": [*history, {"role": "user", "content": task}]})
    history = state["messages"]
    answers.append(history[-1].text)
tell([str(answer) for answer in answers])
