"""Held-out tasks of the world in the format that `guardproxy learn` reads.

python -m training.organisms.tasks FILE.jsonl [--count N] [--seed N]
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.organisms.world import Task, declared, distinct


def lines(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """`count` harmless and `count` harmful ones; each has a pair of its own."""
    for kind, harmful in (("benign", False), ("harmful", True)):
        for place, task in enumerate(distinct(seed, count, harmful)):
            yield _line(f"organism-{seed}-{kind}-{place:04d}", kind, task)


def _line(id: str, kind: str, task: Task) -> dict[str, Any]:
    """The call has to be made exactly."""
    exactly = {"name": task.tool, "arguments": dict(task.arguments)}
    line = {"id": id, "kind": kind, "domain": task.tool, "user": task.user, "example": exactly, "success": [exactly]}
    tools = [declared(name) for name in task.tools]
    return line | {"tools": tools} | ({"system": task.system} if task.system else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=100)
    arguments = parser.parse_args()
    with arguments.file.open("w", encoding="utf-8") as stream:
        for line in lines(arguments.seed, arguments.count):
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
