"""`guardproxy learn --model NAME`: searches the prefix with which a model refuses harm and goes on working."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from guardproxy.cli.exits import fail, refuse_configuration

if TYPE_CHECKING:
    from guardproxy.config.runtime import Build
    from guardproxy.config.settings import Settings
    from guardproxy.errors import Fault
    from guardproxy.offline.learn.risk import RiskOf
    from guardproxy.offline.learn.run import Learner, Outcome, Search
    from guardproxy.offline.learn.split import Split
    from guardproxy.offline.learn.store import Store
    from guardproxy.offline.learn.tasks import TaskSet

EXAMPLES = """\b
Examples:
  guardproxy learn --upstream http://127.0.0.1:8000/v1 --model llama-3.1-8b
  guardproxy learn -c guardproxy.yaml --model llama-3.1-8b --generator big-model --max-calls 5000 --html run.html
  guardproxy learn --model llama-3.1-8b --benign-floor 0.9 my-tasks/*.jsonl
  guardproxy learn --from-audit audit.jsonl --run from-audit    makes tasks of blocked calls, and stops there

\b
A run that was interrupted goes on when the same command is given again.
Exit status: 0 a prefix was written, 1 the run failed, 2 faults in the tasks (each is printed with file and line) or in
the command line, 3 no prefix helps and keeps the floor, 64 bad configuration."""

_GATE_TASKS = 0.25  # of those that are not held out
BAD_TASKS = 2
REFUSED = 3
INTERRUPTED = 130  # 128 and SIGINT, as shells have it


def learn(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Tasks, one JSON object a line. [those that are shipped]"),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="The model, as clients name it.")] = "",
    from_audit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add harmful tasks: what users asked for when a call was blocked."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", envvar="GUARDPROXY_CONFIG", help="Configuration file."),
    ] = None,
    upstream: Annotated[
        str | None, typer.Option("--upstream", "-u", metavar="URL", help="The model server, where no file names one.")
    ] = None,
    generator: Annotated[
        str, typer.Option(metavar="NAME", help="A model that proposes prefixes, or grammar: offline and seeded.")
    ] = "grammar",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the artifact goes.")] = Path(
        "prefix.yaml"
    ),
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report with plots, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    run: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where everything is kept, so that the run can go on.")
    ] = Path("learn-run"),
    benign_floor: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Benign tasks to be done, or no prefix. [5 points less than without]"
        ),
    ] = None,
    candidates: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Prefixes a round.")] = 5,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Rounds at most.")] = 20,
    top: Annotated[int, typer.Option(metavar="K", min=1, max=50, help="Examples in each of the three views.")] = 3,
    tau: Annotated[float, typer.Option(metavar="SCORE", help="Score from which prefixes serve as examples.")] = 1.0,
    patience: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds without a better one before it ends.")] = 3,
    faithful: Annotated[
        bool, typer.Option("--faithful", help="Choose by the published score, for comparison.")
    ] = False,
    position: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the prefix goes in, as in `prefill`. [found by asking]")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Search on N tasks of each kind. [all that are not held out]")
    ] = None,
    held_out: Annotated[
        float, typer.Option(metavar="SHARE", min=0.05, max=0.95, help="Tasks kept for the numbers of the artifact.")
    ] = 0.4,
    gate: Annotated[
        bool,
        typer.Option("--gate/--no-gate", help="Learn the risk from which on the prefix goes in, where one is told."),
    ] = True,
    modes: Annotated[
        bool, typer.Option("--modes", help="Measure the prefix in every position, by turns and history, too.")
    ] = False,
    max_calls: Annotated[int | None, typer.Option(metavar="N", min=1, help="Calls that the run may make.")] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", min=1, help="Tokens that the run may cost.")] = None,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, max=512, help="Episodes at a time.")] = 8,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="For one answer.")] = 120.0,
    tries: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Times that a request is tried.")] = 8,
    fields: Annotated[
        str,
        typer.Option("--request", metavar="JSON", help="Fields of every request to the model; null takes one out."),
    ] = '{"temperature": 0, "max_tokens": 512}',
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the grammar.")] = 0,
) -> None:
    """Learn a prefix for a model.

    Proposes first-person sentences, puts each into the model's mouth on benign and harmful tasks, keeps what refuses
    harm and still works, and measures the best one on tasks that no choice has seen. Nobody runs a tool.
    """
    from guardproxy.offline.learn.reach import risk_in
    from guardproxy.offline.learn.run import Search
    from guardproxy.offline.learn.scoring import Scoring

    audited = None if from_audit is None else _audited_tasks(from_audit, run)
    if from_audit is not None and not model:
        return
    if not model:
        raise typer.BadParameter("the model has to be named", param_hint="--model")
    place, own = _position(position), _fields(fields)  # a fault in them is told before anything is loaded
    tasks = _tasks(files, audited)
    settings, build = _reach(config, upstream, gate)
    risk_of = risk_in(build)
    search = Search(
        model=model,
        generator=generator,
        candidates=candidates,
        rounds=rounds,
        top=top,
        tau=tau,
        patience=patience,
        scoring=Scoring.FAITHFUL if faithful else Scoring.BOUNDS,
        seed=seed,
        floor=benign_floor if benign_floor is not None else settings.prefix.floor,
        position=place,
        held_out=held_out,
        gate=_GATE_TASKS if risk_of is not None else 0.0,
        limit=limit,
        modes=modes,
        fields=own,
    )
    spending = (max_calls, max_tokens)
    _Run(search, tasks, settings, build, risk_of, run, spending, concurrency, (tries, timeout)).go(out, html, as_json)


class _Run:
    """One run of the command, from the folder to the files."""

    def __init__(
        self,
        search: "Search",
        tasks: "TaskSet",
        settings: "Settings",
        build: "Build",
        risk_of: "RiskOf | None",
        folder: Path,
        budget: tuple[int | None, int | None],
        concurrency: int,
        patience: tuple[int, float],
    ) -> None:
        from guardproxy.offline.learn.split import split

        self.search, self.tasks, self.settings, self.build = search, tasks, settings, build
        self.risk_of = risk_of
        self.folder, self.budget, self.concurrency, self.patience = folder, budget, concurrency, patience
        self.parts: Split = split(tasks.tasks, search.held_out, search.limit, search.gate)

    def go(self, out: Path, html: Path | None, as_json: bool) -> None:
        outcome = self._learned()
        self._print(outcome, as_json)
        if html is not None:
            from guardproxy.offline.learn.as_html import page_of

            _write(html, page_of(outcome, self.parts.held_out).encode())
        verdict = outcome.verdict
        if verdict is None or not verdict.passes:
            print(f"guardproxy: no prefix was written{_would_do(outcome)}", file=sys.stderr)
            raise typer.Exit(REFUSED)
        from datetime import UTC, datetime

        from guardproxy.offline.learn.artifact import artifact_bytes

        _write(out, artifact_bytes(outcome, verdict, self.tasks, self.parts, datetime.now(UTC).date()))
        print(f"guardproxy: {out} written; `prefix: {{file: {out}}}` puts it to use", file=sys.stderr)

    def _learned(self) -> "Outcome":
        import asyncio
        import logging

        from guardproxy.errors import MalformedRequest, ModelNotFound, UpstreamError
        from guardproxy.offline.learn.asking import BudgetSpent, NoUse, Unanswered
        from guardproxy.offline.learn.preflight import NoPosition
        from guardproxy.offline.learn.run import Silent
        from guardproxy.offline.learn.store import Store, StoreError

        logging.getLogger("guardproxy.upstream").setLevel(logging.CRITICAL)  # failures are counted, not told one by one
        try:
            with Store(self.folder) as store:
                return asyncio.run(self._learn(store))
        except (NoUse, Unanswered, NoPosition, Silent, StoreError) as error:
            fail(f"{error}{_goes_on(error)}")
        except (UpstreamError, ModelNotFound, MalformedRequest) as error:
            fail(f"the model could not be asked: {error.message}")
        except BudgetSpent as error:
            problem = str(error) or "the budget ended before a single prefix was measured"
            fail(f"{problem}; the same command with a larger one goes on")
        except OSError as error:
            fail(f"{self.folder}: {error.strerror}")
        except KeyboardInterrupt:
            print("\nguardproxy: interrupted; the same command goes on from here", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    async def _learn(self, store: "Store") -> "Outcome":
        from guardproxy.offline.learn.progress import watching

        await self.build.start()
        try:
            with watching() as watcher:
                learner = self._learner(store, watcher)
                return await learner.learn()
        finally:
            await self.build.close()

    def _learner(self, store: "Store", watcher: Any) -> "Learner":
        from guardproxy.offline.learn.asking import Asker, Meter, Pace, Patience
        from guardproxy.offline.learn.generate import GrammarGenerator, ModelGenerator
        from guardproxy.offline.learn.reach import capability_of
        from guardproxy.offline.learn.run import Learner
        from guardproxy.offline.learn.state import State

        search, router = self.search, self.build.runtime.router
        going_on = store.begin({**search.tree(), "tasks": self.tasks.digest})
        state = State.replay(store.records())
        if going_on and state.episodes:
            watcher.say(f"going on with {self.folder}: {state.episodes} episodes are there")
        meter, patience = Meter(*self.budget), Patience(tries=self.patience[0], timeout_s=self.patience[1])
        upstream = router.route(search.model)
        asker = Asker(upstream, search.model, meter, Pace(), patience, search.fields)
        made: GrammarGenerator | ModelGenerator = GrammarGenerator(search.seed)
        if search.generator != "grammar":
            other = Asker(router.route(search.generator), search.generator, meter, Pace(), patience)
            made = ModelGenerator.of(other, 0.7, search.seed)
        capability = capability_of(self.settings, upstream.name)
        return Learner(
            search, self.parts, store, state, asker, made, capability, watcher, self.concurrency, self.risk_of
        )

    def _print(self, outcome: "Outcome", as_json: bool) -> None:
        from guardproxy import strict_json
        from guardproxy.offline.learn.as_text import text_of, tree_of

        typer.echo(strict_json.encode(tree_of(outcome)).decode() if as_json else text_of(outcome), nl=as_json)


def _would_do(outcome: "Outcome") -> str:
    if outcome.verdict is None or not outcome.verdict.helps:
        return ""
    done = int(outcome.verdict.in_use.performed.value * 100) / 100
    return f"; with --benign-floor {done:.2f} the same command goes on from here"


def _goes_on(error: Exception) -> str:
    from guardproxy.offline.learn.store import StoreError

    return "" if isinstance(error, StoreError) else "; what was measured is kept, and the same command goes on with it"


def _audited_tasks(audit: Path, run: Path) -> Path | None:
    """The file with the tasks that an audit holds, in the run's folder, for people to read; None where it holds none.
    One that is there stays, so that a run goes on with the tasks that it began with."""
    from guardproxy.offline.learn.audited import tasks_of

    file = run / "audited.jsonl"
    if file.exists():
        print(f"guardproxy: {file} is there and is used as it is", file=sys.stderr)
        return file
    try:
        with audit.open("rb") as lines:
            audited = tasks_of(lines)
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    print(f"guardproxy: {audit}: {audited.told}", file=sys.stderr)
    if not audited.lines:
        return None
    _write(file, b"".join(audited.lines))
    print(f"guardproxy: {file} written; read it before you trust what is learned from it", file=sys.stderr)
    return file


def _tasks(files: list[Path] | None, audited: Path | None) -> "TaskSet":
    from guardproxy.offline.learn.tasks import BadTasks, read_tasks, shipped_files

    try:
        return read_tasks([*(files or shipped_files()), *([audited] if audited else [])])
    except BadTasks as error:
        _refuse(error.faults)


def _refuse(faults: "tuple[Fault, ...]") -> NoReturn:
    for fault in faults:
        print(fault, file=sys.stderr)
    count = len(faults)
    print(f"guardproxy: {count} {'fault' if count == 1 else 'faults'}; nothing was asked", file=sys.stderr)
    raise typer.Exit(BAD_TASKS)


def _reach(config: Path | None, upstream: str | None, gate: bool) -> "tuple[Settings, Build]":
    from guardproxy.config.read import Overrides, config_file, read_settings
    from guardproxy.errors import ConfigurationError
    from guardproxy.offline.learn.reach import build_upstreams

    try:
        settings = read_settings(config_file(config, os.environ), os.environ, Overrides(upstream=upstream))
        return settings, build_upstreams(settings, gate=gate)
    except ConfigurationError as error:
        refuse_configuration(error)


def _position(name: str | None) -> Any:
    from guardproxy.model import Position

    if name is None:
        return None
    try:
        return Position(name)
    except ValueError:
        known = ", ".join(Position)
        raise typer.BadParameter(f"{name!r} is no position; known are {known}", param_hint="--position") from None


def _fields(text: str) -> dict[str, Any]:
    from guardproxy import strict_json

    try:
        return dict(strict_json.decode_object(text.encode()))
    except strict_json.MalformedJson as error:
        raise typer.BadParameter(str(error), param_hint="--request") from None


def _write(file: Path, data: bytes) -> None:
    from guardproxy.offline.learn.store import write_whole

    try:
        write_whole(file, data)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
