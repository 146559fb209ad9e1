"""What to look for in an answer: the formats in which its client may read calls, and the names that count."""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_CALLS = 256  # of one text
MAX_NAME = 200

_WRAPPED_NAME = re.compile(r"(?:functions?\.)?(.+?)(?::\d+)?", re.DOTALL)
NO_TOOL = frozenset({"Final Answer", "None"})  # what agents write where an answer stands in the place of a call


class Format(StrEnum):
    """A family of ways to write a call into text."""

    MARKERS = "markers"  # tags and special tokens of a model's own tool format
    JSON = "json"  # an object with a tool's name and arguments, bare or in a fence
    PYTHONIC = "pythonic"  # [f(a=1), g()]
    XML = "xml"  # <f><a>1</a></f>
    REACT = "react"  # Action: f / Action Input: x
    CODE = "code"  # a fence or a tag around a program that the agent runs
    PROGRAM = "program"  # an answer that is a program as it stands


@dataclass(frozen=True, slots=True)
class Watch:
    """`tools` None means that any name counts. `tags` are further tags around programs, without their brackets;
    `elements` are the tags that are calls by themselves, whether or not a tool of the name is declared."""

    formats: frozenset[Format]
    tools: frozenset[str] | None
    tags: frozenset[str] = frozenset()
    elements: frozenset[str] = frozenset()

    def wants(self, name: str) -> str | None:
        """The tool that a client would take `name` for; None where it is no call of interest."""
        name = name.strip(" \t\r\n`'\"*")
        wrapped = _WRAPPED_NAME.fullmatch(name)
        bare = wrapped[1] if wrapped else name
        if self.tools is None:
            return bare[:MAX_NAME] if bare and bare not in NO_TOOL else None
        if name in self.tools:
            return name
        spellings = (bare.casefold(), name.casefold())
        return min((tool for tool in self.tools if tool.casefold() in spellings), default=None)

    def named_in(self, text: str) -> str | None:
        """The first declared tool that `text` mentions anywhere."""
        found = [(at, tool) for tool in self.tools or () if (at := text.find(tool)) >= 0]
        return min(found)[1] if found else None
