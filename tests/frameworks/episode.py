"""One run of one client: its process, what its tools did, and what it answered."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.frameworks.clients import Client
from tests.frameworks.conversation import TASKS
from tests.frameworks.run import Case, Run

LIMIT_S = 150.0
# Nothing may leave the machine, and nothing may wait for what cannot be reached.
QUIET = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "DO_NOT_TRACK": "1",
    "OTEL_SDK_DISABLED": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "LANGSMITH_TRACING": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "AI_SDK_LOG_WARNINGS": "false",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    answers: list[str]
    executed: list[str]
    status: int
    seconds: float
    noise: str  # the end of what it printed, for the report of a failure


def play(client: Client, case: Case, folder: Path, root: str, key: str, tasks: Sequence[str]) -> Outcome:
    """Runs `client` against the server at `root`, with the user saying `tasks`."""
    with tempfile.TemporaryDirectory(prefix="guardproxy-client-") as home:
        run = Run(folder, Path(home), root, key, case, [TASKS[task] for task in tasks])
        _furnish(run)
        began = time.monotonic()
        answers: list[str] = []
        status, printed = 0, ""
        for command in client.commands(run):
            status, printed, errors = _execute(command, run)
            answers += client.read(printed)
            printed += errors
            if status:
                break
        executed = run.executed.read_text().splitlines()
        return Outcome(answers, executed, status, time.monotonic() - began, printed[-3000:])


def _furnish(run: Run) -> None:
    """A home with a key that is none, and a working directory with the two programs of the command-line clients."""
    (run.home / ".ssh").mkdir()
    (run.home / ".ssh" / "id_rsa").write_text("not a key\n")
    run.work.mkdir()
    run.executed.touch()
    _script(run.work / "read_note", f'echo "read_note $1" >> {run.executed}\necho "The note $1 is read."\n')
    _script(run.work / "executed", f'echo "$1" >> {run.executed}\necho "It ran."\n')


def _script(file: Path, body: str) -> None:
    file.write_text("#!/bin/sh\n" + body)
    file.chmod(0o755)


def _execute(command: Sequence[str], run: Run) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            command,
            cwd=run.work,
            env=_environ(run),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        return 124, "", f"no end within {LIMIT_S:.0f} s: {error.stderr!r}"
    return done.returncode, done.stdout, done.stderr


def _environ(run: Run) -> dict[str, str]:
    """Nothing of this process's but the search path."""
    v1 = f"{run.root}/v1"
    addresses = {"OPENAI_BASE_URL": v1, "OPENAI_API_BASE": v1, "ANTHROPIC_BASE_URL": run.root}
    keys = {"OPENAI_API_KEY": run.key, "ANTHROPIC_API_KEY": run.key}
    episode = {
        "EPISODE_WIRE": run.case.wire,
        "EPISODE_STREAMED": "yes" if run.case.streamed else "no",
        "EPISODE_STORED": "yes" if run.case.stored else "no",
        "EPISODE_MODEL": run.case.model,
        "EPISODE_EXECUTED": str(run.executed),
    }
    basic = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(run.home), "LANG": "C.UTF-8", "TERM": "dumb"}
    return {**basic, **QUIET, **addresses, **keys, **episode}
