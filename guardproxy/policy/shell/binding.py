"""The first pass over a script: what its variables could hold, and which directories it goes to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from guardproxy.policy.shell import output
from guardproxy.policy.shell.printing import Printer
from guardproxy.policy.shell.reading import MAX_DIRECTORIES, Reading
from guardproxy.policy.shell.tree import descendants, text_of
from guardproxy.policy.shell.words import Variables, plain

_BINDING = frozenset("cd pushd chdir set read printf alias mapfile readarray".split())


def bind_positional(variables: Variables, words: Sequence[str]) -> None:
    """Makes `words` the script's, or a function's, `$1`, `$2`, `$@`."""
    if words:
        variables.bind_list("@", list(words))
        variables.bind_list("*", list(words))
    for place, word in enumerate(words[:9]):
        variables.bind(str(place + 1), [word])


@dataclass(slots=True)
class Binder:
    """Fills `variables`, `directories` and `aliases`."""

    reading: Reading
    printer: Printer
    variables: Variables
    directories: tuple[str, ...]
    aliases: dict[str, list[str]] = field(default_factory=dict)

    def bind(self, root: Node) -> None:
        """Call it twice: a value may use one that is assigned further down."""
        self.printer.forget()
        functions = {text_of(n.named_children[0]) for n in descendants(root, "function_definition") if n.named_children}
        wanted = ("variable_assignment", "for_statement", "command")
        for node in descendants(root, *wanted):
            if not self.reading.spend():
                return
            match node.type:
                case "variable_assignment":
                    self._bind_assignment(node)
                case "for_statement":
                    self._bind_loop(node)
                case _:
                    self._bind_command(node, functions)

    def _bind_assignment(self, node: Node) -> None:
        name_node, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name_node is None:
            return
        name = text_of(name_node).partition("[")[0]
        if value is not None and value.type == "array":
            self.variables.bind_list(name, [plain(f) for f in self.printer.expander.fields(value.named_children)])
            return
        self.variables.bind(name, self.printer.expander.values(value))

    def _bind_loop(self, node: Node) -> None:
        name = node.child_by_field_name("variable")
        if name is not None:
            self.variables.bind(text_of(name), self.printer.expander.fields(node.children_by_field_name("value")))

    def _bind_command(self, node: Node, functions: set[str]) -> None:
        name = node.child_by_field_name("name")
        if name is None:
            return
        program = text_of(name)
        if program in functions or program in _BINDING:
            words = [plain(f) for f in self.printer.expander.fields(node.children_by_field_name("argument"))]
            self._bind_builtin(program, words, node, program in functions)

    def _bind_builtin(self, program: str, words: list[str], node: Node, function: bool) -> None:
        if function:
            bind_positional(self.variables, words)
        elif program in ("cd", "pushd", "chdir"):
            goes = [w for w in words if not w.startswith("-")] or ["~"]
            places = tuple(dict.fromkeys((*self.directories, *goes)))
            self.reading.truncated |= len(places) > MAX_DIRECTORIES
            self.directories = places[:MAX_DIRECTORIES]
        elif program == "set" and "--" in words:
            bind_positional(self.variables, words[words.index("--") + 1 :])
        elif program == "printf" and words[:1] == ["-v"] and len(words) > 2:
            self.variables.bind(words[1], [output.printed("printf", words[2:], None) or ""])
        elif program == "alias":
            self.aliases.update((n, v.split()) for n, _, v in (w.partition("=") for w in words) if v)
        elif program in ("read", "mapfile", "readarray"):
            for text in self._stdin_texts(node):
                for name in (w for w in words if w.isidentifier()):
                    self.variables.bind(name, [text.rstrip("\n"), *text.split()])

    def _stdin_texts(self, node: Node) -> Iterator[str]:
        yield from (
            t
            for c in node.children
            if c.type == "herestring_redirect" and (t := self.printer.stdin_of([c], None)) is not None
        )
        here = node
        for _ in range(8):  # `while read x; do ...; done <<< text` reads what its loop is given
            parent = here.parent
            if parent is None:
                return
            given: str | None = None
            if parent.type == "pipeline" and parent.named_children[0] != here:
                before = [c for c in parent.named_children if c.end_byte <= here.start_byte]
                given = self.printer.pipeline(before)
            elif parent.type == "redirected_statement":
                given = self.printer.stdin_of([c for c in parent.children if c != here], None)
            if given is not None:
                yield given
            here = parent
