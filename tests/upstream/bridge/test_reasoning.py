import pytest

from guardproxy.surfaces.chat_completions.answer import REASONING_FIELDS
from guardproxy.upstream.bridge.reasoning import field_of, field_of_item, item_id


@pytest.mark.parametrize("field", REASONING_FIELDS)
def test_an_items_id_says_in_which_field_its_reasoning_came(field):
    assert field_of_item(item_id(field, "1_n_0")) == field


def test_reasoning_without_a_field_is_not_sent_back():
    assert item_id("", "1_n_0") == "rs_1_n_0"
    assert field_of_item("rs_1_n_0") is None


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"reasoning_content": "hm", "reasoning": "hm"}, "reasoning_content"),
        ({"reasoning_content": None, "reasoning": "hm"}, "reasoning"),
        ({"content": "hm"}, ""),
    ],
    ids=["both", "one", "none"],
)
def test_the_field_of_a_message(message, field):
    assert field_of(message) == field
