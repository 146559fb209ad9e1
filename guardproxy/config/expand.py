"""`${VAR}`, `${VAR:-default}` and `${file:/path}` in the text values of a configuration. Keys are never touched.

`$${` stands for a plain `${`. What is put in is not read again, so no value can pull in another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guardproxy.strict_yaml import Place, Plain

MAX_FILE_BYTES = 65_536

_REFERENCE = re.compile(
    r"\$(?P<escaped>\$\{)"
    r"|\$\{file:(?P<file>[^{}]+)\}"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}"
    r"|(?P<broken>\$\{)"
)


class Unexpandable(ValueError):
    """A reference that leads nowhere. The message names it, never a value."""


def expand(tree: Plain, environ: Mapping[str, str], directory: Path) -> tuple[Plain, dict[Place, str]]:
    """The tree with every reference replaced, and what is wrong with those that could not be, by place."""
    walk = _Walk(environ, directory)
    return walk.expanded(tree, ()), walk.problems


def expand_text(text: str, environ: Mapping[str, str], directory: Path) -> str:
    """Raises Unexpandable."""
    return _REFERENCE.sub(lambda match: _value(match, environ, directory), text) if "${" in text else text


def _value(match: re.Match[str], environ: Mapping[str, str], directory: Path) -> str:
    if match["escaped"]:
        return "${"
    if match["file"]:
        return _read(directory / match["file"])
    if match["broken"]:
        raise Unexpandable("a `${` must be ${VAR}, ${VAR:-default} or ${file:/path}; write $${ for the characters")
    value = environ.get(match["name"])
    if not value and match["default"] is not None:
        return match["default"]
    if not value:
        raise Unexpandable(f"the environment variable {match['name']} is {'not set' if value is None else 'empty'}")
    return value


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode()
    except UnicodeDecodeError:
        raise Unexpandable(f"{path} is not UTF-8") from None
    except OSError as error:
        raise Unexpandable(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise Unexpandable(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return text.rstrip("\r\n")


@dataclass(slots=True)
class _Walk:
    environ: Mapping[str, str]
    directory: Path
    problems: dict[Place, str] = field(default_factory=dict)

    def expanded(self, value: Plain, place: Place) -> Plain:
        match value:
            case str():
                return self._text(value, place)
            case list():
                return [self.expanded(item, (*place, index)) for index, item in enumerate(value)]
            case dict():
                return {key: self.expanded(item, (*place, key)) for key, item in value.items()}
            case _:
                return value

    def _text(self, text: str, place: Place) -> str:
        try:
            return expand_text(text, self.environ, self.directory)
        except Unexpandable as error:
            self.problems[place] = str(error)
            return text
