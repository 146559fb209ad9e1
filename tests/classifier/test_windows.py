import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.windows import LEAD_TOKENS, MAX_WINDOWS, OVERLAP, cut_lead, led_windows, windows

SIZE = 126
FULL = SIZE + (MAX_WINDOWS - 1) * (SIZE - OVERLAP)  # the longest input that is read whole and with every overlap


@pytest.mark.parametrize(
    ("length", "count", "cut"),
    [
        (0, 1, False),
        (1, 1, False),
        (SIZE, 1, False),
        (SIZE + 1, 2, False),
        (2 * SIZE - OVERLAP, 2, False),
        (2 * SIZE - OVERLAP + 1, 3, False),
        (FULL, MAX_WINDOWS, False),
        (FULL + OVERLAP, MAX_WINDOWS, False),
        (FULL + OVERLAP + 1, MAX_WINDOWS, True),
        (100 * SIZE, MAX_WINDOWS, True),
    ],
)
def test_how_many_windows_a_length_takes(length: int, count: int, cut: bool) -> None:
    parts, was_cut = windows(range(length), SIZE)
    assert (len(parts), was_cut) == (count, cut)


@given(st.integers(0, 3000), st.integers(OVERLAP + 1, 300), st.integers(1, 10))
def test_windows_fit_and_cover_everything_unless_said_otherwise(length: int, size: int, most: int) -> None:
    parts, cut = windows(range(length), size, most)
    assert 1 <= len(parts) <= most
    assert all(len(part) <= size for part in parts)
    seen = {token for part in parts for token in part}
    assert cut == (seen != set(range(length)))
    if length and most > 1:
        assert {0, length - 1} <= seen


def test_neighbours_share_their_edge() -> None:
    (first, second), _ = windows(range(SIZE + 10), SIZE)
    assert list(first[-OVERLAP:]) == list(second[:OVERLAP])


def test_a_window_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        windows(range(10), OVERLAP)


def test_a_lead_keeps_its_beginning_and_its_end() -> None:
    assert list(cut_lead(range(LEAD_TOKENS))) == list(range(LEAD_TOKENS))
    assert list(cut_lead(range(100))) == [*range(30), *range(86, 100)]


@pytest.mark.parametrize("lead", [0, 1, LEAD_TOKENS, LEAD_TOKENS + 1, 1000])
def test_every_window_begins_with_the_lead(lead: int) -> None:
    before, body = range(-lead, 0), range(1000)
    expected = list(cut_lead(before))
    parts, cut = led_windows(before, body, SIZE)
    assert all(list(part[: len(expected)]) == expected for part in parts)
    assert all(len(part) <= SIZE for part in parts)
    seen = {token for part in parts for token in part[len(expected) :]}
    assert cut == (seen != set(body))


def test_without_a_lead_windows_are_as_ever() -> None:
    assert led_windows([], range(500), SIZE)[0] == [list(part) for part in windows(range(500), SIZE)[0]]


def test_a_lead_alone_is_one_window() -> None:
    assert led_windows([1, 2], [], SIZE) == ([[1, 2]], False)
