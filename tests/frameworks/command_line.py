"""The agents that are programs of their own: how each is told where its server is, and what it said.

Their shell tools really run commands, in a directory made for the run; see `conversation.HARMFUL` for why none of the
commands can do harm.
"""

import json
from collections.abc import Sequence

from tests.frameworks.run import Command, Run

_CODEX = """
model = "{model}"
model_provider = "here"
[model_providers.here]
name = "here"
base_url = "{root}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


def codex(run: Run) -> Sequence[Command]:
    """One process for each message; the later ones take the session up again."""
    settings = run.home / ".codex" / "config.toml"
    settings.parent.mkdir()
    settings.write_text(_CODEX.format(model=run.case.model, root=run.root))
    program = str(run.folder / "node_modules" / ".bin" / "codex")
    options = ("--sandbox", "danger-full-access", "exec")
    more = ("--skip-git-repo-check", "--json")
    first, *later = run.says
    return [(program, *options, *more, first), *((program, *options, "resume", "--last", *more, say) for say in later)]


def codex_answers(printed: str) -> list[str]:
    items = [event["item"] for event in _lines(printed) if event.get("type") == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"][-1:]


def claude_code(run: Run) -> Sequence[Command]:
    program = run.folder / "node_modules" / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    options = ("-p", "--output-format", "json", "--model", run.case.model, "--allowedTools", "Bash")
    first, *later = run.says
    command = ("node", str(program), *options)
    return [(*command, "--", first), *((*command, "--continue", "--", say) for say in later)]


def claude_code_answers(printed: str) -> list[str]:
    return [event["result"] for event in _lines(printed) if event.get("type") == "result"]


def _lines(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
