"""What is remembered of tool results."""

from guardproxy.taint import TaintMemory


def test_a_verdict_is_remembered_for_its_policy_and_its_text() -> None:
    memory = TaintMemory()
    assert memory.verdict("r1", "a") is None
    memory.remember("r1", "a", True)
    memory.remember("r1", "b", False)
    assert (memory.verdict("r1", "a"), memory.verdict("r1", "b")) == (True, False)
    assert (memory.verdict("r2", "a"), memory.verdict("r1", "c")) == (None, None)
    memory.remember("r1", "a", False)
    assert memory.verdict("r1", "a") is False


def test_the_least_recently_asked_is_forgotten_first() -> None:
    memory = TaintMemory(capacity=2)
    memory.remember("r", "a", True)
    memory.remember("r", "b", True)
    assert memory.verdict("r", "a") is True
    memory.remember("r", "c", True)
    assert [memory.verdict("r", digest) for digest in "abc"] == [True, None, True]
