from hypothesis import given
from hypothesis import strategies as st

from guardproxy.upstream.bridge.custom_tools import call_of_text, text_of_arguments


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_goes_and_comes_back_as_it_is(text):
    assert text_of_arguments(call_of_text("c", "patch", text)["function"]["arguments"]) == text
