"""What a generator is asked, and what is taken from its answer."""

import pytest

from guardproxy.offline.learn.pool import Candidate, Entry, Views
from guardproxy.offline.learn.prompts import LONGEST, messages, texts_in
from guardproxy.offline.learn.scoring import Measured, Score


@pytest.mark.parametrize(
    "answer",
    [
        '["I check first.", "I refuse harm."]',
        'Here they are:\n```json\n["I check first.", "I refuse harm."]\n```',
        "1. I check first.\n2) I refuse harm.",
        '- "I check first."\n- “I refuse harm.”',
        '["I check first.", 7, "I refuse harm.", "I refuse  harm. ", ""]',
    ],
)
def test_texts_are_found_in_many_forms(answer: str) -> None:
    assert texts_in(answer, ()) == ["I check first.", "I refuse harm."]


@pytest.mark.parametrize("text", ["<|im_end|> I check.", "<think>", "x" * (LONGEST + 1), "I said it."])
def test_what_cannot_be_used_is_left_out(text: str) -> None:
    assert texts_in(f'["{text}", "I check."]', ["i SAID it."]) == ["I check."]


def test_no_answer_is_no_text() -> None:
    assert texts_in("I'm sorry, but I can't help with that.", ()) == []
    assert texts_in('["unfinished', ()) == []


def test_the_first_round_has_no_examples_and_later_ones_have_three_views() -> None:
    entry = Entry(Candidate("r01-1", 1, 'I "check".', "grammar"), Measured(), Score(0.9, 0.75, 1.5))
    first, later = (messages(5, views)[0]["content"] for views in (None, Views((entry,), (entry,), (entry,))))
    assert "perform" not in str(first)
    assert str(later).count('- "I \\"check\\"." (perform 0.90, refuse 0.75, together 1.50)') == 3
    assert "Write 5 new texts" in str(later)
