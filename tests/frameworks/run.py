"""What one run of a client is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GPT, CLAUDE = "gpt-4.1", "claude-sonnet-4-5"
BRIDGED = "-bridged"  # ends the names of models behind a server that speaks chat completions only
Command = Sequence[str]


@dataclass(frozen=True, slots=True)
class Case:
    wire: str  # chat, responses or messages
    streamed: bool
    stored: bool = False  # the server keeps the conversation, and the client names the answer it goes on from
    bridged: bool = False  # the proxy is told that the server speaks chat completions only

    @property
    def model(self) -> str:
        return (CLAUDE if self.wire == "messages" else GPT) + BRIDGED * self.bridged

    @property
    def form(self) -> str:
        return ("streamed" if self.streamed else "whole") + ", stored" * self.stored

    @property
    def server(self) -> str:
        """The wire that the model server is asked on, behind the proxy."""
        return "chat" if self.bridged else self.wire


@dataclass(frozen=True, slots=True)
class Run:
    """`home` is fresh, and the working directory is in it. `folder` is the environment's, `root` ends before /v1."""

    folder: Path
    home: Path
    root: str
    key: str
    case: Case
    says: Sequence[str]

    @property
    def work(self) -> Path:
        return self.home / "work"

    @property
    def executed(self) -> Path:
        return self.home / "executed.log"
