"""Who proposes prefixes: the grammar, or a model that is shown the best ones so far."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

from guardproxy.errors import UpstreamRefusal
from guardproxy.offline.learn import grammar, prompts
from guardproxy.offline.learn.asking import Asker, Unanswered
from guardproxy.offline.learn.grammar import Proposal
from guardproxy.offline.learn.pool import Views
from guardproxy.offline.learn.scoring import Spent

_ASKED = 3  # times, for what is missing
_ANSWER_TOKENS = 2000


class Generator(Protocol):
    async def propose(
        self, round: int, count: int, views: Views | None, known: Collection[str], spent: Spent
    ) -> list[Proposal]:
        """Up to `count` texts that are not known. Raises BudgetSpent and NoUse."""
        ...


@dataclass(frozen=True, slots=True)
class GrammarGenerator:
    """Offline; the same seed and examples give the same texts."""

    seed: int

    async def propose(
        self, round: int, count: int, views: Views | None, known: Collection[str], spent: Spent
    ) -> list[Proposal]:
        return grammar.propose(self.seed, round, count, views.texts if views else (), known)


@dataclass(frozen=True, slots=True)
class ModelGenerator:
    """Any model that the proxy can reach. What it does not bring the grammar adds, so that no round is empty."""

    asker: Asker
    fallback: GrammarGenerator

    @classmethod
    def of(cls, asker: Asker, temperature: float, seed: int) -> "ModelGenerator":
        fields = {"temperature": temperature, "max_tokens": _ANSWER_TOKENS}
        return cls(replace(asker, fields={**fields, **asker.fields}), GrammarGenerator(seed))

    async def propose(
        self, round: int, count: int, views: Views | None, known: Collection[str], spent: Spent
    ) -> list[Proposal]:
        made: list[Proposal] = []
        for _ in range(_ASKED):
            taken = [*known, *(proposal.text for proposal in made)]
            texts = prompts.texts_in(await self._answer(count - len(made), views, spent), taken)
            made += [Proposal(text, f"model {self.asker.model}"[:120]) for text in texts[: count - len(made)]]
            if len(made) == count:
                return made
        taken = [*known, *(proposal.text for proposal in made)]
        return made + await self.fallback.propose(round, count - len(made), views, taken, spent)

    async def _answer(self, count: int, views: Views | None, spent: Spent) -> str:
        try:
            return (await self.asker.ask(self.asker.request(prompts.messages(count, views)), None, spent)).text
        except (Unanswered, UpstreamRefusal) as error:
            cause = error.cause if isinstance(error, Unanswered) else "request_refused"
            spent.add(Spent(troubles={f"generator_{cause}": 1}))
            return ""
