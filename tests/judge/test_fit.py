"""Fitting a prompt into a context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.judge.fit import LEAST_ROOM, MAX_WINDOWS, fit
from guardproxy.judge.formats import Part

OTHERS = [part for part in Part if part is not Part.CALL]


def tokens(count: int, first: int = 0) -> list[int]:
    return list(range(first, first + count))


def test_what_fits_is_whole_and_in_order() -> None:
    fitted = fit([(Part.TEMPLATE, [1]), (Part.TASK, [2, 3]), (Part.TEMPLATE, [4]), (Part.CALL, [5, 6])], 1000)
    assert fitted.before == (1, 2, 3, 4)
    assert fitted.windows == ((5, 6),)
    assert not fitted.truncated


def test_a_long_text_keeps_its_beginning_and_end_and_leaves_room_for_the_call() -> None:
    fitted = fit([(Part.TASK, tokens(5000)), (Part.CALL, tokens(300, 9000))], 1000)
    assert len(fitted.before) == 200
    assert fitted.before[0] == 0
    assert fitted.before[-1] == 4999
    assert fitted.windows == (tuple(tokens(300, 9000)),)
    assert fitted.truncated


def test_results_share_their_share() -> None:
    fitted = fit([*[(Part.RESULT, tokens(5000))] * 3, (Part.CALL, [1])], 1000)
    assert len(fitted.before) == 300


def test_a_long_call_is_read_in_windows_that_overlap() -> None:
    fitted = fit([(Part.CALL, tokens(1000))], 400)
    assert not fitted.truncated
    assert {token for window in fitted.windows for token in window} == set(tokens(1000))
    assert all(len(window) == 400 for window in fitted.windows)
    first, second, *_ = fitted.windows
    assert set(first) & set(second)


def test_too_long_a_call_is_read_at_both_ends_and_said_to_be_cut() -> None:
    fitted = fit([(Part.CALL, tokens(100_000))], 400)
    assert fitted.truncated
    assert len(fitted.windows) == MAX_WINDOWS
    assert fitted.windows[0][0] == 0
    assert fitted.windows[-1][-1] == 99_999


def test_a_template_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        fit([(Part.TEMPLATE, tokens(800)), (Part.CALL, [1])], 800 + LEAST_ROOM - 1)


@given(
    st.lists(st.tuples(st.sampled_from(OTHERS), st.integers(0, 400)), max_size=6),
    st.integers(0, 3000),
    st.integers(3000, 4000),
)
def test_nothing_ever_exceeds_the_room(leading: list[tuple[Part, int]], call: int, room: int) -> None:
    pieces = [(part, tokens(count)) for part, count in leading]
    fitted = fit([*pieces, (Part.CALL, tokens(call))], room)
    assert fitted.windows
    assert all(len(fitted.before) + len(window) <= room for window in fitted.windows)
    if not fitted.truncated:
        assert fitted.before == tuple(token for _, found in pieces for token in found)
        assert {token for window in fitted.windows for token in window} == set(tokens(call))
