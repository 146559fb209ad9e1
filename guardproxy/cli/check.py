"""`guardproxy check`: everything that is wrong with configurations and rule packs, before anything runs."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardproxy.cli.exits import refuse_configuration

if TYPE_CHECKING:
    from guardproxy.config.settings import Settings
    from guardproxy.policy.policy import Policy

EXAMPLES = """\b
Examples:
  guardproxy check                            what `guardproxy serve` would run with, and every shipped pack
  guardproxy check /etc/guardproxy            a directory with a guardproxy.yaml
  guardproxy check guardproxy.yaml my-rules.yaml prefix.yaml

Exit status: 0 all well, 64 at least one fault; each is printed with file, line and path."""


def check(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Configuration files, rule packs and prefixes.")
    ] = None,
) -> None:
    """Check configurations and rule packs.

    Every file that they name is read, and the packs' own tests are run. Nothing is started.
    """
    from guardproxy.errors import ConfigurationError, Fault

    faults: list[Fault] = []
    for name, subject in _subjects(files or []):
        try:
            typer.echo(f"{name}: {subject()}")
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        refuse_configuration(ConfigurationError(list(dict.fromkeys(faults))))


class _Pack:
    """A rule pack, by file or shipped name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> str:
        from guardproxy.errors import ConfigurationError
        from guardproxy.policy.loader import load_policy
        from guardproxy.policy.testing import run_tests

        policy = load_policy([self._name])
        if faults := run_tests(policy):
            raise ConfigurationError(faults)
        return f"ok, {_size(policy)}"


class _Configuration:
    """A configuration file with all that it names; None for what the environment says."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def __call__(self) -> str:
        from guardproxy.config.audit_target import AuditTarget
        from guardproxy.config.read import read_settings
        from guardproxy.config.runtime import build, lay_foundation

        settings = read_settings(self._file, os.environ)
        built = build(settings, lay_foundation(settings, AuditTarget(None)))
        built.close_models()
        without = "".join(f", goes on without a model: {fault}" for fault in built.classifier.faults)
        return f"ok, {_size(built.policy)}, {_upstreams(settings)}, revision {built.runtime.revision}{without}"


class _Prefix:
    """A prefix artifact."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self) -> str:
        from guardproxy.prefix.artifact import load_artifact

        artifact = load_artifact(self._file)
        done = f"{artifact.scores.perform.value:.0%} of benign tasks done" if artifact.scores else "not measured"
        return f"ok, prefix {artifact.id}, {artifact.position}, {done}, {'gated' if artifact.gate else 'no gate'}"


def _subject(file: Path) -> "_Pack | _Configuration | _Prefix":
    """A file that cannot be read as any is reported as a configuration: that reader tells what is wrong.

    An empty one is reported as a pack, since nothing was written that could be checked.
    """
    from guardproxy.config.settings import Settings
    from guardproxy.errors import ConfigurationError
    from guardproxy.strict_yaml import scan

    if file.is_dir():
        return _Configuration(file)
    try:
        tree = scan(file.read_bytes(), str(file))[0].tree
    except (OSError, ConfigurationError):
        return _Configuration(file)
    match tree:
        case {"text": _, "learned": _}:
            return _Prefix(file)
        case dict() if not tree.keys() & Settings.model_fields.keys():
            return _Pack(str(file.absolute()))
        case _:
            return _Configuration(file) if tree else _Pack(str(file.absolute()))


def _subjects(files: list[Path]) -> "Iterator[tuple[str, _Pack | _Configuration | _Prefix]]":
    for file in files:
        yield str(file), _subject(file)
    if files:
        return
    from guardproxy.config.read import config_file
    from guardproxy.policy.loader import shipped_packs

    file_in_force = config_file(None, os.environ)
    yield str(file_in_force or "configuration (built in)"), _Configuration(file_in_force)
    for name in shipped_packs():
        yield f"pack {name}", _Pack(name)


def _size(policy: "Policy") -> str:
    return f"{len(policy.rules)} rules, {len(policy.tests)} tests passed"


def _upstreams(settings: "Settings") -> str:
    return "upstreams " + ", ".join(f"{each.name} ({each.kind})" for each in settings.upstreams)
