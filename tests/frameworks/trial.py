"""One client on one wire, judged: four runs, past the proxy and through it, benign and harmful."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from tests.frameworks.clients import Client
from tests.frameworks.conversation import DONE, HARM, MARK, NOTES, REFUSED
from tests.frameworks.episode import Outcome, play
from tests.frameworks.run import Case
from tests.frameworks.upstream import Played, Upstream

BENIGN = ("greeting", "farewell")
HARMFUL = ("greeting", "backup", "errand", "farewell")
_HARM = "run_shell"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Seen:
    """An outcome, and what the model server was asked for meanwhile."""

    outcome: Outcome
    played: Sequence[Played]

    @property
    def moves(self) -> list[Played]:
        """Without what clients ask for on the side, whenever they like."""
        return [each for each in self.played if each.meaning != "aside"]


@dataclass(frozen=True, slots=True)
class Trial:
    client: str
    case: Case
    same: bool  # a benign episode is the same with and without the proxy
    blocked: bool  # the harmful call was made by the model, and run without the proxy only
    told: bool  # the refusal is in the agent's answer, or the model was shown it
    keeps: bool  # of parallel calls, the others run
    survives: bool  # the agent ends well, and does the next task
    seconds: float
    faults: Sequence[str]
    detail: str = ""  # of the runs, if there are faults

    @classmethod
    def that_failed(cls, client: Client, case: Case, fault: str) -> "Trial":
        return cls(client.name, case, False, False, False, False, False, 0.0, [fault])

    @property
    def passed(self) -> bool:
        return not self.faults


def judge(client: Client, case: Case, folder: Path, server: Upstream, proxy_root: str) -> Trial:
    def run(root: str, tasks: Sequence[str]) -> Seen:
        key = f"sk-client-{client.name}-{next(_numbers):04d}"
        outcome = play(client, case, folder, root, key, tasks)
        return Seen(outcome, tuple(server.played[key]))

    plan = [(server.root, BENIGN), (proxy_root, BENIGN), (server.root, HARMFUL), (proxy_root, HARMFUL)]
    with ThreadPoolExecutor(2) as pool:
        past, through, harmed, guarded = pool.map(lambda each: run(*each), plan)
    return _verdict(client, case, past, through, harmed, guarded)


def _verdict(client: Client, case: Case, past: Seen, through: Seen, harmed: Seen, guarded: Seen) -> Trial:
    same, blocked, told = _is_same(case, past, through), _is_blocked(guarded), _is_told(guarded)
    keeps, survives = _keeps(client, guarded), _survives(guarded)
    held = {
        "the benign episode differs": same,
        "the harmful call was run, or never made": blocked,
        "nobody was told of the block": told,
        "a call beside the harmful one was lost, or code ran in part": keeps,
        "the agent did not go on": survives,
    }
    faults = [*_unfit(case, past, harmed), *(fault for fault, well in held.items() if not well)]
    runs = {"benign, past": past, "benign, through": through, "harmful, past": harmed, "harmful, through": guarded}
    detail = "\n".join(_describe(name, seen) for name, seen in runs.items()) if faults else ""
    seconds = through.outcome.seconds + guarded.outcome.seconds
    return Trial(client.name, case, same, blocked, told, keeps, survives, seconds, faults, detail)


def _unfit(case: Case, past: Seen, harmed: Seen) -> Iterator[str]:
    """What would make the trial prove nothing: it must be able to fail, on the wire that it is said to be on."""
    if past.outcome.executed != _reads(BENIGN) or past.outcome.answers != [DONE[task] for task in BENIGN]:
        yield "the benign episode fails without the proxy"
    if harmed.outcome.executed.count(_HARM) != len(HARM):
        yield "the harmful calls do not run without the proxy"
    if {(each.wire, each.streamed) for each in past.moves} != {(case.wire, case.streamed)}:
        yield "another wire was spoken"


def _is_same(case: Case, past: Seen, through: Seen) -> bool:
    expected = [replace(each, wire=case.server) for each in past.moves]
    ends = [(seen.outcome.answers, seen.outcome.executed, seen.outcome.status) for seen in (past, through)]
    return ends[0] == ends[1] and through.moves == expected


def _reads(tasks: Sequence[str]) -> list[str]:
    return [f"read_note {task}" for task in tasks if task in NOTES]


def _is_blocked(guarded: Seen) -> bool:
    made = {each.meaning for each in guarded.played}
    return made.issuperset(HARM) and _HARM not in guarded.outcome.executed


def _is_told(guarded: Seen) -> bool:
    second = guarded.outcome.answers[1:2]
    return any(MARK in answer or answer == REFUSED for answer in second)


def _keeps(client: Client, guarded: Seen) -> bool:
    """Of two calls at once, the one that is not harmful. Code is one call, whatever it holds."""
    kept = "read_note errand" in guarded.outcome.executed and guarded.outcome.answers[2:3] == [DONE["errand"]]
    return kept != client.writes_code


def _survives(guarded: Seen) -> bool:
    outcome = guarded.outcome
    others = [line for line in outcome.executed if line not in (_HARM, "read_note errand")]
    return outcome.status == 0 and outcome.answers[3:] == [DONE["farewell"]] and others == _reads(BENIGN)


def _describe(name: str, seen: Seen) -> str:
    outcome = seen.outcome
    lines = [
        f"{name}: status {outcome.status}, executed {outcome.executed}",
        f"answers {outcome.answers}",
        f"asked {[(each.wire, each.streamed, each.meaning) for each in seen.played]}",
        *([outcome.noise] if outcome.status else []),
    ]
    return "\n  ".join(lines)
