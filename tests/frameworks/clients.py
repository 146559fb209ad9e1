"""The clients, the wires that each is played on, and how each is started."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.frameworks.command_line import claude_code, claude_code_answers, codex, codex_answers
from tests.frameworks.environments import HERE, REQUIREMENTS, python_of
from tests.frameworks.run import Case, Command, Run

PROGRAMS = HERE / "programs"


@dataclass(frozen=True, slots=True)
class Client:
    """`commands` are run one after the other; `read` finds the agent's answers in what one of them printed."""

    name: str
    title: str
    environment: str
    package: str
    cases: Sequence[Case]
    commands: Callable[[Run], Sequence[Command]]
    read: Callable[[str], list[str]]
    writes_code: bool = False  # its calls are Python in the model's text

    @property
    def version(self) -> str:
        """As it is pinned."""
        lock = REQUIREMENTS / f"{self.environment}.txt"
        if lock.exists():
            pin = rf"^{re.escape(self.package)}(?:\[.*\])?==([^\s;]+)"
            pinned: list[str] = re.findall(pin, lock.read_text(), re.MULTILINE)
            return pinned[0]
        manifest = json.loads((REQUIREMENTS / self.environment / "package.json").read_text())
        version: str = manifest["dependencies"][self.package]
        return version


def _told(printed: str) -> list[str]:
    """What a program of ours says on a line of its own, near the end of standard output."""
    lines = [line for line in printed.splitlines() if line.startswith('{"answers"')]
    answers: list[str] = json.loads(lines[-1])["answers"] if lines else []
    return answers


_FORMS = {
    "both": (Case("", False), Case("", True)),
    "streamed": (Case("", True),),
    "whole": (Case("", False),),
    "bridged": (Case("", False, bridged=True), Case("", True, bridged=True)),
    "streamed-bridged": (Case("", True, bridged=True),),
    "stored": (Case("", False, stored=True), Case("", True, stored=True)),
}


def _cases(text: str) -> tuple[Case, ...]:
    """`chat/both responses/streamed`: the wires, and the forms in which each is asked for."""
    words = [word.split("/") for word in text.split()]
    return tuple(replace(case, wire=wire) for wire, form in words for case in _FORMS[form])


def _python(name: str, title: str, package: str, program: str, cases: str) -> Client:
    def commands(run: Run) -> Sequence[Command]:
        return [(str(python_of(run.folder)), "-W", "ignore", str(PROGRAMS / f"{program}.py"), *run.says)]

    return Client(name, title, name, package, _cases(cases), commands, _told)


def _vercel_ai(run: Run) -> Sequence[Command]:
    """Node looks for packages above the program's own folder, so the folder gets a way to them."""
    program = run.home / "vercel_ai.mjs"
    program.write_text((PROGRAMS / program.name).read_text())
    (run.home / "node_modules").symlink_to(run.folder / "node_modules")
    return [("node", str(program), *run.says)]


_EVERY = "responses/both chat/both messages/both"
_OPENAI = "chat/both responses/both"
_STREAMED = "chat/streamed responses/streamed messages/streamed"
_CODEX = "responses/streamed responses/streamed-bridged"
_CLAUDE = "messages/streamed messages/streamed-bridged"
_CLAUDE_CODE = ("claude-code", "@anthropic-ai/claude-code")

CLIENTS: Sequence[Client] = (
    _python("openai", "OpenAI SDK", "openai", "openai_sdk", f"{_OPENAI} responses/stored responses/bridged"),
    _python("openai-agents", "OpenAI Agents SDK", "openai-agents", "openai_agents", "responses/both chat/both"),
    _python("langgraph", "LangChain, LangGraph", "langgraph", "langgraph_agent", _EVERY),
    _python(
        "pydantic-ai",
        "Pydantic AI",
        "pydantic-ai-slim",
        "pydantic_ai_agent",
        "responses/both chat/both messages/streamed",
    ),
    # Its streamed Responses mode ignores a call that comes after text, with and without a proxy.
    _python("crewai", "CrewAI", "crewai", "crewai_agent", "chat/both responses/whole"),
    _python("autogen", "AutoGen", "autogen-agentchat", "autogen_agent", "chat/both"),
    _python("llama-index", "LlamaIndex", "llama-index-core", "llama_index_agent", _OPENAI),
    _python("smolagents", "smolagents, tool calling", "smolagents", "smolagents_tools", "chat/both"),
    replace(
        _python("smolagents-code", "smolagents, code agent", "smolagents", "smolagents_code", "chat/both"),
        environment="smolagents",
        writes_code=True,
    ),
    _python("haystack", "Haystack", "haystack-ai", "haystack_agent", _OPENAI),
    _python("strands", "Strands", "strands-agents", "strands_agent", _STREAMED),
    _python("anthropic", "Anthropic SDK", "anthropic", "anthropic_sdk", "messages/both messages/bridged"),
    Client("vercel-ai", "Vercel AI SDK", "vercel-ai", "ai", _cases(_EVERY), _vercel_ai, _told),
    Client("codex", "Codex CLI", "codex", "@openai/codex", _cases(_CODEX), codex, codex_answers),
    Client("claude-code", "Claude Code", *_CLAUDE_CODE, _cases(_CLAUDE), claude_code, claude_code_answers),
)
BY_NAME = {client.name: client for client in CLIENTS}
FASTEST = ("openai", "anthropic", "vercel-ai")  # between them they speak every wire

# Faults of the proxy that a client has shown and that are still there, by client and wire.
KNOWN: dict[tuple[str, str], str] = {}
