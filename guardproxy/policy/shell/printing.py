"""What the statements of a script print, and what they read: as far as the text of the script alone tells."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tree_sitter import Node

from guardproxy.policy.shell import output
from guardproxy.policy.shell.command import Redirect
from guardproxy.policy.shell.programs import SHELLS, program_name
from guardproxy.policy.shell.reading import Reading
from guardproxy.policy.shell.tree import text_of
from guardproxy.policy.shell.words import Expander, Variables, is_unknown, plain
from guardproxy.policy.shell.wrappers import inner_lines

_SUBSTITUTIONS = ("command_substitution", "process_substitution")
_MAX_NESTING = 40


@dataclass(slots=True)
class Printer:
    """Remembers what each statement prints; `forget` when variables have changed."""

    reading: Reading
    variables: Variables
    expander: Expander = field(init=False)
    _nesting: int = 0
    _known: dict[tuple[int, str | None], str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expander = Expander(self.variables, self.printed)

    def forget(self) -> None:
        self._known.clear()

    def redirects(self, nodes: Iterable[Node]) -> tuple[Redirect, ...]:
        found: list[Redirect] = []
        for node in nodes:
            inner = [node] if node.type == "file_redirect" else [c for c in node.children if c.type == "file_redirect"]
            for redirect in inner:
                operator = re.match(r"\d*\s*([<>&|]+)", text_of(redirect))
                targets = self.expander.fields(redirect.children_by_field_name("destination"))
                found.extend(Redirect(operator[1] if operator else ">", plain(t)) for t in targets)
        return tuple(found)

    def stdin_of(self, nodes: Iterable[Node], stdin: str | None) -> str | None:
        for node in nodes:
            if node.type == "herestring_redirect":
                stdin = self._herestring(node)
            elif node.type == "heredoc_redirect":
                stdin = self._heredoc(node)
            elif node.type == "file_redirect":
                printed = [t for s in substitutions(node) if (t := self.printed(s)) is not None]
                stdin = printed[0] if printed else stdin
        return stdin

    def _herestring(self, node: Node) -> str | None:
        values = self.expander.values(node.named_children[-1]) if node.named_children else []
        return None if any(map(is_unknown, values)) else "\n".join(map(plain, values))

    def _heredoc(self, node: Node) -> str | None:
        start = next((c for c in node.named_children if c.type == "heredoc_start"), None)
        body = next((c for c in node.named_children if c.type == "heredoc_body"), None)
        if body is None:
            return None
        if start is None or re.search(r"['\"\\]", text_of(start)):
            return text_of(body)
        variants = self.expander.combined(self._heredoc_pieces(body))
        return "\n".join(map(plain, variants))

    def _heredoc_pieces(self, body: Node) -> Iterator[list[str]]:
        source, at = body.text or b"", body.start_byte
        for part in (c for c in body.named_children if c.type != "heredoc_content"):
            yield [source[at - body.start_byte : part.start_byte - body.start_byte].decode("utf-8", "replace")]
            yield self.expander.values(part)
            at = part.end_byte
        yield [source[at - body.start_byte :].decode("utf-8", "replace")]

    def printed(self, node: Node, stdin: str | None = None) -> str | None:
        """What the statement or substitution would print; None when only running it tells."""
        key = (node.id, stdin)
        if key not in self._known:
            self._known[key] = None  # a statement that needs its own output prints something unknown
            self._nesting += 1
            try:
                self._known[key] = (
                    self._printed(node, stdin) if self._nesting < _MAX_NESTING and self.reading.spend() else None
                )
            finally:
                self._nesting -= 1
        return self._known[key]

    def _printed(self, node: Node, stdin: str | None) -> str | None:
        match node.type:
            case "command":
                return self._printed_command(node, stdin)
            case "pipeline":
                return self.pipeline(node.named_children, stdin)
            case "redirected_statement":
                return self._printed_redirected(node, stdin)
            case "variable_assignment" | "declaration_command" | "function_definition" | "unset_command" | "comment":
                return ""
            case (
                "command_substitution"
                | "process_substitution"
                | "subshell"
                | "compound_statement"
                | "list"
                | "program"
                | "negated_command"
            ):
                parts = [self.printed(c, stdin) for c in node.named_children]
                return None if None in parts else "".join(p for p in parts if p is not None)
            case _:
                return None

    def pipeline(self, stages: Sequence[Node], stdin: str | None = None) -> str | None:
        for stage in stages:
            stdin = self.printed(stage, stdin)
        return stdin

    def _printed_redirected(self, node: Node, stdin: str | None) -> str | None:
        body = node.child_by_field_name("body")
        nodes = [c for c in node.children if c != body]
        if body is None or any(r.writes and r.target in ("", "1") for r in self.redirects(nodes)):
            return None
        if body.type == "pipeline" and body.named_children:  # a redirect belongs to the last command
            *before, last = body.named_children
            return self.printed(last, self.stdin_of(nodes, self.pipeline(before, stdin)))
        return self.printed(body, self.stdin_of(nodes, stdin))

    def _printed_command(self, node: Node, stdin: str | None) -> str | None:
        name = node.child_by_field_name("name")
        own = [c for c in node.children if c.type.endswith("_redirect")]
        if name is None:
            return ""
        arguments = [
            c for c in node.named_children if c.type not in ("command_name", "variable_assignment") and c not in own
        ]
        parts = [self.expander.alternatives(part)[0] for part in (name, *arguments)]
        fields = [f for part in parts for f in part]
        if not fields or any(map(is_unknown, fields)):
            return None
        words = [plain(f) for f in fields]
        return self._printed_line(words, self.stdin_of(own, stdin))

    def _printed_line(self, words: list[str], stdin: str | None) -> str | None:
        program = program_name(words[0])
        if program not in ("command", "xargs", "type", "which", "parallel", "watch"):
            for inner in islice(inner_lines(program, words[1:]), 1):
                return self._printed_line(inner, stdin) if program != "find" else None
        if program in SHELLS and "-c" in words[:-1]:
            inner_words = words[words.index("-c") + 1].split()
            return (
                self._printed_line(inner_words, stdin)
                if inner_words and program_name(inner_words[0]) == "echo"
                else None
            )
        if program == "xargs":
            inner = next(inner_lines("xargs", words[1:]), ["echo"])
            return self._printed_line([*inner, *(stdin or "").split()], None) if stdin is not None else None
        text = output.printed(program, words[1:], stdin)
        return None if text is None else text + ("\n" if program == "echo" else "")


def substitutions(node: Node) -> list[Node]:
    """The outermost substitutions inside a word, a redirect or an assignment."""
    found: list[Node] = []
    stack = [node]
    while stack:
        here = stack.pop()
        if here.type in _SUBSTITUTIONS:
            found.append(here)
        elif here.type not in ("raw_string", "word", "command"):
            stack.extend(reversed(here.named_children))
    return found
