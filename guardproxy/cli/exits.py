"""How a command ends badly: every fault on standard error, and a status that says what kind it was."""

import sys
from typing import NoReturn

import typer

from guardproxy.errors import ConfigurationError

FAILURE = 1
BAD_CONFIGURATION = 64  # EX_USAGE of sysexits.h


def refuse_configuration(error: ConfigurationError) -> NoReturn:
    for fault in error.faults:
        print(fault, file=sys.stderr)
    count = len(error.faults)
    print(f"guardproxy: {count} {'fault' if count == 1 else 'faults'} in the configuration", file=sys.stderr)
    raise typer.Exit(BAD_CONFIGURATION)


def fail(message: str) -> NoReturn:
    print(f"guardproxy: {message}", file=sys.stderr)
    raise typer.Exit(FAILURE)
