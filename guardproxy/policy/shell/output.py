"""What a pipeline would print, where the text of the script alone tells: `echo cm0= | base64 -d` prints `rm`.

Only filters that agents and attackers use to build commands are followed. Everything else prints something unknown.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice, pairwise

from guardproxy.policy.decode import unescaped

MAX_OUTPUT = 262_144

Words = Sequence[str]
Filter = Callable[[Words, str | None], str | None]


def printed(program: str, words: Words, stdin: str | None) -> str | None:
    """What `program words` prints given `stdin`; None when that cannot be known."""
    run = _FILTERS.get(program)
    text = run(words, stdin) if run else None
    return None if text is None else text[:MAX_OUTPUT]


def _echo(words: Words, _: str | None) -> str | None:
    rest = list(words)
    while rest and re.fullmatch(r"-[neE]+", rest[0]):
        rest.pop(0)
    text = " ".join(rest)
    return unescaped(text) if "\\" in text and len(rest) != len(words) else text


def _printf(words: Words, _: str | None) -> str | None:
    rest = [w for w in words if w != "--"]
    if rest[:1] == ["-v"] or not rest:
        return ""
    form, arguments = unescaped(rest[0]), list(rest[1:])
    holes = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?([sbcdiqxXou%])")
    text = ""
    for _round in range(4_096):
        text += holes.sub(lambda m: _filled(m[1], arguments), form)
        if not arguments or not holes.search(form):
            break
    return text


def _filled(kind: str, arguments: list[str]) -> str:
    if kind == "%":
        return "%"
    value = arguments.pop(0) if arguments else ""
    return unescaped(value) if kind == "b" else value[:1] if kind == "c" else value


def _cat(words: Words, stdin: str | None) -> str | None:
    return stdin if not [w for w in words if not w.startswith("-") and w != "/dev/stdin"] else None


def _passed(_: Words, stdin: str | None) -> str | None:
    return stdin


def _nothing(_: Words, __: str | None) -> str | None:
    return ""


def _rev(_: Words, stdin: str | None) -> str | None:
    return None if stdin is None else "\n".join(line[::-1] for line in stdin.split("\n"))


def _tac(_: Words, stdin: str | None) -> str | None:
    return None if stdin is None else "\n".join(reversed(stdin.rstrip("\n").split("\n")))


def _base64(words: Words, stdin: str | None) -> str | None:
    if stdin is None or not any(re.fullmatch(r"-\w*[dD]\w*|--d\w*", w) for w in words):
        return None
    return _bytes_to_text(lambda: base64.b64decode(re.sub(r"[^A-Za-z0-9+/]", "", stdin) + "=="))


def _base32(words: Words, stdin: str | None) -> str | None:
    return (
        None
        if stdin is None or not any(w.startswith(("-d", "-D", "--d")) for w in words)
        else _bytes_to_text(lambda: base64.b32decode(stdin.strip()))
    )


def _xxd(words: Words, stdin: str | None) -> str | None:
    if stdin is None or not any("r" in w for w in words if w.startswith("-")):
        return None
    return _bytes_to_text(lambda: bytes.fromhex(re.sub(r"^[0-9a-f]+: |0x|[^0-9a-fA-F]", "", stdin, flags=re.MULTILINE)))


def _openssl(words: Words, stdin: str | None) -> str | None:
    return _base64(["-d"], stdin) if "-d" in words and any("base64" in w or w == "-a" for w in words) else None


def _gunzip(_: Words, stdin: str | None) -> str | None:
    if stdin is None:
        return None
    packed = stdin.encode("utf-8", "surrogateescape")
    return _bytes_to_text(lambda: zlib.decompressobj(wbits=47).decompress(packed, MAX_OUTPUT))


def _bytes_to_text(decode: Callable[[], bytes]) -> str | None:
    try:
        return decode().decode("utf-8", "surrogateescape")
    except (ValueError, binascii.Error, zlib.error):
        return None


def _tr(words: Words, stdin: str | None) -> str | None:
    if stdin is None:
        return None
    flags = "".join(w[1:] for w in words if w.startswith("-") and len(w) > 1)
    sets = [_tr_set(w) for w in words if not w.startswith("-") or w == "-"]
    if "d" in flags and sets:
        return "".join(c for c in stdin if c not in sets[0])
    if "s" in flags and len(sets) == 1:
        return re.sub(rf"([{re.escape(sets[0])}])\1+", r"\1", stdin)
    if "c" in flags or len(sets) != 2 or not sets[1]:
        return None
    return stdin.translate(dict(zip(map(ord, sets[0]), sets[1].ljust(len(sets[0]), sets[1][-1]), strict=False)))


def _tr_set(text: str) -> str:
    classes = {
        "[:lower:]": "a-z",
        "[:upper:]": "A-Z",
        "[:digit:]": "0-9",
        "[:space:]": " \t\n",
        "[:alpha:]": "A-Za-z",
        "[:punct:]": "!-/:-@[-`{-~",
    }
    for name, members in classes.items():
        text = text.replace(name, members)
    ranges = re.compile(r"(.)-(.)", re.DOTALL)
    return ranges.sub(lambda m: "".join(map(chr, islice(range(ord(m[1]), ord(m[2]) + 1), 512))), unescaped(text))


def _sed(words: Words, stdin: str | None) -> str | None:
    """Substitutions of literal text only; any other program prints something unknown."""
    text = stdin
    programs = [w for w in words if not re.fullmatch(r"-[nErsu]+|-e|--expression|--quiet", w)]
    for step in (s.strip() for program in programs for s in re.split(r"[;\n]", program)):
        match = re.fullmatch(r"s(.)(.*?)\1(.*?)\1([gI0-9]*)", step)
        if text is None or not match or re.search(r"[\[\](){}^$*+?|]|\\[^./]", match[2]):
            return None
        pattern = match[2].replace("\\.", "\0").replace("\\/", "/")
        if "." in pattern:
            return None
        text = text.replace(pattern.replace("\0", "."), match[3].replace("\\/", "/"), -1 if "g" in match[4] else 1)
    return text


def _which(words: Words, _: str | None) -> str | None:
    names = [w for w in words if not w.startswith("-")]
    return names[-1] if names else ""


def _find(words: Words, _: str | None) -> str | None:
    return "\n".join(find_visits(words)) or None


def _dirname(words: Words, _: str | None) -> str | None:
    names = [w for w in words if not w.startswith("-")]
    return (names[0].rpartition("/")[0] or ("/" if names[0].startswith("/") else ".")) if names else None


def _basename(words: Words, _: str | None) -> str | None:
    names = [w for w in words if not w.startswith("-")]
    return names[0].rstrip("/").rpartition("/")[2] if names else None


def _ls(words: Words, _: str | None) -> str | None:
    names = [w for w in words if not w.startswith("-")]
    listed = names if any(w.startswith("-") and "d" in w for w in words) else [f"{n.rstrip('/')}/*" for n in names]
    return "\n".join(listed) if listed else "*"


def _yes(words: Words, _: str | None) -> str | None:
    return " ".join(words) or "y"


def _cut(words: Words, stdin: str | None) -> str | None:
    """`cut -c2-5` and `cut -d, -f2` of one literal."""
    joined = " ".join(words)
    if stdin is None:
        return None
    lines = stdin.rstrip("\n").split("\n")
    if chars := re.search(r"-[cb]\s*(\d+)(-?)(\d*)(?:\s|$)", joined):
        start = int(chars[1]) - 1
        end = (int(chars[3]) if chars[3] else None) if chars[2] else start + 1
        return "\n".join(line[start:end] for line in lines)
    fields = re.search(r"-f\s*(\d+)(?:\s|$)", joined)
    mark = re.search(r"-d\s*(\S)", joined)
    if not fields:
        return None
    place = int(fields[1]) - 1
    return "\n".join(
        line.split(mark[1] if mark else "\t")[place : place + 1][0]
        for line in lines
        if line.count(mark[1] if mark else "\t") >= place
    )


def _one_liner(words: Words, _: str | None) -> str | None:
    """`python -c 'print("x")'`, `perl -e 'print "x"'`, `awk 'BEGIN{print "x"}'`: the printed literal."""
    for word in words:
        if match := re.search(
            r"""\b(?:print|puts|echo|console\.log)\s*\(?\s*(['"])((?:\\.|(?!\1).)*)\1""", word, re.DOTALL
        ):
            return unescaped(match[2])
    return None


_FIND_NARROWING = frozenset(
    "name iname path ipath wholename iwholename regex iregex mtime mmin atime amin ctime cmin newer size user "
    "group perm empty "
    "links inum samefile newermt lname nouser nogroup uid gid".split()
)


def find_roots(words: Words) -> list[str]:
    """Where a `find` starts: the words before its first expression."""
    roots: list[str] = []
    for word in words:
        if word in ("-L", "-P", "-H") or word.startswith(("-O", "-D")):
            continue
        if word.startswith("-") or word in ("!", "("):
            break
        roots.append(word)
    return roots or ["."]


def find_visits(words: Words) -> list[str]:
    """What a `find` prints, for rules to look at: everything in its roots, or the one name that it looks for there."""
    roots = [r.rstrip("/") for r in find_roots(words)]
    if not find_is_narrowed(words):
        return [f"{r}/*" for r in roots]
    named = [n for option, n in pairwise(words) if option in ("-name", "-iname") and not re.search(r"[*?\[]", n)]
    return [f"{r}/{n}" for r in roots for n in named]


def find_is_narrowed(words: Words) -> bool:
    """Whether a test other than type and depth chooses among what `find` visits; `-name '*'` chooses nothing."""
    return any(
        word.startswith("-") and word.lstrip("-") in _FIND_NARROWING and following not in ("*", "**", "*/*", ".*")
        for word, following in pairwise([*words, ""])
    )


_FILTERS: Mapping[str, Filter] = {
    "echo": _echo, "printf": _printf, "cat": _cat, "tee": _passed, "head": _passed, "tail": _passed, "sort": _passed,
    "uniq": _passed,
    "true": _nothing, ":": _nothing, "false": _nothing, "rev": _rev, "tac": _tac, "base64": _base64,
    "gbase64": _base64, "base32": _base32,
    "xxd": _xxd, "openssl": _openssl, "gunzip": _gunzip, "zcat": _gunzip, "gzip": _gunzip, "tr": _tr, "sed": _sed,
    "which": _which, "type": _which,
    "command": _which, "whereis": _which, "find": _find, "ls": _ls, "dirname": _dirname, "basename": _basename,
    "yes": _yes, "cut": _cut,
    "python": _one_liner, "python3": _one_liner, "perl": _one_liner, "ruby": _one_liner, "awk": _one_liner,
    "node": _one_liner, "php": _one_liner,
    "realpath": _which, "readlink": _which, "xargs": _passed, "pwd": lambda _words, _stdin: ".",
}  # fmt: skip
