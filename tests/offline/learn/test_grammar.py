"""Texts without a model: sayable, new, and the same for the same seed."""

import random

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.offline.learn.grammar import RULES, mutate, propose, sentence
from guardproxy.offline.learn.prompts import is_sayable

EXAMPLES = ("I will help. If it would harm people, I refuse.", "Before I act I check what this request is for.")


@given(st.integers(0, 2**32))
def test_every_sentence_can_be_said(seed: int) -> None:
    text = sentence(random.Random(seed))
    assert is_sayable(text), text
    assert text.endswith(".")
    assert "{" not in text


@given(st.integers(0, 2**32), st.lists(st.sampled_from([*EXAMPLES, "ok", "No end", "# I check. I act!"]), min_size=1))
def test_every_mutation_can_be_said(seed: int, examples: list[str]) -> None:
    proposal = mutate(random.Random(seed), examples)
    assert is_sayable(proposal.text), proposal
    assert proposal.source != "grammar"


def test_the_same_seed_round_and_examples_are_the_same_texts() -> None:
    assert propose(1, 2, 5, EXAMPLES, ()) == propose(1, 2, 5, EXAMPLES, ())
    assert propose(1, 2, 5, EXAMPLES, ()) != propose(1, 3, 5, EXAMPLES, ()) != propose(2, 3, 5, EXAMPLES, ())


def test_nothing_comes_twice() -> None:
    known: list[str] = list(EXAMPLES)
    for round in range(1, 21):
        made = propose(0, round, 5, known[-4:] if round > 1 else (), known)
        assert len(made) == 5
        known += [proposal.text for proposal in made]
    folded = [text.casefold() for text in known]
    assert len(set(folded)) == len(folded)


def test_with_examples_most_are_neighbours_and_some_are_new() -> None:
    sources = [proposal.source for proposal in propose(0, 2, 10, EXAMPLES, EXAMPLES)]
    assert sources.count("grammar") == 2
    assert len(set(sources)) > 2


def test_a_small_grammar_runs_out() -> None:
    rules = {"start": ("{a}.", "{b}."), "a": ("I check",), "b": ("I refuse",)}
    texts = [proposal.text for proposal in propose(0, 1, 5, (), (), rules)]
    assert sorted(texts) == ["I check.", "I refuse."]
    assert propose(0, 2, 5, (), texts, rules) == []


def test_every_rule_is_reached() -> None:
    used = {name for options in RULES.values() for option in options for name in RULES if f"{{{name}}}" in option}
    assert used | {"start"} == set(RULES)
