"""Tool names, seen through renaming, and the calls that hide inside a generic dispatcher's arguments.

A name is reduced to lower-case words: NFKC, look-alike letters to ASCII, camelCase split, every separator to `_`.
A glob then matches the whole reduced name or any tail of it that starts at a word, because MCP clients put a server's
name in front (`mcp__files__bash`, `files_bash`, `files.bash`, `Files-bash`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from guardproxy import strict_json
from guardproxy.policy.shell.tree import Stop, never
from guardproxy.policy.unicode import skeleton
from guardproxy.strict_json import Json

MAX_TARGETS = 512
MAX_VISITED = 200_000
MAX_TARGET_DEPTH = 250

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")

#: Named groups of globs, written `@shell` in a rule's `tools`.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "@shell": (
        "bash*", "*bash", "shell*", "*_shell", "sh", "zsh", "cmd", "*command", "*commands", "*command_line",
        "terminal*",
        "*terminal*", "console*", "run_in_terminal", "exec", "execute", "exec_*", "execute_*", "run_cmd*",
        "*powershell*",
        "pwsh", "system", "subprocess*", "process_start", "start_process", "run_process", "run_script", "ssh*",
        "*_ssh", "repl",
    ),
    "@code": (
        "*python*", "*ipython*", "*jupyter*", "*notebook*", "*code_interpreter*", "*interpreter*", "*run_code*",
        "*execute_code*", "*exec_code*", "*eval*", "*sandbox*", "repl", "*javascript*", "*typescript*", "js", "ts",
        "node", "*node_js*", "code", "run",
    ),
    "@sql": ("*sql*", "query", "*_query", "query_*", "*database*", "*db_*", "*_db", "execute_statement",
    "run_statement"),
    "@file": ("*file*", "*read*", "*write*", "*edit*", "*open*", "*save*", "*patch*", "str_replace*", "*path*",
    "*upload*"),
    "@web": ("*fetch*", "*browser*", "*browse*", "*navigate*", "*http*", "*url*", "*web*", "goto", "*request*",
    "*download*"),
    "@money": ("*transfer*", "*payment*", "*send_money*", "*pay_*", "*withdraw*", "*wire*", "*purchase*", "*refund*"),
}  # fmt: skip


@lru_cache(maxsize=4096)
def reduced(name: str) -> str:
    """The lower-case words of a tool name, joined by `_`; at most 512 characters of it are looked at."""
    words = _SEPARATORS.sub("_", _CAMEL.sub("_", skeleton(name[-512:])))
    return words.strip("_").lower()


@lru_cache(maxsize=4096)
def spellings(name: str) -> tuple[str, ...]:
    """The reduced name, its tails that start at a word, and the same without any separator."""
    words = reduced(name).split("_")
    tails = ["_".join(words[start:]) for start in range(min(len(words), 12))]
    if len(words) > 1:
        tails += ["".join(words), name.strip().lower()]
    return tuple(dict.fromkeys(tails))


@dataclass(frozen=True, slots=True)
class NameGlobs:
    """Compiled name globs; `*` alone matches every tool."""

    pattern: re.Pattern[str]
    everything: bool

    def match(self, name: str) -> bool:
        return self.everything or any(map(self.pattern.match, spellings(name)))


def compile_globs(globs: tuple[str, ...]) -> NameGlobs:
    """Raises ValueError for a group that does not exist."""
    flat: list[str] = []
    for glob in globs:
        if glob.startswith("@") and glob not in GROUPS:
            raise ValueError(f"no such tool group; there are {', '.join(GROUPS)}")
        flat.extend(GROUPS.get(glob, (glob,)))
    return NameGlobs(_one_pattern(flat), "*" in flat)


def _one_pattern(globs: list[str]) -> re.Pattern[str]:
    """Globs as written and reduced (`execute-bash` is the same wish as `execute_bash`)."""
    return re.compile(
        "|".join(translate(g) for glob in globs for g in dict.fromkeys((glob.lower(), _reduced_glob(glob))))
    )


def _reduced_glob(glob: str) -> str:
    return re.sub(r"[^a-z0-9*?\[\]!]+", "_", _CAMEL.sub("_", glob).lower())


@dataclass(frozen=True, slots=True)
class Target:
    """A call that a dispatcher's arguments ask for."""

    name: str
    arguments: Json


_NAME_KEYS = frozenset(
    "tool tool_name toolname name function function_name functionname recipient_name action action_name target method "
    "operation command_name skill capability api api_name endpoint".split()
)
_ARGUMENT_KEYS = (
    "arguments", "args", "input", "inputs", "params", "parameters", "kwargs", "payload", "tool_input", "tool_args",
    "tool_arguments",
    "tool_parameters", "action_input", "function_args", "function_arguments", "arguments_json", "args_json",
    "input_json", "data",
    "body", "options",
)  # fmt: skip


def targets(arguments: Json, matters: Callable[[str], bool], stop: Stop = never) -> tuple[tuple[Target, ...], bool]:
    """The calls that could be dispatched from these arguments, nested ones too, and whether these are all.

    Only names that `matters` says make a difference are kept: any record with a name in it looks like a call.
    """
    found: list[Target] = []
    waiting: list[tuple[Json, int]] = [(arguments, 0)]
    visited = 0
    while waiting:
        node, depth = waiting.pop()
        visited += 1
        if (
            len(found) > MAX_TARGETS
            or visited > MAX_VISITED
            or depth > MAX_TARGET_DEPTH
            or (visited % 256 == 0 and stop())
        ):
            return tuple(found[:MAX_TARGETS]), False
        if isinstance(node, dict):
            found.extend(target for target in _of_object(node) if matters(target.name))
            waiting.extend(
                (inner, depth + 1) for value in node.values() if isinstance(inner := _parsed(value), dict | list)
            )
        elif isinstance(node, list):
            waiting.extend((inner, depth + 1) for value in node if isinstance(inner := _parsed(value), dict | list))
    return tuple(found), True


def _of_object(node: dict[str, Json]) -> Iterator[Target]:
    keys = {reduced(key): key for key in node if len(key) < 40}
    named = [node[key] for word, key in keys.items() if word in _NAME_KEYS]
    names = [name for value in named for name in _names_in(value)]
    carried = [node[keys[word]] for word in _ARGUMENT_KEYS if word in keys]
    for name in names:
        for value in carried:
            yield Target(name, _parsed(value))
        rest: dict[str, Json] = {key: value for key, value in node.items() if reduced(key) not in _NAME_KEYS}
        if rest:
            yield Target(name, rest)
    if len(node) == 1:
        key, value = next(iter(node.items()))
        if isinstance(value, dict) and len(key) < 128:
            yield Target(key, value)


def _names_in(value: Json) -> Iterator[str]:
    match value:
        case str() if 0 < len(value) <= 256:
            yield value
        case {"name": str(name)}:
            yield name


def _parsed(value: Json) -> Json:
    """A JSON object or list that travels as a string; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return strict_json.decode(value.strip().encode("utf-8", "replace"))
    except strict_json.MalformedJson:
        return value
