from collections import Counter

import pytest

from guardproxy.model import Message, Request
from guardproxy.prefix.arms import Arm, arm_of

A, B = Arm("a", ()), Arm("b", ())


def request(*messages):
    return Request("chat_completions", "m", False, {}, messages, ())


def begun(text):
    return request(Message("system", "Be kind."), Message("user", text))


def test_a_conversation_stays_in_its_arm():
    grown = request(
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", "Hello."),
        Message("user", "Once more"),
    )
    for identity in map(str, range(50)):
        assert arm_of([A, B], begun("Hi"), identity) is arm_of([A, B], grown, identity)


def test_the_choice_is_the_same_in_every_process():
    assert [arm_of([A, B], begun(f"task {n}"), "x").name for n in range(12)] == list("aaabbabbbabb")


@pytest.mark.parametrize(
    ("weights", "shares"), [((1, 1), (0.5, 0.5)), ((9, 1), (0.9, 0.1)), ((0.2, 0.6), (0.25, 0.75))]
)
def test_arms_get_their_share(weights, shares):
    arms = [Arm("a", (), weights[0]), Arm("b", (), weights[1])]
    counted = Counter(arm_of(arms, begun(f"task {n}"), "x").name for n in range(4000))
    assert counted["a"] / 4000 == pytest.approx(shares[0], abs=0.03)
    assert counted["b"] / 4000 == pytest.approx(shares[1], abs=0.03)


def test_whose_it_is_counts():
    arms = {arm_of([A, B], begun("Hi"), identity).name for identity in map(str, range(20))}
    assert arms == {"a", "b"}


@pytest.mark.parametrize("messages", [(), (Message("user", "\ud800"),)])
def test_odd_conversations_have_an_arm_too(messages):
    assert arm_of([A, B], request(*messages), "x") in (A, B)


def test_one_arm_has_all():
    assert arm_of([A], begun("Hi"), "x") is A
