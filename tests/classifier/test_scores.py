import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.scores import calibrate

LABELS = ("benign", "unsafe_code", "unsafe_action")


def test_the_harmful_probability_is_everything_but_benign() -> None:
    scores = calibrate([0.0, math.log(2), math.log(5)], LABELS, 1.0)
    assert scores.harmful == pytest.approx(7 / 8)
    assert scores.label == "unsafe_action"
    assert scores.probabilities["benign"] == pytest.approx(1 / 8)


def test_a_higher_temperature_is_less_sure() -> None:
    hot = calibrate([0.0, 4.0], LABELS[:2], 4.0)
    cold = calibrate([0.0, 4.0], LABELS[:2], 1.0)
    assert 0.5 < hot.harmful < cold.harmful


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    st.floats(0.01, 100),
)
def test_probabilities_are_probabilities(logits: list[float], temperature: float) -> None:
    scores = calibrate(logits, LABELS, temperature)
    assert math.fsum(scores.probabilities.values()) == pytest.approx(1.0)
    assert -1e-9 <= scores.harmful <= 1 + 1e-9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_no_number_is_no_verdict(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        calibrate([0.0, bad, 1.0], LABELS, 1.0)
