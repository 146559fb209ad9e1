"""Python code, read from its syntax tree: strings folded, calls that reach outside told as shell commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from tree_sitter import Node

from guardproxy.policy.shell.command import Command, Redirect
from guardproxy.policy.shell.folding import Folder, Scope, signature
from guardproxy.policy.shell.python_values import Value, as_text
from guardproxy.policy.shell.tree import Stop, descendants, parse, text_of

Effect = str | Command | tuple[str, ...]

_MAX_NODES = 40_000
_MAGIC = re.compile(r"^[ \t]*(?:!{1,2}|%{1,2}(?:sx|system|bash|sh|script\s+\w+)\b)(.+)$", re.MULTILINE)
_CELL = re.compile(r"\A\s*%%(?:bash|sh|script|system|sx)\b[^\n]*\n(.*)", re.DOTALL)

_RUNS = frozenset(
    "system popen getoutput getstatusoutput run call check_call check_output popen2 popen3 popen4 "
    "create_subprocess_shell spawn "
    "runcmd run_command shell sh bash exec_command invoke sudo local spawnu write_terminal getpipeoutput cmd".split()
)
_RUNS_VECTOR = re.compile(r"^(?:exec[lv]p?e?|spawn[lv]p?e?|posix_spawnp?|create_subprocess_exec)$")
_EVALUATES = frozenset(
    "exec eval compile run_cell run_line_magic run_cell_magic runsource runcode execute_script run_code".split()
)
_DELETES = frozenset("rmtree remove unlink removedirs rmdir send2trash delete remove_tree".split())
_READS = frozenset(
    "read_text read_bytes open read_csv read_json loadtxt read_file getline readlines fromfile read_table "
    "listdir scandir walk iterdir".split()
)
_WRITES = frozenset("write_text write_bytes touch to_csv write_file".split())
_COPIES = {
    **dict.fromkeys(("copy", "copy2", "copyfile", "copytree", "copyfileobj"), "cp"),
    **dict.fromkeys(("move", "rename", "renames", "replace"), "mv"),
    **dict.fromkeys(("symlink", "link", "symlink_to", "hardlink_to"), "ln"),
    "make_archive": "tar",
}
_KILLS = frozenset("kill killpg terminate send_signal".split())
_FETCHES = frozenset(
    "get post put patch delete request urlopen urlretrieve connect connect_ex create_connection stream head "
    "websocket_connect fetch sendto goto download".split()
)
_FETCHERS = re.compile(
    r"^(?:requests?|httpx|urllib\w*|aiohttp|s|http|wget|page|browser|pycurl|\w*[sS]ession|\w*[cC]lient|\w*sock\w*)$"
)


def python_effects(text: str, stop: Stop) -> Iterator[Effect]:
    """Raises TooComplex."""
    if cell := _CELL.match(text):
        yield cell[1]
    for magic in islice(_MAGIC.finditer(text), 1_024):
        yield magic[1].strip()
    root = parse("python", text.encode("utf-8", "replace"), stop)
    yield from _Reader(Folder(Scope(), stop)).read(root)


def without_comments(text: str, stop: Stop) -> str:
    """Raises TooComplex."""
    source = bytearray(text.encode("utf-8", "replace"))
    for comment in descendants(parse("python", bytes(source), stop), "comment"):
        source[comment.start_byte : comment.end_byte] = b" " * (comment.end_byte - comment.start_byte)
    return source.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Reader:
    folder: Folder

    def read(self, root: Node) -> Iterator[Effect]:
        kinds = (
            "import_statement",
            "import_from_statement",
            "assignment",
            "augmented_assignment",
            "call",
            "delete_statement",
            "for_statement",
        )
        nodes = list(islice(descendants(root, *kinds, "function_definition", "named_expression"), _MAX_NODES))
        parameters = {name: params for n in nodes if n.type == "function_definition" for name, params in [signature(n)]}
        for _ in range(2):  # twice, because functions come before their calls
            for node in nodes:
                self.folder.bind(node, parameters)
        for node in nodes:
            if node.type == "call":
                yield from self._call(node)
            elif node.type in ("assignment", "delete_statement"):
                yield from self._environment(node)

    def _call(self, node: Node) -> Iterator[Effect]:
        function = node.child_by_field_name("function")
        dotted = self.folder.dotted(function)
        module, _, name = dotted.rpartition(".")
        arguments = self.folder.arguments(node)
        receiver = function.child_by_field_name("object") if function is not None else None
        owner = [v for v in (self.folder.fold(receiver) if receiver is not None else []) if isinstance(v, str)]
        texts = [v for values in arguments for v in values if isinstance(v, str)]
        if _RUNS_VECTOR.match(name):
            yield (
                "line",
                *(
                    w
                    for values in arguments[1 if "spawn" in name else 0 :]
                    for v in values
                    for w in (v if isinstance(v, tuple) else (str(v),))
                ),
            )
        if name in _RUNS or _RUNS_VECTOR.match(name) or name == "Popen":
            yield from texts
            yield from (("line", *v) for values in arguments[:1] for v in values if isinstance(v, tuple))
        if name in _EVALUATES:
            yield from (("code", "python", t) for t in texts)
            yield from texts
        yield from self._file_effects(name, module, arguments, owner, texts)
        yield from _network_effects(name, module, arguments, texts)
        yield from _environment_effects(name, module, texts)

    def _file_effects(
        self, name: str, module: str, arguments: list[list[Value]], owner: list[str], texts: list[str]
    ) -> Iterator[Effect]:
        first = [v for v in (arguments[0] if arguments else []) if isinstance(v, str)]
        paths = (
            (first or owner)
            if module.rpartition(".")[2] in ("os", "shutil", "io", "codecs", "send2trash", "")
            else owner or first
        )
        if name in _DELETES and paths:
            yield Command("rm", ("-r", "-f", *paths))
        elif name in _WRITES and paths:
            yield Command("redirect", (), tuple(Redirect(">", p) for p in owner or paths))
        elif name in _READS and (first or owner):
            mode = "".join(t for t in texts if re.fullmatch(r"[rwaxbt+U]{1,4}", t))
            targets = tuple(first if name == "open" and not owner else owner or first)
            yield (
                Command("redirect", (), tuple(Redirect(">", p) for p in targets))
                if set(mode) & set("wax+")
                else Command("cat", targets)
            )
        elif (
            name in _COPIES
            and texts
            and not (name == "replace" and module.rpartition(".")[2] != "os" and len(texts) > 1 and not owner)
        ):
            yield Command(_COPIES[name], (*owner, *texts))
        elif name in ("chmod", "chown", "lchmod") and (first or owner):
            modes = [oct(v)[2:] for values in arguments for v in values if isinstance(v, int)]
            yield Command(name, (*modes, *(owner or first)))
        elif name in _KILLS:
            numbers = [str(v) for values in arguments for v in values if isinstance(v, int)]
            yield Command("kill", (*texts, *(f"-{signal}" for signal in numbers[1:]), *numbers[:1]))

    def _environment(self, node: Node) -> Iterator[Effect]:
        """`os.environ["X"] = ...` and `del os.environ["X"]`."""
        target = (
            node.child_by_field_name("left")
            if node.type == "assignment"
            else (node.named_children[0] if node.named_children else None)
        )
        if (
            target is None
            or target.type != "subscript"
            or not text_of(target.child_by_field_name("value") or target).endswith(("environ", "env"))
        ):
            return
        names = [as_text(self.folder.fold(s)) for s in target.children_by_field_name("subscript")]
        right = node.child_by_field_name("right")
        values = [v for v in (self.folder.fold(right) if right is not None else []) if isinstance(v, str)] or [""]
        program = "unset" if node.type == "delete_statement" else "export"
        yield Command(program, tuple(n if program == "unset" else f"{n}={v}" for n in names for v in values))


def _network_effects(name: str, module: str, arguments: list[list[Value]], texts: list[str]) -> Iterator[Effect]:
    if name not in _FETCHES or (
        not _FETCHERS.match(module.rpartition(".")[2] or module.split(".")[0])
        and name not in ("urlopen", "urlretrieve")
    ):
        return
    pairs = [":".join(v) for values in arguments for v in values if isinstance(v, tuple) and len(v) == 2]
    yield Command("curl", (*texts, *pairs))


def _environment_effects(name: str, module: str, texts: list[str]) -> Iterator[Effect]:
    if not module.endswith("environ") and name not in ("putenv", "unsetenv", "setenv", "set_key"):
        return
    if name in ("pop", "unsetenv", "clear"):
        yield Command("unset", tuple(texts))
    elif name in ("update", "setdefault", "putenv", "setenv", "set_key", "__setitem__"):
        yield Command("export", ("=".join(texts), *texts))
