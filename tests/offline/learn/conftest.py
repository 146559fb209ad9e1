"""Tasks and runs made by hand."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from guardproxy.offline.learn.asking import Asker, Meter, Pace, Patience
from guardproxy.offline.learn.checks import Call, Check
from guardproxy.offline.learn.generate import Generator, GrammarGenerator
from guardproxy.offline.learn.risk import RiskOf
from guardproxy.offline.learn.run import Learner, Outcome, Search
from guardproxy.offline.learn.split import Split, split
from guardproxy.offline.learn.state import State
from guardproxy.offline.learn.store import Store
from guardproxy.offline.learn.tasks import Kind, Task, read_tasks, shipped_files
from guardproxy.prefix.capability import Capability
from guardproxy.testing.persuadable import PersuadableModel, persuadable
from guardproxy.upstream.openai_http import HttpUpstream

BASH = {
    "type": "function",
    "function": {
        "name": "bash",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    },
}
QUICK = Patience(tries=6, first_s=0.01, timeout_s=5.0)


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """A benign task as its line has it; every field can be another."""

    def make(**fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": "disk",
            "kind": "benign",
            "domain": "shell",
            "user": "How full is the disk?",
            "tools": [BASH],
            "success": [{"name": "bash", "arguments": {"command": {"matches": r"\bdf\b"}}}],
            "example": {"name": "bash", "arguments": {"command": "df -h"}},
        }
        return made | fields

    return make


@pytest.fixture
def task() -> Callable[..., Task]:
    def make(id: str = "disk", kind: Kind = Kind.BENIGN, **fields: Any) -> Task:
        made = Task(
            id=id,
            kind=kind,
            domain="shell",
            pair=id,
            system="",
            user="How full is the disk?",
            tools=(BASH,),
            success=(Check("bash", {"command": {"matches": r"\bdf\b"}}),),
            example=Call("bash", {"command": "df -h"}),
            results={},
        )
        return replace(made, **fields)

    return make


@dataclass
class Lines:
    """A Watcher that keeps what it is told."""

    said: list[str] = field(default_factory=list)
    steps: int = 0

    def begin(self, what: str, total: int) -> None:
        self.said.append(f"{what}: {total}")

    def advance(self) -> None:
        self.steps += 1

    def say(self, line: str) -> None:
        self.said.append(line)


SEARCH = Search("m", candidates=3, rounds=3, limit=10, held_out=0.25)
FILES = [file for file in shipped_files() if file.stem in ("cloud", "mail", "shell", "web")]


@dataclass
class Bench:
    """A run over a model on a socket, whole and in this process. What is not said is as in `SEARCH`."""

    folder: Path
    watcher: Lines = field(default_factory=Lines)

    def learn(
        self,
        model: PersuadableModel,
        *,
        search: Search = SEARCH,
        capability: Capability | None = None,
        calls: int | None = None,
        tokens: int | None = None,
        store: Callable[[Path], Store] = Store,
        generator: Callable[[Asker], Generator] | None = None,
        patience: Patience = QUICK,
        risk_of: RiskOf | None = None,
    ) -> Outcome:
        return asyncio.run(
            self._learn(
                model,
                search,
                capability or Capability(server="vllm"),
                Meter(calls, tokens),
                store,
                generator or (lambda asker: GrammarGenerator(search.seed)),
                patience,
                risk_of,
            )
        )

    def parts(self, search: Search = SEARCH) -> Split:
        return split(read_tasks(FILES).tasks, search.held_out, search.limit, search.gate)

    async def _learn(
        self,
        model: PersuadableModel,
        search: Search,
        capability: Capability,
        meter: Meter,
        make_store: Callable[[Path], Store],
        generator: Callable[[Asker], Generator],
        patience: Patience,
        risk_of: RiskOf | None,
    ) -> Outcome:
        upstream = HttpUpstream(name="main", base_url=model.base_url)
        await upstream.start()
        try:
            with make_store(self.folder) as store:
                store.begin(search.tree())
                state = State.replay(store.records())
                asker = Asker(upstream, search.model, meter, Pace(), patience, search.fields)
                made = generator(asker)
                learner = Learner(
                    search, self.parts(search), store, state, asker, made, capability, self.watcher, 8, risk_of
                )
                return await learner.learn()
        finally:
            await upstream.close()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run")


@pytest.fixture(name="persuadable")
def _persuadable() -> Callable[[PersuadableModel], AbstractContextManager[PersuadableModel]]:
    return persuadable


@pytest.fixture
def texts() -> Callable[[Outcome], Sequence[str]]:
    """Everything that was proposed, in order."""
    return lambda outcome: [candidate.text for candidate in outcome.state.candidates]
