"""Names of shells and interpreters, and how a program's name is read from its path."""

import re

SHELLS = frozenset("sh bash zsh dash ksh mksh ash fish rbash tcsh csh pwsh powershell bash.exe git-bash".split())
INTERPRETERS = {
    "python": "python", "python2": "python", "python3": "python", "pypy": "python", "pypy3": "python",
    "ipython": "python", "py": "python",
    "node": "javascript", "nodejs": "javascript", "deno": "javascript", "bun": "javascript", "perl": "perl",
    "ruby": "ruby", "php": "php",
    "lua": "lua", "awk": "awk", "gawk": "awk", "mawk": "awk", "nawk": "awk", "osascript": "applescript",
    "tclsh": "tcl", "rscript": "r",
    "julia": "julia", "groovy": "groovy", "jshell": "java", "ts-node": "javascript", "tsx": "javascript",
}  # fmt: skip
#: The option letters that are followed by a program text; `c` where a language is not named here.
CODE_FLAGS = {
    "javascript": "ep",
    "perl": "eE",
    "ruby": "e",
    "php": "rR",
    "lua": "e",
    "applescript": "e",
    "r": "e",
    "julia": "eE",
    "groovy": "e",
}


def program_name(path: str) -> str:
    """`/usr/bin/RM.exe` is `rm`."""
    name = re.split(r"[/\\]", path.rstrip("/"))[-1] or path
    return name.lower().removesuffix(".exe")


def interpreter(program: str) -> str | None:
    """The language of an interpreter, versions included: python3.12, lua5.4."""
    return INTERPRETERS.get(program) or INTERPRETERS.get(re.sub(r"[\d.]+$", "", program))
