"""`guardproxy evaluate FILE...`: how well the guards judge, on labelled rows."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from guardproxy.cli.exits import fail, refuse_configuration

if TYPE_CHECKING:
    from guardproxy.config.runtime import Build
    from guardproxy.errors import Fault
    from guardproxy.offline.evaluate.results import Report

EXAMPLES = """\b
Examples:
  guardproxy evaluate rows/*.jsonl
  guardproxy evaluate --guards rules rows/*.jsonl          what the rules do alone
  guardproxy evaluate --json --baseline rows/*.jsonl > report.json
  guardproxy evaluate --html report.html --limit 200 rows/*.jsonl

\b
Exit status: 0 measured, 1 no report could be written, 2 faults in the files (each is printed with file and line) or
in the command line, 64 bad configuration."""

BAD_DATA = 2


def evaluate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Labelled rows, one JSON object a line.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", envvar="GUARDPROXY_CONFIG", help="Configuration file."),
    ] = None,
    guards: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="The guards to ask, as in rules,classifier. [those of the configuration]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report with ROC and reliability plots, too.")
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Compare with a bag of words that saw no row of the judged family.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Judge N rows of each source, drawn by their ids.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=0, max=100_000, help="Resamples of the cases, for the intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the resamples.")] = 0,
) -> None:
    """Measure the guards on labelled rows.

    Every row takes the proxy's own path. All guards are taken as enforcing, whatever their mode: a row is flagged if
    it would be blocked.
    """
    build = _build(config, guards)
    try:
        report = _measure(build, files, limit, resamples, seed, baseline)
    finally:
        build.close_models()
    if html is not None:
        _write_page(report, html)
    _print(report, as_json)


def _build(config: Path | None, guards: str | None) -> "Build":
    from guardproxy.config.read import config_file, read_settings
    from guardproxy.errors import ConfigurationError
    from guardproxy.offline.evaluate.choice import UnknownGuard, build_with

    names = None if guards is None else [name.strip() for name in guards.split(",")]
    try:
        return build_with(read_settings(config_file(config, os.environ), os.environ), names)
    except UnknownGuard as error:
        raise typer.BadParameter(str(error), param_hint="--guards") from None
    except ConfigurationError as error:
        refuse_configuration(error)


def _measure(
    build: "Build", files: list[Path], limit: int | None, resamples: int, seed: int, baseline: bool
) -> "Report":
    import asyncio
    import logging

    from guardproxy.offline.evaluate.judging import Judge
    from guardproxy.offline.evaluate.progress import progress
    from guardproxy.offline.evaluate.results import Sampling
    from guardproxy.offline.evaluate.run import BadData, judge_all, plan

    runtime = build.runtime
    logging.getLogger("guardproxy.review").setLevel(logging.ERROR)  # the report counts failures, row by row is too much
    try:
        made = plan(files, limit, runtime.request_rules)
        with progress(made.total) as advance:
            run = asyncio.run(judge_all(made, Judge(runtime), Sampling(resamples, seed), advance, baseline))
    except BadData as error:
        _refuse(error.faults)
    return run.report([guard.name for guard in runtime.guards])


def _refuse(faults: "tuple[Fault, ...]") -> NoReturn:
    for fault in faults:
        print(fault, file=sys.stderr)
    count = len(faults)
    print(f"guardproxy: {count} {'fault' if count == 1 else 'faults'}; nothing was judged", file=sys.stderr)
    raise typer.Exit(BAD_DATA)


def _write_page(report: "Report", file: Path) -> None:
    from guardproxy.offline.evaluate.as_html import page_of

    try:
        file.write_text(page_of(report), encoding="utf-8")
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _print(report: "Report", as_json: bool) -> None:
    from guardproxy import strict_json
    from guardproxy.offline.evaluate.as_json import tree_of
    from guardproxy.offline.evaluate.as_text import text_of

    typer.echo(strict_json.encode(tree_of(report)).decode() if as_json else text_of(report), nl=as_json)
