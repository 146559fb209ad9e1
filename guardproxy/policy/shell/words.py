"""What a word of a shell script expands to: every list of fields that it could become.

Order as in POSIX 2.6: brace expansion (bash), tilde, parameters, command substitution, field splitting, quote removal.
Variables carry every value that the script ever gives them, so the order of statements does not matter.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from itertools import islice

import tree_sitter

from guardproxy.policy.decode import unescaped
from guardproxy.policy.shell.tree import text_of

MAX_ALTERNATIVES = 1_024  # of one word; and values of one variable
MAX_BRACES = 1_024
MAX_VALUE = 65_536  # characters
MAX_COMBINED = 1_000_000  # characters of all alternatives of one word

UNKNOWN = "\ue0ff"  # encloses a part that only the running shell knows
_QUOTED = {ord(c): 0xE000 + ord(c) for c in " \t\n{},.~"}  # quoted characters lose their special meaning
_UNQUOTED = {quoted: plain for plain, quoted in _QUOTED.items()} | {ord(UNKNOWN): None}
_ENVIRONMENT = {
    "HOME": "/home/user", "PWD": ".", "OLDPWD": "..", "USER": "user", "LOGNAME": "user", "SHELL": "/bin/bash",
    "IFS": " \t\n",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm-256color",
    "OSTYPE": "linux-gnu",
    "HOSTTYPE": "x86_64", "MACHTYPE": "x86_64-pc-linux-gnu", "LANG": "C.UTF-8", "SHLVL": "1", "UID": "1000",
    "EUID": "1000",
    "TMPDIR": "/tmp", "BASH": "/bin/bash", "LS_COLORS": "rs=0",
}  # fmt: skip
_PARAMETER = re.compile(r"\$\{(!?)(#?)([A-Za-z_]\w*|\d+|[@*#?$!-])(?:\[([^\]]*)\])?([\s\S]*)\}", re.DOTALL)

Fields = list[str]
Alternatives = list[Fields]
Output = Callable[[tree_sitter.Node], str | None]


def is_unknown(text: str) -> bool:
    return UNKNOWN in text


def without_unknown(text: str) -> str:
    """The field if every unknown part turned out empty."""
    return re.sub(f"{UNKNOWN}[^{UNKNOWN}]*{UNKNOWN}", "", text)


def unknown(source: str) -> str:
    """A part that only the running shell knows."""
    return UNKNOWN + _quote(source.replace(UNKNOWN, "")) + UNKNOWN


def plain(text: str) -> str:
    """A field as the program sees it."""
    return text.translate(_UNQUOTED)


@dataclass(slots=True)
class Variables:
    """Every value that each variable could have. `lists` holds arrays and positional parameters."""

    values: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, list[list[str]]] = field(default_factory=dict)
    overflowed: bool = False  # a bound was hit: something that could be was left out

    def bind(self, name: str, values: Iterable[str]) -> None:
        known = dict.fromkeys(self.values.get(name, ()))
        room = MAX_COMBINED - sum(map(len, known))
        for value in values:
            room -= len(value)
            if room < 0 or len(value) > MAX_VALUE or len(known) >= MAX_ALTERNATIVES:
                self.overflowed = True
                break
            known[value] = None
        self.values[name] = list(known)

    def bind_list(self, name: str, items: list[str]) -> None:
        known = self.lists.setdefault(name, [])
        if items in known:
            return
        if len(known) >= 64:
            self.overflowed = True
            return
        known.append(items)

    def of(self, name: str, source: str) -> list[str]:
        """Every value; an unset lower-case or special name is empty, as no environment sets those."""
        if name in self.values:
            return self.values[name]
        if name in self.lists:
            return [items[0] if items else "" for items in self.lists[name]]
        if name in _ENVIRONMENT:
            return [_ENVIRONMENT[name]]
        if name == "0":
            return ["bash"]
        if name in ("@", "*", "#", "?", "-", "!") or name.isdigit() or name.islower():
            return [""]
        return [unknown(source)]

    @property
    def separators(self) -> str:
        return " \t\n" + "".join(v for v in self.values.get("IFS", ()) if not is_unknown(v))


@dataclass(frozen=True, slots=True)
class Expander:
    """Expands words of one script. `output` gives what a substitution would print, None when nobody can know."""

    variables: Variables
    output: Output

    def alternatives(self, node: tree_sitter.Node) -> Alternatives:
        """Each way in which the word could become fields; at least one."""
        found: dict[tuple[str, ...], None] = {}
        for text in self.combined(self._pieces(node, quoted=False)):
            fields = [part for word in self._braces(text) for part in self._split(word)]
            found[tuple(_tilde(f) for f in fields)] = None
        return [list(fields) for fields in found] or [[]]

    def combined(self, parts: Iterable[list[str]]) -> list[str]:
        """Every way to put the parts of a word together, up to the bounds."""
        texts = [""]
        for alternatives in parts:
            if len(texts) == len(alternatives) == 1:
                texts = [texts[0] + alternatives[0]]
                continue
            made: list[str] = []
            room = MAX_COMBINED
            for text in (t + a for t in texts for a in alternatives):
                room -= len(text) + 1
                if room < 0 or len(made) >= MAX_ALTERNATIVES:
                    self.variables.overflowed = True
                    break
                made.append(text)
            texts = made
        return texts

    def _braces(self, text: str) -> list[str]:
        words = braces(text)
        if len(words) > MAX_BRACES:
            self.variables.overflowed = True
        return words

    def fields(self, nodes: Iterable[tree_sitter.Node]) -> Fields:
        """The fields of all alternatives of all words, one after the other."""
        return [f for node in nodes for fields in self.alternatives(node) for f in fields]

    def values(self, node: tree_sitter.Node | None) -> list[str]:
        """What an assignment of this word could store: no splitting, no braces."""
        if node is None:
            return [""]
        return self.combined(self._pieces(node, quoted=False))

    def _split(self, word: str) -> list[str]:
        """Field splitting. Only unquoted separators are left unmarked; `''` stays an empty field."""
        if not word:
            return []
        separators = self.variables.separators
        cut = re.split(f"[{re.escape(separators)}]+", word) if any(c in separators for c in word) else [word]
        return [part for part in cut if part] or ([] if word.strip(separators) == "" else [word])

    def _pieces(self, node: tree_sitter.Node, quoted: bool) -> Iterator[list[str]]:
        """One list of alternatives for each part of the word."""
        match node.type:
            case "concatenation" | "command_name":
                yield from self._gapped(node, node.children, quoted)
            case "string" | "translated_string":
                yield from self._string(node)
            case "raw_string":
                yield [_quote(text_of(node)[1:-1])]
            case "ansi_c_string":
                yield [_quote(unescaped(text_of(node)[2:-1]))]
            case "simple_expansion":
                yield self._parameter(text_of(node)[1:], text_of(node), quoted)
            case "expansion":
                yield self._expansion(node, quoted)
            case "command_substitution":
                yield self._substitution(node, quoted)
            case "process_substitution":
                yield ["/dev/fd/63"]
            case "arithmetic_expansion":
                yield [_arithmetic(text_of(node))]
            case "string_content" | "heredoc_content":
                yield [_quote(_in_double_quotes(text_of(node)))]
            case _:
                yield [_quote(text_of(node)) if quoted else _unescape_word(text_of(node))]

    def _string(self, node: tree_sitter.Node) -> Iterator[list[str]]:
        """The parts of a double-quoted string. Blanks between expansions are in no node, so gaps are read as source."""
        source, start = node.text or b"", node.start_byte
        at = start + (2 if node.type == "translated_string" else 1)
        end = node.end_byte - 1
        for part in node.named_children:
            if part.type == "string":  # of a translated string
                yield from self._string(part)
                return
            yield [_quote(source[at - start : part.start_byte - start].decode("utf-8", "replace"))]
            yield from self._pieces(part, quoted=True)
            at = part.end_byte
        yield [_quote(source[at - start : max(at, end) - start].decode("utf-8", "replace"))]

    def _substitution(self, node: tree_sitter.Node, quoted: bool) -> list[str]:
        printed = self.output(node)
        if printed is None:
            return [unknown(text_of(node))]
        text = printed.rstrip("\n")
        return [_quote(text) if quoted else text]

    def _parameter(self, name: str, source: str, quoted: bool) -> list[str]:
        if name in ("@", "*") and name in self.variables.lists:
            return self._listed(name, quoted)
        found = self.variables.of(name, source)
        return [_quote(v) if quoted else plain(v) if not is_unknown(v) else v for v in found]

    def _listed(self, name: str, quoted: bool) -> list[str]:
        """`"${a[@]}"` keeps its items apart even in quotes: items quoted, blanks between them not."""
        joined = [" ".join(_quote(i) if quoted else plain(i) for i in items) for items in self.variables.lists[name]]
        return joined or [""]

    def _expansion(self, node: tree_sitter.Node, quoted: bool) -> list[str]:
        source = text_of(node)
        match = _PARAMETER.fullmatch(source)
        if not match:
            return [unknown(source)]
        indirect, length, name, index, operation = match.groups()
        if length:
            return [str(len(v)) for v in self.variables.of(name, source)]
        if index is not None or (name in "@*" and name in self.variables.lists):
            values = self._indexed(name, index or name, quoted)
        else:
            values = self._parameter(name, source, quoted)
        if indirect:
            values = [v for inner in values for v in self._parameter(plain(inner), source, quoted)]
        return self._operated(node, values, operation, quoted) if operation else values

    def _indexed(self, name: str, index: str, quoted: bool) -> list[str]:
        if name not in self.variables.lists:
            return self._parameter(name, f"${name}", quoted)
        if index in ("@", "*"):
            return self._listed(name, quoted)
        items = [
            i
            for items in self.variables.lists[name]
            for i in (items if not index.isdigit() else items[int(index) :][:1])
        ]
        return [_quote(i) if quoted else plain(i) for i in items] or [""]

    def _operated(self, node: tree_sitter.Node, values: list[str], operation: str, quoted: bool) -> list[str]:
        """`:-word` and its kin, substrings, replacements and case changes; what is not understood stays unknown too."""
        if default := re.match(r":?([-=+?])", operation):
            parts = node.named_children[1:]
            words = self.combined(self._gapped(node, parts, quoted)) if parts else [operation[default.end() :]]
            known = [v for v in values if v and not is_unknown(v)]
            return (words + (known if default[1] != "+" else []))[:MAX_ALTERNATIVES]
        done = [changed for value in values if (changed := _changed(plain(value), operation)) is not None]
        return [_quote(v) if quoted else v for v in done] or [unknown(text_of(node))]

    def _gapped(self, node: tree_sitter.Node, parts: list[tree_sitter.Node], quoted: bool) -> Iterator[list[str]]:
        """The parts, and what stands between them: blanks are in no node."""
        source, at = node.text or b"", parts[0].start_byte if parts else 0
        for part in parts:
            gap = source[at - node.start_byte : part.start_byte - node.start_byte].decode("utf-8", "replace")
            yield [_quote(gap) if quoted else gap]
            yield from self._pieces(part, quoted)
            at = part.end_byte

    def _joined(self, node: tree_sitter.Node, quoted: bool) -> list[str]:
        return self.combined(self._pieces(node, quoted))


def _changed(value: str, operation: str) -> str | None:
    """The value after one `${x<operation>}`; None when the operation is not one of those understood."""
    if sub := re.fullmatch(r":\s*(-?\d+)\s*(?::\s*(-?\d+))?", operation):
        start = int(sub[1])
        rest = value[start:] if start >= 0 or -start <= len(value) else value
        return rest if sub[2] is None else rest[: int(sub[2])]
    if replaced := re.fullmatch(r"(//?)([#%]?)((?:\\.|[^/\\])+)(?:/(.*))?", operation, re.DOTALL):
        pattern = translate(_unescape_word(replaced[3]))[4:-3]
        new = _unescape_word((replaced[4] or "").strip("'\""))
        return (
            re.sub(pattern, lambda _: new, value, count=0 if replaced[1] == "//" else 1) if len(value) < 4096 else None
        )
    if cut := re.fullmatch(r"(##?|%%?)(.+)", operation, re.DOTALL):
        return _trimmed(value, cut[1], _unescape_word(cut[2].strip("'\"")))
    cases = {
        ",,": value.lower(),
        "^^": value.upper(),
        ",": value[:1].lower() + value[1:],
        "^": value[:1].upper() + value[1:],
    }
    return cases.get(operation, value if operation.startswith("@") else None)


def _trimmed(value: str, operator: str, glob: str) -> str:
    pattern = re.compile(translate(glob))
    cuts = range(len(value) + 1) if operator in ("#", "%%") else range(len(value), -1, -1)
    for cut in islice(cuts, 512):
        if operator[0] == "#" and pattern.match(value[:cut]):
            return value[cut:]
        if operator[0] == "%" and pattern.match(value[cut:]):
            return value[:cut]
    return value


def _quote(text: str) -> str:
    return text.translate(_QUOTED)


def _in_double_quotes(text: str) -> str:
    return re.sub(r'\\([\\$`"\n])', lambda m: "" if m[1] == "\n" else m[1], text)


def _unescape_word(text: str) -> str:
    return re.sub(r"\\(.|\n|$)", lambda m: "" if m[1] == "\n" else _quote(m[1]), text) if "\\" in text else text


def _tilde(word: str) -> str:
    if word[:2] in ("~+", "~-") and word[2:3] in ("", "/"):
        return "." + word[2:]
    return "/home/user" + word[1:] if word == "~" or word.startswith("~/") else word


def _arithmetic(text: str) -> str:
    sum_of = re.fullmatch(r"\$\(\(\s*(\d{1,9})\s*([-+*])\s*(\d{1,9})\s*\)\)", text)
    if not sum_of:
        return unknown(text)
    left, right = int(sum_of[1]), int(sum_of[3])
    return str({"+": left + right, "-": left - right, "*": left * right}[sum_of[2]])


_BRACE = re.compile(r"\{([^{}]*,[^{}]*|[^{},.]+\.\.[^{},.]+(?:\.\.\d+)?)\}")


def braces(word: str) -> list[str]:
    """Brace expansion, `{a,b}` and `{1..9}`. More than MAX_BRACES results say that there would be more."""
    done: list[str] = []
    waiting = [word]
    while waiting:
        text = waiting.pop()
        match = _BRACE.search(text) if "{" in text else None
        if match is None or len(done) + len(waiting) > MAX_BRACES:
            done.append(text)
            continue
        items = _brace_items(match[1])
        waiting.extend(text[: match.start()] + item + text[match.end() :] for item in reversed(items))
    return done


def _brace_items(inner: str) -> list[str]:
    if "," in inner:
        return inner.split(",")
    low, high, *_ = inner.split("..")
    if low.lstrip("-").isdecimal() and high.lstrip("-").isdecimal() and len(low + high) < 12:
        step = 1 if int(low) <= int(high) else -1
        return [str(n) for n in islice(range(int(low), int(high) + step, step), 64)]  # numbers harm nobody
    if len(low) == len(high) == 1:
        return [chr(c) for c in range(min(ord(low), ord(high)), max(ord(low), ord(high)) + 1)][:256]
    return ["{" + inner + "}"]
