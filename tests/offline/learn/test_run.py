"""Whole runs against a model on a real socket, whose behaviour depends on its prefix alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from guardproxy.model import Position
from guardproxy.offline.learn.as_text import tree_of
from guardproxy.offline.learn.asking import BudgetSpent, NoUse, Patience, Unanswered
from guardproxy.offline.learn.generate import ModelGenerator
from guardproxy.offline.learn.preflight import NoPosition
from guardproxy.offline.learn.run import Ended, Search, Silent
from guardproxy.offline.learn.scoring import Scoring
from guardproxy.offline.learn.state import NONE, State
from guardproxy.offline.learn.store import LOG, Store, StoreError
from guardproxy.offline.learn.tasks import Kind
from guardproxy.prefix.capability import Capability
from guardproxy.testing.persuadable import TASKS, PersuadableModel, persuadable

SEARCH = Search("m", candidates=3, rounds=3, limit=10, held_out=0.25, seed=6)

LONGER = replace(SEARCH, candidates=5, rounds=4, limit=None)


def told(outcome) -> dict:
    """What an outcome says, without what it cost."""
    return {key: value for key, value in tree_of(outcome).items() if key != "cost"}


def test_a_prefix_is_found_that_refuses_harm_and_works(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        outcome = bench.learn(model, search=replace(LONGER, floor=0.8))
    verdict = outcome.verdict
    assert verdict is not None
    assert verdict.passes
    assert outcome.position is Position.CONTINUE_FINAL_MESSAGE
    assert verdict.without.refused.value < 0.2
    assert verdict.with_prefix.refused.value > 0.7
    assert verdict.with_prefix.attacked.hits == verdict.with_prefix.attacked.n - verdict.with_prefix.refused.hits
    assert verdict.with_prefix.performed.value >= 0.8
    assert outcome.state.spent.calls == len(model.asked), "every call is counted"


def test_the_score_is_better_in_later_rounds(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        pool = bench.learn(model, search=LONGER).pool
    assert pool.best_until(4) > pool.best_until(1)


def test_the_numbers_are_of_tasks_that_chose_nothing(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        outcome = bench.learn(model)
    searched, held_out = ({task.id for task in part} for part in (bench.parts().search, bench.parts().held_out))
    assert not searched & held_out
    assert {task.pair for task in bench.parts().search}.isdisjoint(task.pair for task in bench.parts().held_out)
    assert outcome.verdict is not None
    chosen = outcome.verdict.chosen.candidate.id
    for candidate, results in outcome.state.results.items():
        assert set(results) == searched | (held_out if candidate in (chosen, NONE) else set())


def test_the_same_seed_is_the_same_run(bench, tmp_path: Path) -> None:
    with persuadable(PersuadableModel()) as model:
        first = bench.learn(model)
        bench.folder = tmp_path / "again"
        assert told(bench.learn(model)) == told(first)
        bench.folder = tmp_path / "other"
        other = bench.learn(model, search=replace(SEARCH, seed=7))
    assert [c.text for c in other.state.candidates] != [c.text for c in first.state.candidates]


def test_a_gate_is_learned_on_tasks_that_chose_no_prefix(bench) -> None:
    """The risk tells the two kinds apart, and the model refuses much that is benign."""

    async def risk_of(request) -> float:
        task = TASKS[request.messages[-1].text]
        return 0.9 if task.kind is Kind.HARMFUL else 0.1

    search = replace(SEARCH, gate=0.3, floor=0.9)
    with persuadable(PersuadableModel(over_refuses=True)) as model:
        outcome = bench.learn(model, search=search, risk_of=risk_of)
    verdict, parts = outcome.verdict, bench.parts(search)
    assert parts.gate
    assert verdict is not None
    assert verdict.passes
    assert verdict.gated is not None
    assert verdict.gated.threshold == 0.5
    assert verdict.gated.measured.over_refused.value == verdict.without.over_refused.value == 0
    assert verdict.gated.measured.refused == verdict.with_prefix.refused
    played = {task for results in outcome.state.results.values() for task in results}
    assert {task.id for task in parts.gate} <= played


def test_the_ways_of_injecting_are_measured_against_each_other(bench) -> None:
    search = replace(SEARCH, modes=True)
    with persuadable(PersuadableModel()) as model:
        outcome = bench.learn(model, search=search)
        asked = len(model.asked)
        again = bench.learn(model, search=search)
        assert len(model.asked) == asked, "what was measured is kept"
    assert outcome.verdict is not None
    assert len(outcome.modes) == 8
    assert outcome.modes["continue_final_message on every turn"] == outcome.verdict.with_prefix
    for label in ("suffix on every turn", "instruction on the first turn"):
        assert outcome.modes[label].refused == outcome.verdict.with_prefix.refused, "this model listens everywhere"
    assert told(again) == told(outcome)
    assert set(tree_of(outcome)["modes"]) == set(outcome.modes)


class _Killed(BaseException):
    """What SIGKILL is to this process: nothing after it runs but what cannot be prevented here."""


class _DyingStore(Store):
    """Dies at the n-th record, with half of it written."""

    left = 0

    def append(self, record) -> None:
        type(self).left -= 1
        if type(self).left < 0:
            raise _Killed
        if type(self).left == 0:
            with (self.folder / LOG).open("ab") as log:
                log.write(b'{"record":"episode","cand')
            raise _Killed
        super().append(record)


def test_a_run_that_is_killed_anywhere_ends_as_one_that_was_not(bench, tmp_path: Path) -> None:
    with persuadable(PersuadableModel()) as model:
        expected = told(bench.learn(model))
        records = (bench.folder / LOG).read_bytes().count(b"\n")
        bench.folder = tmp_path / "killed"
        kills = 0
        for at in (1, 2, 3, 20, 21, 22, 23, 60, 100, 101):
            _DyingStore.left = at
            try:
                bench.learn(model, store=_DyingStore)
            except _Killed:
                kills += 1
        assert kills >= 8
        outcome = bench.learn(model)
        assert told(outcome) == expected
        asked = len(model.asked)
        assert told(bench.learn(model)) == expected
    assert len(model.asked) == asked, "a run that is over asks nothing"
    assert (bench.folder / LOG).read_bytes().count(b"\n") == records, "and no episode was played twice"


def test_a_folder_is_one_run(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        bench.learn(model)
        with pytest.raises(StoreError, match="another seed, tau"):
            bench.learn(model, search=replace(SEARCH, seed=3, tau=1.5))


def test_a_run_that_is_over_can_go_on_with_more_rounds_and_another_floor(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        short = bench.learn(model, search=SEARCH)
        asked = len(model.asked)
        longer = bench.learn(model, search=replace(SEARCH, rounds=4, patience=9, floor=0.1))
    assert longer.state.candidates[: len(short.state.candidates)] == short.state.candidates
    assert len(longer.state.rounds) == 4
    assert len(model.asked) - asked <= 3 * len(bench.parts().search) + len(bench.parts().held_out)


def limited(after: int):
    """Every third request from the n-th on is one too many."""

    def trouble(number: int) -> web.Response | None:
        if number < after or number % 3:
            return None
        body = {"error": {"message": "I'm sorry, but I cannot serve so many requests.", "type": "rate_limit"}}
        return web.json_response(body, status=429, headers={"retry-after-ms": "5"})

    return trouble


def test_rate_limits_are_waited_for_and_never_scored(bench, tmp_path: Path) -> None:
    with persuadable(PersuadableModel()) as model:
        expected = told(bench.learn(model))
        model.trouble, model.asked = limited(1), []
        bench.folder = tmp_path / "limited"
        outcome = bench.learn(model, patience=Patience(tries=40))
    assert told(outcome) == expected
    assert outcome.state.spent.troubles["rate_limited"] == len(model.asked) // 3
    assert outcome.state.spent.calls == len(model.asked)
    assert not outcome.state.unscored


def test_what_never_answers_is_no_refusal(bench) -> None:
    def trouble(number: int) -> web.Response | None:
        return web.json_response({"error": {"message": "I cannot help."}}, status=503) if number > 40 else None

    with persuadable(PersuadableModel(trouble=trouble)) as model, pytest.raises(Silent, match="overloaded"):
        bench.learn(model, patience=Patience(tries=2, first_s=0.001))
    with Store(bench.folder) as store:
        state = State.replay(store.records())
    assert state.unscored["overloaded"] >= 20
    assert state.episodes <= 40
    assert "cannot help." not in str(state.excerpts)


def test_a_time_out_is_no_refusal(bench) -> None:
    with persuadable(PersuadableModel(delay_s=0.4)) as model, pytest.raises(Unanswered) as caught:
        bench.learn(model, patience=Patience(tries=2, first_s=0.001, timeout_s=0.05))
    assert caught.value.cause == "timeout"


def test_a_wrong_key_ends_the_run_at_once(bench) -> None:
    def trouble(number: int) -> web.Response | None:
        return web.json_response({"error": {"message": "wrong key"}}, status=401)

    with persuadable(PersuadableModel(trouble=trouble)) as model, pytest.raises(NoUse, match="401"):
        bench.learn(model)
    assert len(model.asked) == 1


def test_an_upstream_that_refuses_prefill_is_found_before_the_search(bench) -> None:
    with persuadable(PersuadableModel(continues=False)) as model:
        outcome = bench.learn(model)
    assert outcome.position is Position.SUFFIX
    assert "continue_final_message: refused with status 400" in bench.watcher.said
    assert any("goes on with it as a suffix of the user's words" in line for line in bench.watcher.said)
    assert [tree["messages"][-1]["role"] for tree in model.asked].count("assistant") == 1
    assert outcome.verdict is not None
    assert outcome.verdict.with_prefix.refused.value > 0.5, "the suffix reaches the model"


def test_a_position_that_nobody_knew_of_has_to_be_shown(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        outcome = bench.learn(model, capability=Capability())
    assert outcome.position is Position.CONTINUE_FINAL_MESSAGE
    assert any("`prefill: continue_final_message`" in line for line in bench.watcher.said)


def test_where_prefixes_are_off_nothing_is_learned(bench) -> None:
    with persuadable(PersuadableModel()) as model, pytest.raises(NoPosition):
        bench.learn(model, capability=Capability(prefill="off"))
    assert not model.asked


def test_a_prefix_that_costs_too_much_benign_work_is_refused(bench) -> None:
    with persuadable(PersuadableModel(over_refuses=True)) as model:
        outcome = bench.learn(model, search=replace(SEARCH, floor=0.95))
    assert outcome.verdict is None or not outcome.verdict.passes
    assert outcome.floor == 0.95


def test_a_prefix_that_fails_on_the_held_out_tasks_is_passed_over_for_a_gentler_one(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        strict = bench.learn(model, search=replace(LONGER, floor=0.9))
    assert any("of the held-out benign tasks, less than 90%" in line for line in bench.watcher.said)
    assert strict.verdict is not None
    assert strict.verdict.passes
    best = strict.pool.best(0.9)
    assert best is not None
    assert strict.verdict.chosen.score.combined < best.score.combined


def test_a_prefix_that_brings_nothing_is_not_accepted(bench) -> None:
    deaf = PersuadableModel(listens=False)
    with persuadable(deaf) as model:
        verdict = bench.learn(model, search=replace(SEARCH, floor=0.0, rounds=1)).verdict
    assert verdict is not None
    assert (verdict.keeps_floor, verdict.helps, verdict.passes) == (True, False, False)


def test_without_a_floor_five_points_less_than_without_a_prefix_is_one(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        outcome = bench.learn(model)
    assert outcome.floor == pytest.approx(outcome.without.performed.value - 0.05)


@pytest.mark.parametrize("budget", [{"calls": 110}, {"tokens": 11_000}])
def test_a_budget_is_kept_and_leaves_enough_for_the_held_out_tasks(bench, budget: dict[str, int]) -> None:
    with persuadable(PersuadableModel()) as model:
        outcome = bench.learn(model, **budget)
        assert outcome.ended is Ended.BUDGET
        assert outcome.verdict is not None
        assert outcome.verdict.with_prefix.n == outcome.verdict.without.n == len(bench.parts().held_out)
        assert len(model.asked) <= budget.get("calls", 1000)
        assert outcome.state.spent.tokens <= budget.get("tokens", 1_000_000)
        more = bench.learn(model)
    assert more.ended is not Ended.BUDGET
    assert len(more.state.candidates) > len(outcome.state.candidates)


def test_a_budget_for_no_prefix_at_all_is_not_begun(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        with pytest.raises(BudgetSpent, match="50 calls are too few"):
            bench.learn(model, calls=50)
        assert not model.asked


def test_tokens_that_end_before_a_prefix_was_measured(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        with pytest.raises(BudgetSpent):
            bench.learn(model, tokens=2000)
        assert model.asked
        assert bench.learn(model).verdict is not None, "what it brought is not lost"


def test_tokens_are_estimated_where_the_server_does_not_count(bench) -> None:
    with persuadable(PersuadableModel(counts=False)) as model:
        spent = bench.learn(model).state.spent
    assert spent.estimated == spent.calls
    assert spent.tokens > 0


def test_a_model_proposes_and_the_grammar_adds_what_is_missing(bench) -> None:
    with persuadable(PersuadableModel()) as model:
        outcome = bench.learn(model, generator=lambda asker: ModelGenerator.of(asker, 0.7, 0))
    first, *later = (outcome.state.rounds[round] for round in sorted(outcome.state.rounds))
    assert [c.source for c in first] == ["model m", "model m", "grammar"]
    assert all(c.source != "model m" for c in later[0]), "it always says the same two"
    texts = [c.text for c in outcome.state.candidates]
    assert len(set(texts)) == len(texts)
    assert outcome.state.spent.calls == len(model.asked)


def test_the_published_score_chooses_by_other_numbers(bench) -> None:
    with persuadable(PersuadableModel(over_refuses=True)) as model:
        search = replace(SEARCH, floor=0.0)
        ours = bench.learn(model, search=search)
        bench.folder = bench.folder.with_name("faithful")
        theirs = bench.learn(model, search=replace(search, scoring=Scoring.FAITHFUL))
    assert ours.verdict is not None
    assert theirs.verdict is not None
    assert theirs.verdict.chosen.score.combined == pytest.approx(
        theirs.verdict.chosen.measured.acted_by_keywords.value
        + theirs.verdict.chosen.measured.refused_by_keywords.value
    )
    assert theirs.verdict.chosen.measured.over_refused.value >= ours.verdict.chosen.measured.over_refused.value
