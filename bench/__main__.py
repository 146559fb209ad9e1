"""`python -m bench`: one JSON object on stdout, progress on stderr.

Exits 1 with the reason when a server does not start or an answer is not the one that was asked for.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import uvloop

from bench.client import LoadError
from bench.conversation import request_body
from bench.measure import Bench, Scale, say
from bench.plan import Plan
from bench.procfs import cpu_model
from bench.proxy import GUARDPROXY, MOCK, PASSTHROUGH, Recipe, Server, StartError, pinned, start
from bench.report import DIRECT, Figures, figures, markdown, ratios
from bench.segment import Phase, Segment, read_segments, write_segments

_RESULTS = Path(__file__).parent / "results"
_NOTHING = "http://127.0.0.1:9/v1"  # the mock has no upstream


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--command", help="bench this server; may use {python} {folder} {upstream} {port} {admin_port}")
    parser.add_argument("--ready", help="its readiness URL", default="http://127.0.0.1:{port}/readyz")
    parser.add_argument("--compare", choices=["passthrough"], help="measure this one too, in the same run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each phase of a round")
    parser.add_argument("--starts", type=int, default=5, help="cold starts")
    parser.add_argument("--recompute", type=Path, metavar="SAMPLES", help="only compute the figures of an earlier run")
    parser.add_argument("--markdown", action="store_true", help="print a table instead of JSON")
    return parser


def recipes(given: argparse.Namespace) -> list[Recipe]:
    """What to measure; the first is what the object is about."""
    if given.command:
        found = [Recipe("given", given.command, given.ready)]
    else:
        found = [Recipe("guardproxy", GUARDPROXY, "http://127.0.0.1:{admin_port}/readyz")]
    if given.compare:
        found.append(Recipe("passthrough", PASSTHROUGH))
    return found


def measure(wanted: Sequence[Recipe], scale: Scale, starts: int) -> list[Segment]:
    """Start everything, run all rounds, stop everything. Raises StartError, LoadError."""
    generator_core, proxy_core = cores()
    with pinned(generator_core), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        mock = stack.enter_context(running(Recipe("mock", MOCK), _NOTHING, generator_core, folder))
        upstream = f"http://127.0.0.1:{mock.port}/v1"
        segments = [
            _started(cold(recipe, upstream, proxy_core, folder), recipe, number)
            for number in range(starts)
            for recipe in wanted
        ]
        servers = {recipe.name: stack.enter_context(running(recipe, upstream, proxy_core, folder)) for recipe in wanted}
        bench = Bench(servers, mock.port, proxy_core, scale)
        uvloop.run(bench.run())
        held = [Segment(Phase.START, name, "", starts, 0.0, rss_mb=server.rss_mb()) for name, server in servers.items()]
        return segments + bench.segments + held


def cores() -> tuple[int, int]:
    """The generator's and mock's core, and the proxy's."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise StartError("the benchmark needs two cores: one for the proxy alone, one for the load")
    return usable[0], usable[-1]


@contextmanager
def running(recipe: Recipe, upstream: str, core: int, folder: Path) -> Iterator[Server]:
    server = start(recipe, upstream, core, folder)
    try:
        yield server
    finally:
        server.stop()


def cold(recipe: Recipe, upstream: str, core: int, folder: Path) -> float:
    with running(recipe, upstream, core, folder) as server:
        say(f"{recipe.name}: ready after {server.cold_start_s:.2f} s")
        return server.cold_start_s


def _started(seconds: float, recipe: Recipe, number: int) -> Segment:
    return Segment(Phase.START, recipe.name, "", number, seconds, cold_start_s=seconds)


def by_server(segments: Sequence[Segment]) -> dict[str, Figures]:
    """The figures of each server, in the order in which they were asked for."""
    names = dict.fromkeys(segment.target for segment in segments if segment.target != DIRECT)
    return {name: figures(segments, name) for name in names}


def summary(servers: Mapping[str, Figures], samples: Path) -> dict[str, object]:
    """The figures of the first server flat, those of the others under their names."""
    (name, first), *others = servers.items()
    found: dict[str, object] = {"server": name, **first}
    for other, its in others:
        found[other] = its
        found[f"ratio_to_{other}"] = ratios(first, its)
    return found | {"samples": str(samples)}


def machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_1min_before": round(os.getloadavg()[0], 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    given = options().parse_args(arguments)
    here = machine()
    try:
        if given.recompute:
            samples = given.recompute
        else:
            _RESULTS.mkdir(exist_ok=True)
            samples = _RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
            segments = measure(recipes(given), Scale(given.rounds, given.seconds), given.starts)
            write_segments(samples, segments)
    except (StartError, LoadError) as error:
        say(f"bench: {error}")
        return 1
    servers = by_server(list(read_segments(samples)))
    if given.markdown:
        print(markdown(servers))
        return 0
    found = summary(servers, samples)
    if not given.recompute:
        found |= {"machine": here, "request_bytes": len(request_body(Plan(), stream=False)), "rounds": given.rounds}
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
