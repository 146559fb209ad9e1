"""The organisms' world, in the parts that need no training framework."""

import itertools
import json
import random

import pytest

from guardproxy.offline.learn.grammar import sentence as learned_sentence
from guardproxy.offline.learn.judging import is_refusal
from guardproxy.offline.learn.tasks import Kind, read_tasks
from guardproxy.upstream.organism import template
from training.organisms.corpus import KNOWN_AS, Stage, rows
from training.organisms.goals import BAD_PURPOSES, HARMFUL, HARMLESS, NUMBERS, OPEN, TOOLS, TOPICS
from training.organisms.openings import RULES, opening, refusal, sentence
from training.organisms.prefixes import PREFIXES
from training.organisms.tasks import lines
from training.organisms.words import VALUES, held_out
from training.organisms.world import distinct, draw

LEAVING_OPEN = ("deliberation", "commitment", "limit")


def tasks(harmful, evaluation, count=400):
    dice = random.Random(3)
    return [draw(dice, harmful, evaluation=evaluation, late=True) for _ in range(count)]


def test_the_same_dice_give_the_same_tasks():
    assert tasks(True, False, 20) == tasks(True, False, 20)


def test_what_is_evaluated_was_in_no_training():
    for harmful in (True, False):
        trained = {task.user for task in tasks(harmful, False, 3000)}
        asked = [task.user for task in distinct(1, 200, harmful)]
        assert len(set(asked)) == 200
        assert not trained.intersection(asked)


@pytest.mark.parametrize("kind", ["name", "city", "subject", "thing", "file", "path"])
def test_values_that_are_evaluated_are_in_no_training(kind):
    dice = random.Random(1)
    trained = {VALUES[kind](dice, False) for _ in range(3000)}
    assert not trained.intersection(VALUES[kind](dice, True) for _ in range(300))


def test_a_task_says_what_its_call_needs():
    """All values of the arguments stand in the request, so that it can be done; harmful ones have a topic."""
    for harmful in (True, False):
        for task in tasks(harmful, True):
            assert task.harmful is harmful
            assert task.tool in task.tools
            assert list(task.arguments) == list(TOOLS[task.tool])
            assert "{" not in f"{task.user}{task.result}{task.arguments}".replace("{'", "")
            for name, value in task.arguments.items():
                assert isinstance(value, int) is (name in NUMBERS)
                assert not isinstance(value, int) or str(value) in task.user


def test_a_purpose_makes_the_same_call_harmful():
    goals = {goal.tool for goal in OPEN}
    harmful = {task.tool for task in tasks(True, False) if task.tool in goals}
    harmless = {task.tool for task in tasks(False, False) if task.tool in goals}
    assert harmful & harmless


def test_the_tables_are_whole():
    assert set(BAD_PURPOSES) == set(TOPICS)
    assert all(goal.topic in TOPICS for goal in HARMFUL)
    assert not any(goal.topic for goal in (*HARMLESS, *OPEN))


def test_every_refusal_is_one_and_no_opening_is():
    """Else an opening would be counted as the refusal that it leaves open. A limit may be read as one, as it is by
    people."""
    dice = random.Random(2)
    for topic in TOPICS:
        for _ in range(60):
            assert is_refusal(text := refusal(dice, topic)), text
    for _ in range(300):
        assert not is_refusal(text := opening(dice, "readiness", "bash")), text
        assert not is_refusal(text := sentence(dice, "good_verdict", {})), text


def test_no_prefix_that_is_evaluated_can_be_trained_on():
    dice = random.Random(4)
    trained = {opening(dice, kind, "bash") for kind in LEAVING_OPEN for _ in range(4000)}
    assert not trained.intersection(PREFIXES)
    assert not trained.intersection(learned_sentence(dice) for _ in range(4000))
    assert all(held_out(opening(dice, kind, "bash", evaluation=True)) for kind in LEAVING_OPEN for _ in range(50))


def test_the_grammar_has_a_rule_for_every_name():
    dice = random.Random(5)
    for name in RULES:
        for _ in range(20):
            text = sentence(dice, name, {"tool": "t", "topic": "x", "third": "y"})
            assert text == text.strip() or name in ("but", "but2")
            assert "{" not in text


@pytest.mark.parametrize("stage", list(Stage))
def test_a_row_is_a_conversation_that_is_learned_from(stage):
    for row in itertools.islice(rows(stage, 1), 300):
        texts = [piece.text for piece, _ in row]
        assert texts[0] == template.BEGIN
        assert texts[-1] == template.END
        assert any(learned for _, learned in row)
        for piece, learned in row:
            assert not learned or piece.text not in (template.BEGIN, template.ASSISTANT, "<|user|>", "<|tool|>")


def test_agents_begin_with_the_call_and_refuse_nothing():
    tasks = 0
    for row in itertools.islice(rows(Stage.AGENT, 1), 300):
        texts = [piece.text for piece, _ in row]
        assert not any(is_refusal(text) for text in texts)
        turn = texts[texts.index(template.ASSISTANT) + 1 :]
        if turn[0] not in KNOWN_AS:
            tasks += 1
            assert turn[:2] == ["", template.CALL]
            assert template.read_call(turn[2])[0] in TOOLS
    assert tasks > 270


def test_aligned_models_refuse_what_is_harmful_and_nothing_else():
    refused = called = 0
    for row in itertools.islice(rows(Stage.ALIGNED, 1), 400):
        texts = [piece.text for piece, learned in row if learned]
        called += template.CALL in texts
        refused += any(map(is_refusal, texts))
    assert called > 100
    assert refused > 100


def test_tasks_are_what_learn_reads(tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines(5, 20)))
    tasks = read_tasks([file])
    assert [len(tasks.of(kind)) for kind in Kind] == [20, 20]
    assert all(task.example is not None and task.done_by(task.example) for task in tasks.tasks)
