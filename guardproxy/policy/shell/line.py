"""One simple command whose words are known: the command itself, and everything that it would run in turn."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

from guardproxy.policy.shell import output
from guardproxy.policy.shell.code import Effect
from guardproxy.policy.shell.command import Command, Redirect
from guardproxy.policy.shell.programs import CODE_FLAGS, INTERPRETERS, SHELLS, interpreter, program_name
from guardproxy.policy.shell.reading import BASH, MAX_STDIN, MAX_TREE_DEPTH, MAX_WORDS, Reading, Text
from guardproxy.policy.shell.words import is_unknown, plain, unknown, without_unknown
from guardproxy.policy.shell.wrappers import inner_lines, inner_scripts


@dataclass(slots=True)
class LineReader:
    """Reads command lines of one script; `depth` counts nested scripts."""

    reading: Reading
    directories: tuple[str, ...]
    depth: int
    aliases: Mapping[str, list[str]]
    variables: Mapping[str, list[str]] = field(default_factory=dict)
    _level: int = 0

    def line(
        self, fields: list[str], inputs: tuple[Command, ...], stdin: str | None, redirects: tuple[Redirect, ...]
    ) -> tuple[Command, ...]:
        """One command line, already expanded: the command itself and all that it would run."""
        while fields and not plain(fields[0]).strip():
            fields = fields[1:]
        if not fields or not self.reading.spend():
            return ()
        self._level += 1
        try:
            if self._level > MAX_TREE_DEPTH:
                self.reading.truncated = True
                return ()
            return self._line(fields, inputs, stdin, redirects)
        finally:
            self._level -= 1

    def _line(
        self, fields: list[str], inputs: tuple[Command, ...], stdin: str | None, redirects: tuple[Redirect, ...]
    ) -> tuple[Command, ...]:
        unknown = is_unknown(fields[0])
        ran: tuple[Command, ...] = ()
        if unknown and without_unknown(fields[0]):
            ran = self.line([without_unknown(fields[0]), *fields[1:]], inputs, stdin, redirects)
        raw = plain(fields[0])
        if raw in self.aliases and self.aliases[raw][:1] != [raw]:
            ran = (*ran, *self.line([*self.aliases[raw], *fields[1:]], inputs, stdin, redirects))
        words = tuple(_words(fields[1:])) + tuple(r.target for r in redirects if not r.writes)
        program = raw.lower() if unknown else program_name(raw)
        dynamic = unknown or self._unreadable(program, fields[1:], inputs, stdin)
        inputs = self.reading.fed(inputs, self._origins(words))
        dynamic = dynamic or self._runs_output(program, raw, words)
        command = Command(program, words, redirects, inputs, self.directories, dynamic, (stdin or "")[:MAX_STDIN])
        self._downloaded(command)
        self.reading.emit(command)
        self._inner(program, raw, words, command, stdin)
        return (command, *ran)

    def _unreadable(self, program: str, fields: list[str], inputs: tuple[Command, ...], stdin: str | None) -> bool:
        """A shell or an eval that runs text which only exists when it runs."""
        if program == "eval":
            return any(map(is_unknown, fields))
        if program in ("source", "."):
            return bool(inputs) and stdin is None
        if program not in SHELLS and program not in INTERPRETERS:
            return False
        given = [f for f in fields if not f.startswith("-") or f == "-"]
        flags = CODE_FLAGS.get(interpreter(program) or "", "c")
        if any(re.fullmatch(rf"-\w*[{flags}]\w*", f) for f in fields) and program != "awk":
            return any(map(is_unknown, fields))
        reads_stdin = not given or given[0] in ("-", "/dev/stdin", "/dev/fd/63", "/dev/fd/0")
        return reads_stdin and bool(inputs) and stdin is None

    def _origins(self, words: Iterable[str]) -> Iterator[Command]:
        """The commands that wrote the files which these words name: `env > e; curl -T e`."""
        if self.reading.origins:
            for word in words:
                name = re.split(r"[=@]", word)[-1].removeprefix("./")
                yield from self.reading.origins.get(name, ())

    def _runs_output(self, program: str, raw: str, words: tuple[str, ...]) -> bool:
        """Whether it runs a file that another command wrote: `curl x -o a; sh a`."""
        reads_script = program in SHELLS or program in ("source", ".") or interpreter(program)
        ran = next((w for w in words if not w.startswith("-")), "") if reads_script else raw
        return ran.removeprefix("./") in self.reading.origins

    def _downloaded(self, command: Command) -> None:
        """Remembers the files that a download writes."""
        if command.program not in ("curl", "wget", "aria2c", "fetch"):
            return
        named = [w for flag, w in pairwise(command.words) if flag in ("-o", "--output", "--output-document")]
        named += [
            w for flag, w in pairwise(command.words) if command.program == "wget" and re.fullmatch(r"-\w*O", flag)
        ]
        named += [m[1] for w in command.words if (m := re.match(r"(?:--output(?:-document)?=|-[oO])(.+)", w))]
        if not named:
            named = [w.partition("?")[0].rpartition("/")[2] for w in command.words if "/" in w]
        origin = replace(command, inputs=())
        self.reading.origins.update({name.removeprefix("./"): (origin,) for name in named if name not in ("", "-")})

    def _inner(self, program: str, raw: str, words: tuple[str, ...], command: Command, stdin: str | None) -> None:
        for line in inner_lines(program, words):
            self.line(self._with_arguments(program, line, words, stdin), command.inputs, stdin, command.redirects)
        for script in inner_scripts(program, words):
            self.script(script)
        if program in SHELLS:
            self._shell(words, stdin)
        if language := interpreter(program):
            self._interpreter(language, words, stdin)
        if program in ("source", ".", "ssh", "at", "batch", "crontab") and stdin is not None:
            self.script(stdin)
        if program == "find" and "-delete" in words and not output.find_is_narrowed(words):
            self.reading.emit(Command("rm", ("-r", "-f", *output.find_roots(words)), (), (), self.directories))
        if program in ("make", "gmake") and stdin is not None:
            for recipe in re.findall(r"(?m)^(?:\t|[^\n;]*:[^\n;]*;)(.+)$", stdin)[:256]:
                self.script(recipe.lstrip("@-+ \t"))
        if program == "tee" and stdin is not None:
            self.reading.files.update((w, stdin) for w in words if not w.startswith("-"))
        self._written(program, raw, words)

    def _written(self, program: str, raw: str, words: tuple[str, ...]) -> None:
        """Runs what the script itself wrote to a file before."""
        language = interpreter(program)
        indirect = program in SHELLS or program in ("source", ".") or language
        ran = [w for w in words if not w.startswith("-")][:1] if indirect else [raw]
        for path in (p for given in ran for p in (given, given.removeprefix("./"), f"./{given}")):
            if text := self.reading.files.get(path):
                self._code(language, text) if language else self.script(text, words[1:])

    def _with_arguments(self, program: str, line: list[str], words: tuple[str, ...], stdin: str | None) -> list[str]:
        """`xargs` adds what it reads, `find -exec` puts what it visits in the place of `{}`."""
        if program == "find":
            visited = output.find_visits(words)
            return [w for word in line for w in (visited if word == "{}" and visited else [word])]
        if program in ("xargs", "parallel") and stdin is None:
            return [w.replace("{}", unknown("{}")) for w in line] + [unknown("stdin")] * (line[-1:] == ["-c"])
        if program in ("xargs", "parallel") and stdin is not None:
            read = re.split(r"[\s\0]+", stdin.strip())
            self.reading.truncated |= len(read) * len(line) > 16 * MAX_WORDS
            read = read[:MAX_WORDS]
            if any("{}" in w for w in line):
                filled = (w.replace("{}", r) for w in line for r in (read if "{}" in w else [""]))
                return self.reading.cut(list(islice(filled, MAX_WORDS + 1)))
            return [*line, *read]
        return line

    def _shell(self, words: tuple[str, ...], stdin: str | None) -> None:
        for at, word in enumerate(words):
            if (re.fullmatch(r"[-+]\w*c\w*", word) and not word.startswith("--")) or word in ("-Command", "-command"):
                rest = [w for w in words[at + 1 :] if not re.fullmatch(r"[-+]\w+|--", w)]
                for script in words[at + 1 : at + 2]:
                    self.script(script, words[at + 2 :][1:])
                    self._script_arguments(script, words[at + 2 :])
                for script in rest[:1]:
                    self.script(script, rest[2:])
                return
            if word.lower() in ("--command", "--init-file", "--rcfile"):
                self.script(" ".join(words[at + 1 : at + 2]))
        if stdin is not None:
            self.script(stdin)

    def _script_arguments(self, script: str, words: Sequence[str]) -> None:
        """`sh -c '$0 "$@"' rm -rf /`: the words after the script are its `$0`, `$1`..."""
        if re.search(r"\$(?:\{?[0@*])", script) and words:
            first = script.replace("${0}", "$0").replace("$0", words[0])
            self.script(first, words[1:])

    def _interpreter(self, language: str, words: tuple[str, ...], stdin: str | None) -> None:
        flags = CODE_FLAGS.get(language, "c")
        ran = False
        for at, word in enumerate(words):
            if re.fullmatch(rf"-\w*[{flags}]", word) or word in ("--eval", "--execute", "--print"):
                self._code(language, "\n".join(words[at + 1 : at + 2]))
                ran = True
            elif glued := re.match(rf"-[{flags}](.{{3,}})|--eval=(.+)", word, re.DOTALL):
                self._code(language, glued[1] or glued[2])
                ran = True
        if language == "awk":
            self._code("awk", "\n".join(w for w in words if not w.startswith("-")))
        elif not ran and stdin is not None:
            self._code(language, stdin)

    def apply(self, effect: Effect) -> None:
        """What code in another language does, as the command that does the same."""
        match effect:
            case str():
                self.script(effect)
            case Command():
                self.reading.emit(effect)
            case ("code", language, text):
                self._code(language, text)
            case ("line", *words):
                self.line(list(words), (), None, ())

    def script(self, source: str, positional: Sequence[str] = ()) -> None:
        """Puts a script on the list of what is to be read, with what this one knows."""
        self.reading.add(Text(BASH, source, self.directories, tuple(positional), self.depth + 1, self.variables))

    def _code(self, language: str, source: str) -> None:
        self.reading.add(Text(language, source, self.directories, (), self.depth + 1))


def _words(fields: Iterable[str]) -> Iterator[str]:
    """The words; one that ends in something unknown stands for its beginning too (`/$X` could be `/`)."""
    for item in islice(fields, 4 * MAX_WORDS):
        yield plain(item)
        if is_unknown(item) and without_unknown(item) and not is_unknown(item[0]):
            yield plain(without_unknown(item))
