"""What code in other languages does to the system, told as shell commands, so that one set of rules covers both.

Python is read from its syntax tree with constants folded. Of the other languages only string literals are read, and
only where the code mentions something that starts a process or touches a file.
"""

import re
from collections.abc import Iterator
from itertools import islice

from guardproxy.policy.decode import unescaped, views
from guardproxy.policy.shell.command import Command, Redirect
from guardproxy.policy.shell.tree import Stop

#: A shell script, a command, or a tagged tuple: ("line", *argv) or ("code", language, text).
Effect = str | Command | tuple[str, ...]

_MAX_LITERALS = 4_096
_LITERAL = re.compile(r"""(['"`])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_STARTS = re.compile(
    r"\b(?:system|exec\w*|spawn\w*|popen\w*|Popen|child_process|execa|shell_exec|passthru|proc_open|pcntl_exec|qx|shelljs|subprocess|"
    r"Runtime|ProcessBuilder|do\s+shell\s+script|os\.execute|eval|Function|getattr|__import__|import_module|IO\.|Open3|Process|run|\$\w+\()|`|%x|\|\s*getline"
)
_READS = re.compile(
    r"\b(?:readFile\w*|createReadStream|file_get_contents|fopen|readfile|File\.\w*read|IO\.read|File\.open|open|slurp|io\.open|getline)\b|<"
)
_WRITES = re.compile(
    r"\b(?:writeFile\w*|appendFile\w*|createWriteStream|file_put_contents|File\.write|FileUtils|open|fs\.\w*[wW]rite\w*)\b|>"
)
_DELETES = re.compile(
    r"\b(?:rmSync|rmdirSync|unlinkSync|unlink|rmtree|rm_rf|rm_r|remove_tree|fs\.(?:promises\.)?rm|rimraf|remove|delete_folder|emptyDir\w*)\b"
)
_FETCHES = re.compile(
    r"\b(?:fetch|axios|https?\.(?:get|request)|curl_\w+|Net::HTTP|open-uri|LWP|XMLHttpRequest|socket|request)\b"
)
_QX = re.compile(r"(?:qx|%x)\s*(?:\{([^}]*)\}|\(([^)]*)\)|\[([^\]]*)\]|<([^>]*)>|([/|!])([^/|!]*)\5)", re.DOTALL)


def effects(language: str, text: str, stop: Stop) -> Iterator[Effect]:
    """Everything that the code could make happen outside itself, as far as it can be read."""
    if language == "python":
        from guardproxy.policy.shell.python import python_effects, without_comments

        yield from python_effects(text, stop)
        text = without_comments(text, stop)
    yield from literal_effects(text)


def literal_effects(text: str) -> Iterator[Effect]:
    """Reads string literals alone: good for any language, and for Python that hides its calls."""
    found = [unescaped(m[2]) for m in islice(_LITERAL.finditer(text), _MAX_LITERALS)]
    found += _concatenated(text)
    literals = list(dict.fromkeys(v for f in found if f for v in (f, *views(f, 20_000).texts[1:9])))
    if _STARTS.search(text):
        yield from (m[1] or m[2] or m[3] or m[4] or m[6] or "" for m in islice(_QX.finditer(text), 1_024))
        yield from literals
        yield from _vectors(text)
    paths = [f for f in literals if ("/" in f or f.startswith((".", "~"))) and len(f) < 512 and " " not in f]
    if paths and _READS.search(text):
        yield Command("cat", tuple(paths))
    if paths and _DELETES.search(text):
        yield Command("rm", ("-r", "-f", *paths))
    if paths and _WRITES.search(text):
        yield Command("redirect", (), tuple(Redirect(">", p) for p in paths))
    if _FETCHES.search(text):
        yield Command("curl", tuple(f for f in literals if "." in f or ":" in f)[:64])


def _concatenated(text: str) -> list[str]:
    """`"r" + "m"` and `'r' . 'm'` as one literal."""
    joined = re.compile(r"""((['"])(?:\\.|(?!\2).)*\2(?:\s*(?:\+|\.{1,2})\s*(['"])(?:\\.|(?!\3).)*\3)+)""", re.DOTALL)
    return ["".join(unescaped(m[2]) for m in _LITERAL.finditer(run[1])) for run in islice(joined.finditer(text), 1_024)]


def _vectors(text: str) -> Iterator[Effect]:
    """`["rm", "-rf", "/"]` and `spawn("rm", ["-rf", "/"])` as argument vectors."""
    runs = re.compile(r"""(?:(['"])(?:\\.|(?!\1)[^\\])*\1\s*,\s*\[?\s*)+(['"])(?:\\.|(?!\2)[^\\])*\2""", re.DOTALL)
    for run in islice(runs.finditer(text), 1_024):
        yield ("line", *(unescaped(m[2]) for m in _LITERAL.finditer(run[0])))
