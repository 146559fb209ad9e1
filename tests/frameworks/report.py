"""docs/clients.md, from the trials."""

from collections.abc import Sequence

from tests.frameworks.clients import BY_NAME, CLIENTS, KNOWN
from tests.frameworks.environments import HERE
from tests.frameworks.trial import Trial

PAGE = HERE.parents[1] / "docs" / "clients.md"

_BEFORE = """\
# Clients

Unmodified clients, each in an environment of its own with pinned versions, played end to end: client, a real
`guardproxy serve` process, and a model server that follows a script. `make frameworks` plays all of them and writes
this page; the tests play the three fastest. Nothing here asks a real model or leaves the machine.

Each row is four runs of the same program, with and without the proxy. *Wire* is what the client speaks. *Server* is
what the model server is asked in: another wire, where the proxy is told that it speaks chat completions only and
translates. *Stored* means that the client names the answer it goes on from (`previous_response_id`); the server then
refuses to go on from a call that nobody answered.

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

## Behind a server of chat completions

Such a server is named with `serves: [chat_completions]`, or found out by the first request. Clients of the other two
APIs, Codex and Claude Code among them, need no other setting than before a server of their own API. What differs:

* Custom tools (Codex has them) become functions with one text; their grammar is told to the model, not enforced.
* Tools that a provider runs, items and blocks that chat completions have no words for, log-probabilities and background
  answers are refused, naming the field.
* Tokens cannot be counted ahead: `/v1/messages/count_tokens` and `/v1/responses/input_tokens` answer 404, and so does
  `/v1/responses/compact`.
* Reasoning is shown, and sent back to the server that said it. `thinking` is left out; an effort is passed on.
* A Messages request that begins the answer itself is marked as `server` and `prefill` of the upstream say.
"""


_NEEDS = """
## Settings that some clients need

* Codex always sends the tool `web_search`, which the provider runs itself. `request.provider_tools: strip` takes it
  out; else its requests are refused (`provider_tool_refused`).
* A request with an input item of a type that this version does not know is refused (`item_refused`), with the place of
  the item. `input.<type>` in `request.allow_fields` lets such items pass; they count as not inspected.

```yaml
request:
  provider_tools: strip
  allow_fields: [input.some_new_item]
```
"""


def page(trials: Sequence[Trial], before: str = "") -> str:
    """With the rows of these trials, and those of the page as it was `before` that none of these replaces."""
    played = {_case(row): row for row in map(_row, trials)}
    kept = {_case(row): row for row in before.splitlines(keepends=True) if row.startswith("| ")}
    known = {case: row for case, row in {**kept, **played}.items() if case in _every_case()}
    rows = [known[case] for case in _every_case() if case in known]
    failed = {_case(row)[0] for row in rows if _mark(False) in row}
    clients = {_case(row)[0] for row in rows}
    summary = f"{len(clients - failed)} of {len(clients)} clients pass on every wire that they are played on.\n"
    table = "".join([_line(_HEAD), _line(["---"] * len(_HEAD)), *rows])
    return _BEFORE + summary + "\n" + table + _AFTER + _NEEDS + known_faults()


def _case(row: str) -> tuple[str, ...]:
    """What a row is of: client, version, wire, server and form."""
    return tuple(row.removeprefix("| ").split(" | ")[:5])


def _every_case() -> list[tuple[str, ...]]:
    return [(c.title, c.version, case.wire, case.server, case.form) for c in CLIENTS for case in c.cases]


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
