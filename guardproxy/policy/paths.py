"""File paths as a shell or a program would resolve them, and patterns that match them.

A path is reduced to one spelling: `~` for every home directory, `..` and `.` resolved, `//` and `/./` folded, `file://`
and `/proc/self/root` taken off. Both sides of a match may hold wildcards: `/etc/sh?dow` in a command could be
`/etc/shadow`, so it matches. A lone `*` in a command matches no particular name, or every `cat *` would.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from guardproxy.policy.regex import Pattern, pattern

_HOME = re.compile(
    r"^(?:~[\w.-]*|/(?:home|Users|export/home|var/home)/(?!\.\.?(?:/|$))[^/]+|/root|\$HOME|\$\{HOME\}|%USERPROFILE%|[A-Za-z]:/Users/[^/]+)(?=/|$)"
)
_PREFIX = re.compile(
    r"^(?:file:(?://(?:localhost)?(?=/))?|@|/proc/(?:self|thread-self|\d+|\*)/root(?=/)|/private(?=/(?:etc|var|tmp)))"
)
_NO_GLOB = re.compile(r"[\s'\"$|;&<>()]")  # a piece of script or prose, not one path
_GLOB = re.compile(r"[*?\[]")


def is_glob(text: str) -> bool:
    return bool(_GLOB.search(text))


@lru_cache(maxsize=4096)
def normal(path: str) -> str:
    """One spelling of a path; relative ones stay relative, leading `..` are kept."""
    text = path.strip().strip("'\"").replace("\\", "/")
    for _ in range(4):
        text, before = _PREFIX.sub("", text), text
        text = re.sub(r"/(?:\./|/)+", "/", text)
        if text == before:
            break
    text = _resolved(_HOME.sub("~", text))
    text = _HOME.sub("~", text)
    return _PREFIX.sub("", text) if text.startswith(("/proc/", "/private/")) else text


def _resolved(text: str) -> str:
    absolute = text.startswith("/")
    kept: list[str] = []
    for part in text.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and kept and kept[-1] not in ("..", "~"):
            kept.pop()
        elif part == ".." and kept == ["~"]:
            kept, absolute = ["home"], True
        elif part != ".." or not absolute:
            kept.append(part)
    return ("/" if absolute else "") + "/".join(kept) or ("." if text.startswith(".") else "")


def candidates(text: str, directories: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The paths that an argument may name, seen from each directory: itself, what follows `=`, `@`, `:` or `-x`."""
    if len(text) > 4096 or "\n" in text.strip():
        return ()
    return _short_candidates(text, directories) if len(text) < 256 else _candidates(text, directories)


@lru_cache(maxsize=4096)
def _short_candidates(text: str, directories: tuple[str, ...]) -> tuple[str, ...]:
    return _candidates(text, directories)


def _candidates(text: str, directories: tuple[str, ...]) -> tuple[str, ...]:
    pieces = [text]
    for mark in ("=", "@", ":"):
        if mark in text[1:]:
            pieces.append(text[text.index(mark, 1) + 1 :])
    if text.startswith("-") and (start := re.search(r"[/~.]", text)):
        pieces.append(text[start.start() :])
    found = [spelled for piece in pieces if piece for spelled in _seen_from(normal(piece), directories)]
    return tuple(dict.fromkeys(found))


def _seen_from(path: str, directories: tuple[str, ...]) -> list[str]:
    if path.startswith(("/", "~")):
        return [path]
    found = [path, *(normal(f"{directory}/{path}") for directory in directories)]
    if path.startswith("../"):  # nobody knows how far up; the root at worst
        found.append(normal("/" + path))
    if re.match(r"\.\w", path):  # `.ssh/id_rsa` is most likely meant from the home directory
        found.append("~/" + path)
    return found


@dataclass(frozen=True, slots=True)
class PathPattern:
    """`/etc/**` is the directory and all beneath it, `**/.env` a name anywhere, `*` any one name."""

    parts: tuple[str, ...]

    def match(self, path: str) -> bool:
        parts = _split(path)
        return len(parts) <= 256 and parts.count("**") <= 2 and _match(self.parts, parts, self.parts[:1] != ("**",))


@dataclass(frozen=True, slots=True)
class PathPatterns:
    """Several patterns at once: one linear regex for plain paths, one by one for paths that are globs themselves."""

    single: tuple[PathPattern, ...]
    plain: Pattern

    def match(self, path: str) -> bool:
        if not _GLOB.search(path) or _NO_GLOB.search(path):
            return self.plain.search(path)
        return any(pattern.match(path) for pattern in self.single)


def compile_patterns(patterns: tuple[str, ...]) -> PathPatterns | None:
    """None for no patterns."""
    if not patterns:
        return None
    single = tuple(PathPattern(_split(p if p.startswith("**") else normal(p))) for p in patterns)
    return PathPatterns(single, pattern(r"(?s)\A(?:" + "|".join(_regex(p.parts) for p in single) + r")\z"))


def _regex(parts: tuple[str, ...]) -> str:
    text, glue = "", ""
    for place, part in enumerate(parts):
        if part == "/":
            text, glue = "/", ""
        elif part == "**" and place == len(parts) - 1:
            text += "(?:/.*)?" if glue else ".*"
        elif part == "**":
            text += glue + "(?:.*/)?"
            glue = ""
        else:
            text += glue + "".join(
                "[^/]*" if t is None else "[^/]" if t is True else _characters(t) for t in _tokens(part)
            )
            glue = "/"
    return text


def _characters(letters: frozenset[str] | bool) -> str:
    assert not isinstance(letters, bool)
    return re.escape(next(iter(letters))) if len(letters) == 1 else "[" + "".join(map(re.escape, sorted(letters))) + "]"


@lru_cache(maxsize=4096)
def whole(path: str) -> str:
    """The directory whose whole content a path names: `/etc/*` and `/etc/.` are `/etc`; `*` is `.`."""
    parts = path.split("/")
    while len(parts) > 1 and _is_everything(parts[-1]):
        parts.pop()
    if path and not path.startswith("/") and len(parts) == 1 and _is_everything(parts[0]):
        return "."
    return "/".join(parts) or "/"


def _is_everything(part: str) -> bool:
    return part in ("", ".") or (part.strip("*?.[]!^") == "" and "*" in part) or part == "[!.]*"


@lru_cache(maxsize=8192)
def _split(path: str) -> tuple[str, ...]:
    names = [p for p in path.split("/") if p]
    kept = [p for place, p in enumerate(names) if p != "**" or names[place - 1 : place] != ["**"]]
    return ("/", *kept) if path.startswith("/") else tuple(kept)


def _match(pattern: tuple[str, ...], path: tuple[str, ...], anchored: bool) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_match(pattern[1:], path[skip:], anchored) for skip in range(len(path) + 1))
    if path and path[0] == "**":
        return any(_match(pattern[skip:], path[1:], anchored) for skip in range(1, len(pattern) + 1))
    return bool(path) and could_be(pattern[0], path[0], anchored) and _match(pattern[1:], path[1:], anchored)


@lru_cache(maxsize=16384)
def could_be(pattern: str, name: str, anchored: bool = True) -> bool:
    """Whether some name satisfies both globs.

    Where `name` is a glob it must say enough to be meant: something literal for an exact pattern in a known place
    (`/etc/s*w`), otherwise half of the pattern's letters (`*.yaml` is no attempt at `guardproxy.yaml`).
    """
    if pattern == name or pattern == "*":
        return True
    if not _GLOB.search(name):
        return bool(_GLOB.search(pattern)) and _meet(pattern, name)
    said = _literals(name)
    if not said or len(_tokens(name)) > 256 or (name.startswith(("*", "?")) and pattern.startswith(".")):
        return False
    if _GLOB.search(pattern):
        run = _first_run(name)
        begins = anchored and bool(run) and name.startswith(run) and pattern.startswith(run)
        enough = begins or (said * 2 >= _literals(pattern) and run in pattern.replace("*", ""))
    else:
        enough = anchored or said * 2 >= len(pattern)
    return enough and _meet(pattern, name)


@lru_cache(maxsize=8192)
def _first_run(glob: str) -> str:
    """The first literal letters of a glob: where both sides have wildcards, a match must not be theirs alone."""
    run = ""
    for token in _tokens(glob):
        if isinstance(token, frozenset) and len(token) == 1:
            run += next(iter(token))
        elif run:
            break
    return run


def _literals(glob: str) -> int:
    return sum(token not in (None, True) for token in _tokens(glob))


def _meet(left: str, right: str) -> bool:
    """Whether two globs have a string in common. `[...]` counts as any one character of the bracket."""
    a, b = _tokens(left), _tokens(right)
    reach = [[False] * (len(b) + 1) for _ in range(len(a) + 1)]
    reach[0][0] = True
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if not reach[i][j]:
                continue
            if i < len(a) and a[i] is None:
                reach[i + 1][j] = True
            if j < len(b) and b[j] is None:
                reach[i][j + 1] = True
            if i < len(a) and j < len(b):
                _advance(reach, a[i], b[j], i, j)
    return reach[-1][-1]


_Token = frozenset[str] | None | bool  # a set of characters, None for `*`, True for any one character


def _advance(reach: list[list[bool]], left: _Token, right: _Token, i: int, j: int) -> None:
    if left is None and right is None:
        reach[i + 1][j + 1] = True
    elif left is None:
        reach[i][j + 1] = True
    elif right is None:
        reach[i + 1][j] = True
    elif isinstance(left, bool) or isinstance(right, bool) or left & right:
        reach[i + 1][j + 1] = True


@lru_cache(maxsize=8192)
def _tokens(glob: str) -> tuple[_Token, ...]:
    found: list[_Token] = []
    at = 0
    while at < len(glob):
        end = glob.find("]", at + 2) if glob[at] == "[" else -1
        if end > 0:
            found.append(_bracket(glob[at + 1 : end]))
            at = end + 1
            continue
        found.append(None if glob[at] == "*" else True if glob[at] == "?" else frozenset(glob[at]))
        at += 1
    return tuple(found)


def _bracket(inner: str) -> _Token:
    if inner[0] in "!^" or "[:" in inner:
        return True
    letters = set(inner)
    for low, high in re.findall(r"(.)-(.)", inner):
        letters.update(map(chr, range(ord(low), min(ord(high), 0x2FF) + 1)))
    return frozenset(letters)
