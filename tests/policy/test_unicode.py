import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.policy.unicode import encodable, skeleton


@pytest.mark.parametrize(
    ("seen", "meant"),
    [
        ("rm -rf /", "rm -rf /"),
        ("ｒｍ －ｒｆ ／", "rm -rf /"),
        ("r\u200bm", "rm"),
        ("\u202erm", "rm"),
        ("rm\u00a0-rf", "rm -rf"),
        ("сurl", "curl"),
        ("rm \u2013rf \u2215", "rm -rf /"),
        ("r\u0301m", "rm"),
        ("".join(chr(0xE0000 + ord(c)) for c in "hidden"), "hidden"),
    ],
)
def test_what_a_reader_takes_a_text_for(seen: str, meant: str) -> None:
    assert skeleton(seen) == meant


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_stays_as_it_is(text: str) -> None:
    assert skeleton(text) == text


@given(st.text(alphabet=st.characters(categories=["Cs", "L", "P"])))
def test_lone_surrogates_are_replaced(text: str) -> None:
    encodable(text).encode()
