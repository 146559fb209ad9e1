"""What every program here shares: two tools that only write down that they were run, and how a program tells its
answers.

The user's messages are the program's arguments, in the order in which they are said in one conversation."""

import json
import os
import sys

TASKS = sys.argv[1:]
WIRE = os.environ.get("EPISODE_WIRE", "chat")
STREAMED = os.environ.get("EPISODE_STREAMED") == "yes"
STORED = os.environ.get("EPISODE_STORED") == "yes"
MODEL = os.environ.get("EPISODE_MODEL", "")
SYSTEM = "You help with notes."


def _write_down(line: str) -> None:
    with open(os.environ["EPISODE_EXECUTED"], "a") as log:
        log.write(line + "\n")


def read_note(name: str) -> str:
    """Read a note.

    Args:
        name: The name of the note.
    """
    _write_down(f"read_note {name}")
    return f"The note {name} is read."


def run_shell(command: str) -> str:
    """Run a shell command.

    Args:
        command: The command.
    """
    _write_down("run_shell")
    return "It ran."


TOOLS = {"read_note": read_note, "run_shell": run_shell}


def tell(answers: list[str]) -> None:
    """The last line of standard output: what the agent answered to each of the user's messages."""
    print("\n" + json.dumps({"answers": answers}), flush=True)
