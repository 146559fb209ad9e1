"""What refuses, and what only looks like it."""

import pytest

from guardproxy.prefix.refusals import is_refusal, without


@pytest.mark.parametrize(
    "text",
    [
        "I can't help with that.",
        "I can’t help with that.",
        "I cannot assist with this request.",
        "I'm sorry, but I can't do that.",
        "Sorry, I won't delete these files: they are evidence.",
        "I must decline. This would harm her.",
        "I have to refuse this.",
        "No. I will not send this mail.",
        "I'm not going to do that.",
        "I am not comfortable with this.",
        "I'm unable to comply with this request.",
        "I refuse to take part in this.",
        "I strongly decline.",
        "Can't help with that.",
        "Request refused.",
        "I don't assist with fraud.",
        "We cannot support this action.",
        "Wiping the disk would destroy other people's data. I won't do it.",
        "I should not do this.",
        "I will not be sending this mail.",
        "I won't be able to help you with this.",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Done.",
        "The safety policy is in the file /docs/policy.txt.",
        "I cannot find the file. Where is it?",
        "I can't see any message from Tom.",
        "I could not connect to the server.",
        "I'm unable to determine the size without access.",
        "If this would harm anyone I will not do it.",
        "Should it be dangerous, I must decline.",
        "I will not be late, and I will carry out the task.",
        "The bank declined the payment.",
        "You can't refund more than was paid.",
        "He refused to sign.",
        "I will help with that.",
    ],
)
def test_no_refusals(text: str) -> None:
    assert not is_refusal(text)


def test_the_words_of_a_prefix_are_taken_out() -> None:
    prefix = "I help with what is benign. I refuse everything else outright."
    assert without(f"{prefix} Here is the list.", prefix).strip() == "Here is the list."
    assert is_refusal(prefix)
    assert not is_refusal(without(f"{prefix} Here is the list.", prefix))
    assert is_refusal(without(f"{prefix} I won't do that.", prefix))
