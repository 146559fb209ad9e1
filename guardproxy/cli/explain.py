"""`guardproxy explain ID`: one decision's story, from the audit."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from guardproxy.cli.exits import fail, refuse_configuration

EXAMPLES = """\b
Examples:
  guardproxy explain 4f1c0a9be2d87c11          the id is in the x-guardproxy-decision-id header of every answer
  guardproxy explain --audit audit.jsonl 4f1c0a9be2d87c11"""


def explain(
    id: Annotated[str, typer.Argument(metavar="ID", help="A decision's id.")],
    audit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The audit file, instead of the configured one.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", envvar="GUARDPROXY_CONFIG", help="Configuration file."),
    ] = None,
) -> None:
    """Tell one decision's story.

    What was decided about an exchange, by whom and why. Rotated audit files are searched too.
    """
    from guardproxy.telemetry.explain import find, tell

    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id):
        fail("this is not a decision's id; it is in the x-guardproxy-decision-id header of every answer")
    files = [audit] if audit else _configured(config)
    if not files:
        fail("there is no audit file to search; name one with --audit FILE")
    for file in files:
        try:
            record = find(file, id)
        except OSError as error:
            fail(f"{file}: {error.strerror}")
        if record is not None:
            typer.echo(tell(record), nl=False)
            return
    fail(f"no decision {id} in {', '.join(map(str, files))}")


def _configured(config: Path | None) -> list[Path]:
    from guardproxy.config.audit_target import audit_files
    from guardproxy.config.read import read_settings
    from guardproxy.errors import ConfigurationError

    try:
        settings = read_settings(config, os.environ)
    except ConfigurationError as error:
        refuse_configuration(error)
    return list(audit_files(settings.audit, os.environ))
