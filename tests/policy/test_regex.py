import time

import pytest

from guardproxy.policy.regex import pattern


def test_it_searches() -> None:
    assert pattern(r"\brm\b").search("please rm it")
    assert not pattern(r"\brm\b").search("farm")


@pytest.mark.parametrize("source", ["(", "(?=a)", r"(a)\1", "a{1000000000}"])
def test_what_the_engine_does_not_have_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        pattern(source)


def test_time_is_linear() -> None:
    start = time.monotonic()
    assert not pattern("^(a+)+$").search("a" * 200_000 + "!")
    assert time.monotonic() - start < 2
