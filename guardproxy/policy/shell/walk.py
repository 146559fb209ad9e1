"""The second pass over a script: its statements, with what each is fed and where its output goes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tree_sitter import Node

from guardproxy.policy.shell.command import Command, Redirect
from guardproxy.policy.shell.line import LineReader
from guardproxy.policy.shell.printing import Printer, substitutions
from guardproxy.policy.shell.reading import MAX_TREE_DEPTH, Reading
from guardproxy.policy.shell.tree import text_of
from guardproxy.policy.shell.words import plain

_RUN_LATER = re.compile(
    r"(?:rc|profile|_aliases|_login|_logout|/cron[^/]*/[^/]+|crontab|/rc\.local|\.service|\.desktop|\.plist|/hooks/[^/]+)$"
)


@dataclass(slots=True)
class Walker:
    """`walk` returns the commands that write a statement's output."""

    reading: Reading
    printer: Printer
    lines: LineReader
    _level: int = 0

    def walk(self, node: Node, inputs: tuple[Command, ...], stdin: str | None) -> tuple[Command, ...]:
        """Reads a statement; returns the commands that write its output."""
        if not self.reading.spend():
            return ()
        self._level += 1
        try:
            if self._level > MAX_TREE_DEPTH:
                self.reading.truncated = True
                return ()
            return self._statement(node, inputs, stdin)
        finally:
            self._level -= 1

    def _statement(self, node: Node, inputs: tuple[Command, ...], stdin: str | None) -> tuple[Command, ...]:
        match node.type:
            case "command":
                return self._command(node, (), inputs, stdin)
            case "pipeline":
                return self._pipeline(node.named_children, inputs, stdin)
            case "redirected_statement":
                return self._redirected(node, inputs, stdin)
            case "declaration_command" | "unset_command":
                return self._declaration(node, inputs)
            case "variable_assignment":
                return self._assignment(node)
            case "file_redirect":  # `$(< file)`
                read_from = tuple(r.target for r in self.printer.redirects([node]) if not r.writes)
                return self.reading.emit(Command("cat", read_from, (), (), self.lines.directories)) if read_from else ()
            case (
                "raw_string" | "word" | "comment" | "string_content" | "heredoc_start" | "heredoc_end" | "variable_name"
            ):
                return ()
            case _:
                return tuple(c for child in node.named_children for c in self.walk(child, inputs, stdin))

    def _pipeline(self, stages: Sequence[Node], inputs: tuple[Command, ...], stdin: str | None) -> tuple[Command, ...]:
        for stage in stages:
            after = self.walk(stage, inputs, stdin)
            stdin = self.printer.printed(stage, stdin)
            inputs = self.reading.fed(after, inputs)
        return inputs

    def _redirected(self, node: Node, inputs: tuple[Command, ...], stdin: str | None) -> tuple[Command, ...]:
        body = node.child_by_field_name("body")
        return self._bound(body, [c for c in node.children if c != body], inputs, stdin)

    def _bound(
        self, body: Node | None, redirect_nodes: Sequence[Node], inputs: tuple[Command, ...], stdin: str | None
    ) -> tuple[Command, ...]:
        """A redirect behind a pipeline or a list is its last command's, though the tree hangs it on the whole."""
        if body is not None and body.type in ("pipeline", "list") and body.named_children:
            *before, last = body.named_children
            if body.type == "list":
                ran = tuple(c for statement in before for c in self.walk(statement, inputs, stdin))
                return (*ran, *self._bound(last, redirect_nodes, inputs, stdin))
            inputs = self._pipeline(before, inputs, stdin)
            stdin = self.printer.pipeline(before, stdin)
            return self.reading.fed(self._bound(last, redirect_nodes, inputs, stdin), inputs)
        return self._statement_redirected(body, redirect_nodes, inputs, stdin)

    def _statement_redirected(
        self, body: Node | None, redirect_nodes: Sequence[Node], inputs: tuple[Command, ...], stdin: str | None
    ) -> tuple[Command, ...]:
        stdin = self.printer.stdin_of(redirect_nodes, stdin)
        redirects = self.printer.redirects(redirect_nodes)
        made = tuple(c for r in redirect_nodes for s in substitutions(r) for c in self.walk(s, (), None))
        ran = self._body(body, redirects, self.reading.fed(inputs, made), stdin)
        self._remember_files(body, redirects, stdin, self.reading.fed(ran))
        for heredoc in (r for r in redirect_nodes if r.type == "heredoc_redirect"):
            after = [
                c
                for c in heredoc.named_children
                if c.type in ("pipeline", "command", "list", "redirected_statement", "subshell")
            ]
            printed = self.printer.printed(body, stdin) if body is not None else None
            for rest in after:
                ran = self.walk(rest, ran, printed)
        return ran

    def _body(
        self,
        body: Node | None,
        redirects: tuple[Redirect, ...],
        inputs: tuple[Command, ...],
        stdin: str | None,
    ) -> tuple[Command, ...]:
        if body is not None and body.type == "command":
            return self._command(body, redirects, inputs, stdin)
        ran = self.walk(body, inputs, stdin) if body is not None else ()
        if redirects:
            read_from = tuple(r.target for r in redirects if not r.writes)
            carrier = Command("redirect", read_from, redirects, self.reading.fed(ran), self.lines.directories)
            self.reading.emit(carrier)
        return ran

    def _remember_files(
        self, body: Node | None, redirects: tuple[Redirect, ...], stdin: str | None, ran: tuple[Command, ...]
    ) -> None:
        text = self.printer.printed(body, stdin) if body is not None and any(r.writes for r in redirects) else None
        for redirect in redirects:
            if redirect.writes and text is None and not redirect.target.startswith("/dev/"):
                self.reading.origins[redirect.target.removeprefix("./")] = ran
            if text and redirect.writes:
                self.reading.files[redirect.target] = self.reading.files.get(redirect.target, "") + text
                if _RUN_LATER.search(redirect.target):
                    self.lines.script(text)

    def _command(
        self, node: Node, redirects: tuple[Redirect, ...], inputs: tuple[Command, ...], stdin: str | None
    ) -> tuple[Command, ...]:
        own = [c for c in node.children if c.type.endswith("_redirect")]
        redirects = (*redirects, *self.printer.redirects(own))
        stdin = self.printer.stdin_of(own, stdin)
        for assignment in (c for c in node.children if c.type == "variable_assignment"):
            self._assignment(assignment)
        arguments = [
            c for c in node.named_children if c.type not in ("command_name", "variable_assignment") and c not in own
        ]
        name = node.child_by_field_name("name")
        subs = [s for part in (*([name] if name else []), *arguments, *own) for s in substitutions(part)]
        inputs = self.reading.fed(inputs, (c for s in subs for c in self.walk(s, (), None)))
        if stdin is None and any(s.type == "process_substitution" for s in subs):
            stdin = next(
                (t for s in subs if s.type == "process_substitution" and (t := self.printer.printed(s)) is not None),
                None,
            )
        rest = self.reading.cut(self.printer.expander.fields(arguments))
        firsts = self.printer.expander.alternatives(name) if name is not None else [[]]
        return tuple(c for first in firsts for c in self.lines.line(first + rest, inputs, stdin, redirects))

    def _declaration(self, node: Node, inputs: tuple[Command, ...]) -> tuple[Command, ...]:
        program = text_of(node.children[0])
        words: list[str] = []
        for child in node.named_children:
            if child.type == "variable_assignment":
                words.extend(self._assigned(child))
            elif child.type == "variable_name":
                words.append(text_of(child))
            else:
                words.extend(map(plain, self.printer.expander.fields([child])))
            inputs = self.reading.fed(inputs, (c for s in substitutions(child) for c in self.walk(s, (), None)))
        return self.reading.emit(Command(program, tuple(words), (), inputs, self.lines.directories))

    def _assignment(self, node: Node) -> tuple[Command, ...]:
        inputs = self.reading.fed(c for s in substitutions(node) for c in self.walk(s, (), None))
        return self.reading.emit(Command("export", tuple(self._assigned(node)), (), inputs, self.lines.directories))

    def _assigned(self, node: Node) -> list[str]:
        value = node.child_by_field_name("value")
        name = text_of(node).partition("=")[0]
        if value is not None and value.type == "array":
            return [f"{name}=" + " ".join(map(plain, self.printer.expander.fields(value.named_children)))]
        return [f"{name}={plain(v)}" for v in self.printer.expander.values(value)]
