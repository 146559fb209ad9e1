"""Reading a script: from its text to every simple command that could run.

Nothing is executed. Where the text decides, the reader follows it: through pipes, substitutions, variables, wrappers,
nested shells, here-documents and code in other languages. Where it does not, the command is marked dynamic.
"""

import re
from collections.abc import Sequence

from guardproxy.policy.shell.binding import Binder, bind_positional
from guardproxy.policy.shell.code import effects
from guardproxy.policy.shell.command import Script
from guardproxy.policy.shell.line import LineReader
from guardproxy.policy.shell.printing import Printer
from guardproxy.policy.shell.reading import BASH, Reading, Text
from guardproxy.policy.shell.tree import Stop, TooComplex, never, parse
from guardproxy.policy.shell.walk import Walker
from guardproxy.policy.shell.words import MAX_BRACES, Variables, braces


def read(text: str, language: str = BASH, directories: tuple[str, ...] = (), stop: Stop = never) -> Script:
    """Every command that `text` could run. `directories` are where it starts; `stop` ends the reading early."""
    reading = Reading(stop)
    reading.add(Text(language, text, directories))
    return _finished(reading)


def read_line(words: Sequence[str], directories: tuple[str, ...] = (), stop: Stop = never) -> Script:
    """As `read`, of an argument vector that no shell splits: `["bash", "-c", "..."]`."""
    reading = Reading(stop)
    LineReader(reading, directories, 0, {}).line(reading.cut(words), (), None, ())
    return _finished(reading)


def _finished(reading: Reading) -> Script:
    while reading.waiting and reading.spend():
        text = reading.waiting.pop(0)
        try:
            if text.language == BASH:
                _read_script(reading, text)
            else:
                _read_code(reading, text)
        except TooComplex:
            reading.truncated = True
    return Script(tuple(reading.commands), reading.broken, reading.truncated)


def _read_script(reading: Reading, text: Text) -> None:
    root = parse(BASH, text.source.encode("utf-8", "replace"), reading.stop)
    variables = Variables({name: list(values) for name, values in text.variables.items()})
    bind_positional(variables, text.positional)
    printer = Printer(reading, variables)
    binder = Binder(reading, printer, variables, text.directories)
    for _ in range(2):
        binder.bind(root)
    printer.forget()
    lines = LineReader(reading, binder.directories, text.depth, binder.aliases, variables.values)
    Walker(reading, printer, lines).walk(root, (), None)
    if root.has_error:
        reading.broken |= text.depth == 0
        _read_pieces(reading, lines, text.source)
    reading.truncated |= variables.overflowed


def _read_code(reading: Reading, text: Text) -> None:
    lines = LineReader(reading, text.directories, text.depth, {})
    for effect in effects(text.language, text.source, reading.stop):
        if not reading.spend():
            return
        lines.apply(effect)


def _read_pieces(reading: Reading, lines: LineReader, text: str) -> None:
    """A script with errors may still run in part, or in another shell: each piece of it counts as a command line."""
    for piece in filter(None, map(str.strip, re.split(r"[;&|\n(){}`]+", text))):
        if piece != text.strip() and len(piece) > 2 and reading.spend():
            lines.line(reading.cut(re.sub(r"['\"\\]|\$\(|@\(", "", piece).split()), (), None, ())
    for piece in re.split(r"[;&|\n]+", text):
        words = braces(piece.strip())
        reading.truncated |= len(words) > MAX_BRACES
        if len(words) > 1:
            lines.line(reading.cut(words), (), None, ())
