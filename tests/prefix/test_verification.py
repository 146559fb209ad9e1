import pytest

from guardproxy.errors import UpstreamRefusal
from guardproxy.prefix.verification import Nonce, Outcome, ProbeAnswer, Verification, judge

NONCE = Nonce("4817", "2093")
PLAIN = ProbeAnswer("I have not begun one.", 20)


def judged(text, tokens):
    return judge(NONCE, PLAIN, ProbeAnswer(text, tokens))


def test_the_probes_text_holds_the_whole_number_once_and_ends_within_it():
    assert NONCE.prefill.count("2093") == 1
    assert NONCE.prefill.endswith("4817-")


@pytest.mark.parametrize(
    ("text", "tokens", "rendered", "continued", "outcome"),
    [
        ("2093.", 60, True, True, Outcome.APPLIED_PROBE),
        (" 2093", None, True, True, Outcome.APPLIED_PROBE),
        ("2093", 20, True, True, Outcome.APPLIED_PROBE),
        (NONCE.prefill + "2093.", 60, True, True, Outcome.APPLIED_PROBE),
        ("The reference number is 4817-2093.", 60, True, False, Outcome.UNVERIFIED),
        ("4817-2093", 60, True, False, Outcome.UNVERIFIED),
        ("The second part is 2093.", 60, True, None, Outcome.APPLIED_TOKENS),
        ("I do not know.", 60, True, None, Outcome.APPLIED_TOKENS),
        ("", 60, True, None, Outcome.APPLIED_TOKENS),
        (NONCE.prefill, 60, True, None, Outcome.APPLIED_TOKENS),
        ("I do not know.", 20, False, None, Outcome.UNVERIFIED),
        ("I do not know.", 25, False, None, Outcome.UNVERIFIED),  # a closed, empty turn costs a few tokens
        ("I do not know.", None, None, None, Outcome.UNVERIFIED),
        ("20931", 60, True, None, Outcome.APPLIED_TOKENS),
    ],
)
def test_what_answers_show(text, tokens, rendered, continued, outcome):
    shown = judged(text, tokens)
    assert (shown.rendered, shown.continued, shown.outcome) == (rendered, continued, outcome)
    assert shown.echoes == text.startswith(NONCE.prefill)


def test_failing_is_more_than_not_being_shown():
    assert judged("I do not know.", 20).failed
    assert judged("4817-2093", 60).failed
    assert not judged("I do not know.", None).failed
    assert not Verification(refusal=UpstreamRefusal(400, "no")).failed


def test_a_server_that_counts_in_one_answer_only_shows_no_rise():
    assert judge(NONCE, ProbeAnswer("", None), ProbeAnswer("", 90)).token_rise is None
