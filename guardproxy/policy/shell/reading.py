"""What one reading has found, how much more it may do, and which nested scripts it still has to read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from guardproxy.policy.shell.command import Command
from guardproxy.policy.shell.tree import Stop

MAX_COMMANDS = 2_000
MAX_NODES = 60_000
MAX_SCRIPT_DEPTH = 10
MAX_TREE_DEPTH = 80
MAX_WORDS = 4_096  # of one command
MAX_TOTAL_WORDS = 30_000
MAX_STDIN = 262_144  # characters
MAX_INPUTS = 64
MAX_DIRECTORIES = 64

BASH = "bash"


@dataclass(frozen=True, slots=True)
class Text:
    """A script, or a program in another language, that something runs."""

    language: str
    source: str
    directories: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    depth: int = 0
    variables: Mapping[str, list[str]] = field(default_factory=dict, compare=False)  # of the script that runs it


@dataclass(slots=True)
class Reading:
    """Shared by all scripts of one reading. What does not fit the bounds makes it truncated, never silently short."""

    stop: Stop
    commands: dict[Command, None] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # what the scripts themselves wrote
    origins: dict[str, tuple[Command, ...]] = field(default_factory=dict)  # the commands whose output a file holds
    waiting: list[Text] = field(default_factory=list)
    broken: bool = False
    truncated: bool = False
    nodes: int = 0
    words: int = 0
    _seen: set[Text] = field(default_factory=set)

    def spend(self) -> bool:
        """Whether there is room for one more node."""
        self.nodes += 1
        if self.nodes > MAX_NODES or len(self.commands) > MAX_COMMANDS or (self.nodes % 256 == 0 and self.stop()):
            self.truncated = True
        return not self.truncated

    def add(self, text: Text) -> None:
        """Puts a nested text on the list of what is to be read, once."""
        same = replace(text, depth=0)
        if not text.source.strip() or same in self._seen:
            return
        self._seen.add(same)
        if text.depth > MAX_SCRIPT_DEPTH:
            self.truncated = True
            return
        self.waiting.append(text)

    def emit(self, command: Command) -> tuple[Command, ...]:
        self.words += len(command.words)
        if self.words > MAX_TOTAL_WORDS:
            self.truncated = True
            return ()
        self.commands[command] = None
        return (command,)

    def fed(self, *groups: Iterable[Command]) -> tuple[Command, ...]:
        """Commands as the inputs of another one: flat, or a long pipeline would nest without end."""
        flat = (replace(c, inputs=(), stdin="") if c.inputs or c.stdin else c for group in groups for c in group)
        found = dict.fromkeys(flat)
        self.truncated |= len(found) > MAX_INPUTS
        return tuple(islice(found, MAX_INPUTS))

    def cut(self, words: Sequence[str]) -> list[str]:
        """At most MAX_WORDS of them."""
        self.truncated |= len(words) > MAX_WORDS
        return list(words[:MAX_WORDS])
