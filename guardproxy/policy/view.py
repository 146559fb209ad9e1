"""A call as rules see it: its name, its decoded arguments and the commands that it would run. Everything is lazy."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from guardproxy import strict_json
from guardproxy.model import CallKind, ToolCall
from guardproxy.policy.addresses import Address, addresses
from guardproxy.policy.conditions import MAX_LIST, CelValue
from guardproxy.policy.decode import MAX_GROWTH, leaves, script_texts, unescaped, views
from guardproxy.policy.names import compile_globs, reduced, targets
from guardproxy.policy.scene import Scene
from guardproxy.policy.shell import Command, Script, read, read_line
from guardproxy.policy.unicode import encodable
from guardproxy.strict_json import Json

MAX_STRINGS = 50_000
MAX_SCRIPTS = 512
MAX_ARGUMENT_TEXT = 4_000_000  # characters

_SHELL = compile_globs(("@shell",))
_CODE = compile_globs(("@code",))
_COMMAND_KEYS = frozenset(
    "command cmd commands cmds script scripts shell bash sh exec command_line cmdline shell_command "
    "shell_commands bash_command terminal_command powershell "
    "argv cli line run entrypoint executable program binary".split()
)
_CODE_KEYS = frozenset(
    "code source source_code python python_code program_code snippet cell script notebook_cell code_snippet "
    "javascript js".split()
)
_PROSE_KEYS = frozenset(
    "description reason explanation thought thoughts rationale comment note justification summary title cwd "
    "workdir working_directory working_dir "
    "directory session_id id timeout language lang".split()
)
_DIRECTORY_KEYS = frozenset("cwd workdir working_directory working_dir directory dir work_dir".split())
_ENVIRONMENT_KEYS = frozenset("env environment envs env_vars environment_variables envvars".split())
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"?', re.DOTALL)
_PROGRAM_KEYS = ("command", "cmd", "program", "executable", "binary", "file", "path", "exec")
_VECTOR_KEYS = ("args", "arguments", "argv", "params", "parameters", "flags", "options")


@dataclass(frozen=True, slots=True)
class Argument:
    """One string of the arguments: where it stands and every text that it could decode to."""

    path: str
    texts: tuple[str, ...]

    @property
    def key(self) -> str:
        return (
            self.path.partition("[")[0].rpartition(".")[2] if self.path.endswith("]") else self.path.rpartition(".")[2]
        )


@dataclass(slots=True)
class Room:
    """What the reading of one call may still produce; shared by all its views."""

    growth: int = MAX_GROWTH
    strings: int = MAX_STRINGS
    scripts: int = MAX_SCRIPTS


@dataclass(slots=True)
class CallView:
    """One effective call. `outer` is the name that the model called, `name` the one that would run."""

    outer: str
    name: str
    kind: CallKind
    text: str
    arguments: Json
    scene: Scene
    room: Room = field(default_factory=Room, repr=False)
    truncated: bool = False
    inner: bool = False  # dispatched by the arguments of the call that the model made
    _strings: tuple[Argument, ...] | None = field(default=None, repr=False)
    _commands: tuple[Command, ...] | None = field(default=None, repr=False)
    _addresses: dict[str, tuple[Address, ...]] = field(default_factory=dict, repr=False)

    @property
    def strings(self) -> tuple[Argument, ...]:
        if self._strings is None:
            self._strings = tuple(self._read_strings())
        return self._strings

    @property
    def commands(self) -> tuple[Command, ...]:
        if self._commands is None:
            self._commands = self._read_commands()
        return self._commands

    def addresses(self, text: str) -> tuple[Address, ...]:
        if text not in self._addresses:
            self._addresses[text] = addresses(text)
        return self._addresses[text]

    def cel(self) -> CelValue:
        strings = [t for a in self.strings for t in a.texts]
        commands: list[CelValue] = [
            {"program": c.program, "words": list(c.words[:MAX_LIST]), "text": encodable(c.text), "dynamic": c.dynamic}
            for c in self.commands[:MAX_LIST]
        ]
        return {
            "name": encodable(self.outer), "target": encodable(self.name), "kind": self.kind.value,
            "arguments": _cel(self.arguments),
            "text": encodable(self.text), "strings": list(strings[:MAX_LIST]), "commands": commands,
        }  # fmt: skip

    def capped(self) -> frozenset[str]:
        """The lists that a condition sees shortened."""
        long = {"strings": sum(len(a.texts) for a in self.strings), "commands": len(self.commands)}
        return frozenset(name for name, size in long.items() if size > MAX_LIST)

    # -- strings --

    def _read_strings(self) -> Iterator[Argument]:
        room = self.room
        for path, leaf in leaves(self.arguments):
            room.strings -= 1
            if room.strings < 0 or ((len(leaf) > 4096 or room.strings % 64 == 0) and self.scene.stop()):
                self.truncated = True
                return
            seen = views(leaf, room.growth)
            room.growth -= sum(map(len, seen.texts[1:]))
            self.truncated |= not seen.complete
            yield Argument(path, seen.texts)
        yield from _endpoints(self.arguments)

    # -- commands --

    def _read_commands(self) -> tuple[Command, ...]:
        found: dict[Command, None] = {}
        for script in self._scripts():
            self.room.scripts -= 1
            found.update(dict.fromkeys(script.commands))
            self.truncated |= script.truncated
            if self.room.scripts < 0 or (self.room.scripts % 16 == 0 and self.scene.stop()):
                self.truncated = True
                break
        return tuple(found)

    def _scripts(self) -> Iterator[Script]:
        shell, code = _SHELL.match(self.name), _CODE.match(self.name)
        directories = tuple(self._directories())
        stop = self.scene.stop
        if isinstance(self.arguments, dict):
            yield from self._vectors(self.arguments, directories)
            yield from _environment(self.arguments)
        if isinstance(self.arguments, list) and shell:
            yield read_line(_texts(self.arguments), directories, stop)
        for path, leaf in leaves(self.arguments):
            key = reduced(Argument(path, ()).key)
            if not leaf.strip() or path.endswith("#key"):
                continue
            for language in self._languages(key, shell, code):
                for text in script_texts(leaf):
                    yield read(text, language, directories, stop)

    def _languages(self, key: str, shell: bool, code: bool) -> Iterator[str]:
        """How a string would be run: by the tool's name, or by the key that it stands under."""
        prose = key in _PROSE_KEYS
        if (
            (shell and not prose and not (code and key in _CODE_KEYS))
            or key in _COMMAND_KEYS
            or (key in _CODE_KEYS and not code)
        ):
            yield "bash"
        if (code and not prose) or key in _CODE_KEYS:
            yield self._code_language()

    def _code_language(self) -> str:
        if isinstance(self.arguments, dict):
            named = self.arguments.get("language", self.arguments.get("lang"))
            if isinstance(named, str) and named.strip():
                word = named.strip().lower()
                return {
                    "sh": "bash",
                    "shell": "bash",
                    "js": "javascript",
                    "node": "javascript",
                    "py": "python",
                    "python3": "python",
                }.get(word, word)
        return "javascript" if reduced(self.name).endswith(("javascript", "js", "node")) else "python"

    def _directories(self) -> Iterator[str]:
        if isinstance(self.arguments, dict):
            yield from (
                v for k, v in self.arguments.items() if isinstance(v, str) and v and reduced(k) in _DIRECTORY_KEYS
            )

    def _vectors(self, node: Mapping[str, Json], directories: tuple[str, ...]) -> Iterator[Script]:
        """`{"command": "rm", "args": ["-rf", "/"]}` and `{"argv": ["rm", "-rf", "/"]}`."""
        keys = {reduced(k): v for k, v in node.items()}
        for key, value in keys.items():
            if key in _COMMAND_KEYS and isinstance(value, list) and all(isinstance(v, str) for v in value):
                yield read_line(_texts(value), directories, self.scene.stop)
        program = next((v for k in _PROGRAM_KEYS if isinstance(v := keys.get(k), str)), None)
        vector = next((v for k in _VECTOR_KEYS if isinstance(v := keys.get(k), list | str)), None)
        if program and isinstance(vector, list):
            yield read_line([program, *_texts(vector)], directories, self.scene.stop)
        elif program and isinstance(vector, str) and not vector.lstrip().startswith("{"):
            yield read(f"{program} {vector}", "bash", directories, self.scene.stop)


def _texts(items: Sequence[Json]) -> list[str]:
    return [encodable(i) for i in items if isinstance(i, str)][:4096]


def _environment(node: Mapping[str, Json]) -> Iterator[Script]:
    for key, value in node.items():
        if reduced(key) in _ENVIRONMENT_KEYS and isinstance(value, dict):
            yield Script((Command("export", tuple(f"{k}={v}" for k, v in value.items() if isinstance(v, str))),))


def _endpoints(tree: Json) -> Iterator[Argument]:
    """`{"host": "127.0.0.1", "port": 9901}` as the address that it is."""
    if not isinstance(tree, dict):
        return
    keys = {reduced(k): v for k, v in tree.items()}
    hosts = [v for k in ("host", "hostname", "ip", "address", "server", "domain") if isinstance(v := keys.get(k), str)]
    if hosts and isinstance(port := keys.get("port"), int | str):
        yield Argument("host", tuple(f"{host}:{port}" for host in hosts))


def _cel(tree: Json) -> CelValue:
    """Integers beyond 64 bits become floats: CEL has no others."""
    match tree:
        case bool() | None | float():
            return tree
        case str():
            return encodable(tree)
        case int():
            return tree if -(2**63) <= tree < 2**63 else float(tree)
        case list():
            return [_cel(v) for v in tree]
        case dict():
            return {encodable(k): _cel(v) for k, v in tree.items()}


def call_views(call: ToolCall, scene: Scene, matters: Callable[[str], bool]) -> tuple[CallView, ...]:
    """The call itself, and every call that it could dispatch under a name that `matters`."""
    if len(call.arguments) > MAX_ARGUMENT_TEXT:
        return (CallView(call.name, call.name, call.kind, call.arguments, {}, scene, truncated=True),)
    arguments, room = read_arguments(call), Room()
    found, complete = targets(arguments, lambda name: matters(name) or runs_text(name), scene.stop)
    outer = CallView(call.name, call.name, call.kind, call.arguments, arguments, scene, room, truncated=not complete)
    inner = (
        CallView(call.name, t.name, call.kind, call.arguments, t.arguments, scene, room, inner=True) for t in found
    )
    return (outer, *inner)


def runs_text(name: str) -> bool:
    """Whether a tool of this name takes its strings for commands or code."""
    return _SHELL.match(name) or _CODE.match(name)


def read_arguments(call: ToolCall) -> Json:
    """The tree of JSON arguments; raw text of custom tools, and of arguments that are no JSON, stands under `input`."""
    text = call.arguments
    if text.strip()[:1] not in ("{", "["):
        return {"input": text} if text.strip() else {}
    try:
        return strict_json.decode(text.encode("utf-8", "replace"))
    except strict_json.MalformedJson:
        parts: list[Json] = [unescaped(m[1]) for m in islice(_QUOTED.finditer(text), 4096)]
        return {"input": text, "parts": parts}  # a laxer reader may still find its strings
