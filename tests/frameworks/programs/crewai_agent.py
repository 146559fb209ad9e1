"""CrewAI."""

from crewai import LLM, Agent
from crewai.tools import tool
from notebook import MODEL, STREAMED, SYSTEM, TASKS, WIRE, read_note, run_shell, tell

llm = LLM(model=f"openai/{MODEL}", stream=STREAMED, api="responses" if WIRE == "responses" else "completions")
tools = [tool("read_note")(read_note), tool("run_shell")(run_shell)]
agent = Agent(role="Notes", goal="Answer.", backstory=SYSTEM, llm=llm, tools=tools)

answers, history = [], []
for task in TASKS:
    history.append({"role": "user", "content": task})
    answers.append(agent.kickoff(history).raw)
    history.append({"role": "assistant", "content": answers[-1]})
tell(answers)
