"""Plays unmodified clients against the proxy, each in an environment of its own. Without names it plays all of them and
writes docs/clients.md; with --write it replaces what that page says of those that it plays."""

import argparse
import sys
from collections.abc import Iterator

from tests.frameworks.clients import BY_NAME, CLIENTS, Client
from tests.frameworks.environments import NoEnvironment, environment
from tests.frameworks.report import PAGE, page
from tests.frameworks.setting import setting
from tests.frameworks.trial import Trial, judge
from tests.frameworks.upstream import WIRES, Upstream


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BY_NAME))
    parser.add_argument("--wire", choices=WIRES, help="this wire alone")
    parser.add_argument("--write", action="store_true", help="put the results into docs/clients.md")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BY_NAME):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    chosen = [BY_NAME[name] for name in asked.names] or list(CLIENTS)
    with setting() as (server, proxy):
        root = proxy.url.removesuffix("/v1")
        trials = [trial for client in chosen for trial in _trials(client, asked.wire, server, root)]
    if not asked.names and not asked.wire:
        PAGE.write_text(page(trials))
    elif asked.write:
        PAGE.write_text(page(trials, PAGE.read_text()))
    passed = sum(trial.passed for trial in trials)
    print(f"{passed} passed, {len(trials) - passed} failed")
    return 0 if passed == len(trials) else 1


def _trials(client: Client, wire: str | None, server: Upstream, root: str) -> Iterator[Trial]:
    cases = [case for case in client.cases if wire in (None, case.wire)]
    try:
        folder = environment(client.environment)
    except NoEnvironment as error:
        for case in cases:
            yield _told(Trial.that_failed(client, case, f"no environment: {error}"))
        return
    for case in cases:
        yield _told(judge(client, case, folder, server, root))


def _told(trial: Trial) -> Trial:
    case = trial.case
    what = f"{trial.client}, {case.wire}, {case.form}" + f", asked in {case.server}" * case.bridged
    print(f"{'ok  ' if trial.passed else 'FAIL'} {what} ({trial.seconds:.1f} s)", flush=True)
    for line in (*trial.faults, *trial.detail.splitlines()):
        print(f"     {line}", flush=True)
    return trial


if __name__ == "__main__":
    sys.exit(main())
