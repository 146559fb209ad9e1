"""The matchers of a pack, compiled. They look at texts and commands and never raise."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from guardproxy.policy import paths
from guardproxy.policy.addresses import HostPattern, compile_host
from guardproxy.policy.names import reduced
from guardproxy.policy.paths import PathPatterns
from guardproxy.policy.regex import Pattern, pattern
from guardproxy.policy.schema import ArgumentMatch, CommandMatch, TextMatch
from guardproxy.policy.shell import Command
from guardproxy.policy.view import Argument, CallView


@dataclass(frozen=True, slots=True)
class TextTest:
    """All that is set must hold for one text."""

    regex: Pattern | None
    not_regex: Pattern | None
    paths: PathPatterns | None
    not_paths: PathPatterns | None
    whole: frozenset[str]
    hosts: tuple[HostPattern, ...]

    def match(self, text: str, view: CallView, directories: tuple[str, ...] = ()) -> bool:
        if self.regex is not None and not self.regex.search(text):
            return False
        if self.not_regex is not None and self.not_regex.search(text):
            return False
        if self.hosts and not any(h.match(a) for a in view.addresses(text) for h in self.hosts):
            return False
        return not (self.paths or self.whole) or self._match_paths(text, directories)

    def _match_paths(self, text: str, directories: tuple[str, ...]) -> bool:
        for path in paths.candidates(text, directories):
            named = (self.paths and self.paths.match(path)) or (self.whole and paths.whole(path) in self.whole)
            if named and not (self.not_paths and self.not_paths.match(path)):
                return True
        return False


@dataclass(frozen=True, slots=True)
class ArgumentTest:
    names: re.Pattern[str] | None
    test: TextTest

    def match(self, view: CallView) -> bool:
        return any(self._applies(a) and any(self.test.match(t, view) for t in a.texts) for a in view.strings)

    def _applies(self, argument: Argument) -> bool:
        return self.names is None or bool(
            self.names.fullmatch(argument.path) or self.names.fullmatch(reduced(argument.key))
        )


@dataclass(frozen=True, slots=True)
class Programs:
    """Names of programs. Wildcards count on both sides: `/bin/r?` could be `rm`, and `python*` is any Python."""

    exact: frozenset[str]
    globs: tuple[str, ...]
    _seen: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def match(self, program: str) -> bool:
        if program in self.exact:
            return True
        found = self._seen.get(program)
        if found is None:
            if len(self._seen) > 512:
                self._seen.clear()
            found = self._seen[program] = self._match(program)
        return found

    def _match(self, program: str) -> bool:
        if any(paths.could_be(glob, program) for glob in self.globs):
            return True
        return paths.is_glob(program) and any(paths.could_be(name, program) for name in self.exact)


@dataclass(frozen=True, slots=True)
class CommandTest:
    programs: Programs | None
    flags: tuple[frozenset[str], ...]
    without: frozenset[str]
    ignored: frozenset[str]
    subcommands: tuple[tuple[str, ...], ...]
    arguments: tuple[TextTest, ...]
    redirect: TextTest | None
    text: TextTest | None
    input: "CommandTest | None"
    dynamic: bool | None

    def match(self, command: Command, view: CallView) -> bool:
        if self.programs is not None and not self.programs.match(command.program):
            return False
        if self.dynamic is not None and command.dynamic is not self.dynamic:
            return False
        return (
            self._match_words(command) and self._match_texts(command, view) and self._match_surroundings(command, view)
        )

    def _match_words(self, command: Command) -> bool:
        if self.flags or self.without:
            flags = command.flags
            if not all(any(_has_flag(flags, f) for f in choice) for choice in self.flags) or self.without & flags:
                return False
        if not self.subcommands:
            return True
        words = tuple(w.lower() for w in command.positionals)
        return any(_in_order(sub, words) for sub in self.subcommands)

    def _match_texts(self, command: Command, view: CallView) -> bool:
        words, places = self._words(command), command.directories
        if not all(any(test.match(w, view, places) for w in _spaced(words, test)) for test in self.arguments):
            return False
        return self.text is None or any(self.text.match(t, view) for t in (command.text, command.stdin) if t)

    def _words(self, command: Command) -> tuple[str, ...]:
        """The words, without the values of options that the rule does not care about (`ssh -i key`)."""
        if not self.ignored:
            return command.words
        before = ("", *command.words)
        return tuple(w for w, option in zip(command.words, before, strict=False) if not self._ignores(w, option))

    def _ignores(self, word: str, option: str) -> bool:
        if option.startswith("-") and "=" not in option and option.lstrip("-") in self.ignored:
            return True
        name = re.match(r"-{1,2}([\w-]+)=|-o([A-Za-z]+)=", word)
        return name is not None and (name[1] or name[2].lower()) in self.ignored

    def _match_surroundings(self, command: Command, view: CallView) -> bool:
        redirect = self.redirect
        if redirect is not None and not any(
            redirect.match(r.target, view, command.directories) for r in command.redirects if r.writes
        ):
            return False
        return self.input is None or any(self.input.match(c, view) for c in command.inputs)


def _has_flag(flags: frozenset[str], wanted: str) -> bool:
    """Long options may be shortened: `--recurs` is `--recursive`."""
    return wanted in flags or (len(wanted) > 2 and any(len(f) > 2 and wanted.startswith(f) for f in flags))


def _in_order(wanted: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether the wanted words occur among the first few, in their order."""
    rest = iter(words[:64])
    return all(any(paths.could_be(w, word) for word in rest) for w in wanted)


def _spaced(words: tuple[str, ...], test: TextTest) -> Iterable[str]:
    """The words; for hosts also pairs of them, as in `nc 127.0.0.1 9901`."""
    yield from words
    if test.hosts:
        yield from (f"{a} {b}" for a, b in pairwise(words) if b[:1].isdigit())


def compile_text(model: TextMatch) -> TextTest:
    """Raises ValueError."""
    ways = [f"(?:{r})" for r in model.regex]
    ways += [f"(?i)(?:{re.escape(c)})" for c in model.contains]
    if model.regex and model.contains:
        raise ValueError("give regex or contains, not both")
    ways += [_glob(g) for g in model.glob]
    for single in model.regex:
        pattern(single)
    return TextTest(
        regex=pattern("|".join(ways)) if ways else None,
        not_regex=pattern("|".join(f"(?:{r})" for r in model.not_regex)) if model.not_regex else None,
        paths=paths.compile_patterns(model.path),
        not_paths=paths.compile_patterns(model.not_path),
        whole=frozenset(paths.normal(w) for w in model.whole),
        hosts=tuple(map(compile_host, model.host)),
    )


def _glob(glob: str) -> str:
    inner = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in glob)
    return rf"(?s)\A{inner}\z"


def compile_argument(model: ArgumentMatch) -> ArgumentTest:
    names = "|".join("".join("[^.]*" if c == "*" else re.escape(c) for c in n) for n in model.name)
    return ArgumentTest(re.compile(names, re.IGNORECASE) if names else None, compile_text(model))


def compile_command(model: CommandMatch) -> CommandTest:
    arguments = [*([model.argument] if model.argument else []), *model.arguments]
    return CommandTest(
        programs=_programs(model.program),
        flags=tuple(frozenset(f.split("|")) for f in model.flags),
        without=frozenset(f for entry in model.without for f in entry.split("|")),
        ignored=frozenset(model.ignore_values),
        subcommands=tuple(tuple(s.lower().split()) for s in model.subcommand),
        arguments=tuple(map(compile_text, arguments)),
        redirect=compile_text(model.redirect) if model.redirect else None,
        text=compile_text(model.text) if model.text else None,
        input=compile_command(model.input) if model.input else None,
        dynamic=model.dynamic,
    )


def _programs(names: tuple[str, ...]) -> Programs | None:
    lower = [n.lower() for n in names]
    globs = tuple(n for n in lower if paths.is_glob(n))
    return Programs(frozenset(n for n in lower if n not in globs), globs) if names else None
