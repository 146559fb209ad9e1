import pytest

from guardproxy.policy.shell.words import MAX_BRACES, braces


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("abc", ["abc"]),
        ("{a,b}", ["a", "b"]),
        ("x{a,b}y", ["xay", "xby"]),
        ("{a,b}{c,d}", ["ac", "ad", "bc", "bd"]),
        ("{a,{b,c}}", ["a", "b", "c"]),
        ("{1..3}", ["1", "2", "3"]),
        ("{c..a}", ["a", "b", "c"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{}", ["{}"]),
        ("{a}", ["{a}"]),
        ("/{,etc}", ["/", "/etc"]),
        ("{a,b", ["{a,b"]),
    ],
)
def test_braces(word: str, expected: list[str]) -> None:
    assert set(braces(word)) == set(expected)


def test_too_many_are_more_than_the_bound() -> None:
    assert len(braces("{a,b}" * 30)) > MAX_BRACES
