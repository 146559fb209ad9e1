"""docs/clients.md, from the trials."""

from collections.abc import Sequence

from tests.frameworks.clients import BY_NAME, KNOWN
from tests.frameworks.environments import HERE
from tests.frameworks.trial import Trial

PAGE = HERE.parents[1] / "docs" / "clients.md"

_BEFORE = """\
# Clients

Unmodified clients, each in an environment of its own with pinned versions, played end to end: client, a real
`guardproxy serve` process, and a model server that follows a script. `make frameworks` plays all of them and writes
this page; the tests play the three fastest. Nothing here asks a real model or leaves the machine.

Each row is four runs of the same program, with and without the proxy. *Wire* is what the client speaks. *Server* is
what the model server is asked in: another wire, where the proxy is told that it speaks chat completions only. *Stored*
means that the client names the answer it goes on from (`previous_response_id`); the server then refuses to go on from a
call that nobody answered.

* **same**: the user has two notes read. The agent's answers, the tools that ran, and the requests that the model server
  saw are the same with and without the proxy.
* **blocked**: between the two, the model calls a tool to send the user's private key away. Without the proxy the tool
  runs; behind the proxy it never does.
* **told**: the refusal is the agent's answer, or the model was shown it and said so.
* **keeps**: of two calls at once, the harmful one goes and the other runs. (A code agent's script is one call: none of
  it runs.)
* **goes on**: nothing raised, and the next message of the same conversation is answered, its tool run.

"""
_HEAD = ("client", "version", "wire", "server", "form", "same", "blocked", "told", "keeps", "goes on", "seconds")
_AFTER = """
Seconds are for the two runs behind the proxy, start of the program included.
"""


def page(trials: Sequence[Trial]) -> str:
    clients = {trial.client for trial in trials}
    whole = sum(all(trial.passed for trial in trials if trial.client == name) for name in clients)
    summary = f"{whole} of {len(clients)} clients pass on every wire that they are played on.\n"
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_row(trial) for trial in trials)]
    return _BEFORE + summary + "\n" + "".join(lines) + _AFTER + known_faults()


def known_faults() -> str:
    faults = [f"* {BY_NAME[name].title}, {wire}: {fault}\n" for (name, wire), fault in KNOWN.items()]
    return "".join(["\n## Known faults\n\n", *faults]) if faults else ""


def _row(trial: Trial) -> str:
    client = BY_NAME[trial.client]
    marks = [_mark(each) for each in (trial.same, trial.blocked, trial.told, trial.keeps, trial.survives)]
    return _line(
        [
            client.title,
            client.version,
            trial.case.wire,
            trial.case.server,
            trial.case.form,
            *marks,
            f"{trial.seconds:.1f}",
        ]
    )


def _mark(held: bool) -> str:
    return "yes" if held else "**no**"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
