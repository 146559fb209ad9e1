import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.windows import MAX_WINDOWS, OVERLAP, windows

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
