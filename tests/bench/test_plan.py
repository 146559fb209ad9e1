from collections.abc import Callable

import orjson
import pytest

from bench.conversation import request_body, wire_request
from bench.mock_upstream import stream_frames, whole_answer
from bench.plan import Answer, Plan, fault_of, parse_plan, read_request

PLANS = [
    Plan(),
    Plan(Answer.CALL, 20),
    Plan(Answer.FRESH, 2.5, 1, 0.5),
    Plan(Answer.TEXT, 20, 72, 5),
]


def whole_body(plan: Plan) -> bytes:
    return whole_answer(plan, 7).split(b"\r\n\r\n", 1)[1]


def stream_body(plan: Plan) -> bytes:
    """The events of a stream without their HTTP framing."""
    rest = b"".join(stream_frames(plan, 7)).split(b"\r\n\r\n", 1)[1]
    body = b""
    while rest:
        size, rest = rest.split(b"\r\n", 1)
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_survives_its_name(plan: Plan) -> None:
    assert parse_plan(plan.model) == plan


@pytest.mark.parametrize("name", ["gpt-6", "mock-text", "mock-poem-d0-c1-i0", "mock-text-d0-c1-i0-more", ""])
def test_other_names_hold_no_plan(name: str) -> None:
    assert parse_plan(name) is None


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("stream", [True, False])
def test_the_mock_reads_what_the_generator_asks(plan: Plan, stream: bool) -> None:
    assert read_request(request_body(plan, stream), Plan()) == (plan, stream)


def test_the_mock_reads_a_body_that_was_encoded_again() -> None:
    body = b'{"stream" : true, "model" : "mock-call-d1-c2-i3", "messages": []}'
    assert read_request(body, Plan()) == (Plan(Answer.CALL, 1, 2, 3), True)


def test_an_unknown_model_gets_the_default_plan() -> None:
    assert read_request(b'{"model":"gpt-6"}', Plan(chunks=3)) == (Plan(chunks=3), False)


@pytest.mark.parametrize("plan", PLANS)
def test_the_mocks_own_answers_are_right(plan: Plan) -> None:
    assert fault_of(plan, False, 200, whole_body(plan)) is None
    assert fault_of(plan, True, 200, stream_body(plan)) is None


@pytest.mark.parametrize("plan", PLANS)
def test_an_answer_in_the_other_form_is_a_fault(plan: Plan) -> None:
    assert fault_of(plan, True, 200, whole_body(plan)) is not None
    assert fault_of(plan, False, 200, stream_body(plan)) is not None


@pytest.mark.parametrize("stream", [True, False])
def test_another_plans_answer_is_a_fault(stream: bool) -> None:
    body = stream_body(Plan(chunks=3)) if stream else whole_body(Plan(chunks=3))
    assert fault_of(Plan(chunks=4), stream, 200, body) == "another answer than the upstream's"
    assert fault_of(Plan(Answer.CALL), stream, 200, body) == "another answer than the upstream's"


def test_a_blocked_call_is_a_fault() -> None:
    """What a proxy says instead of a call: text and a normal stop."""
    message = {"role": "assistant", "content": "That call is not allowed."}
    body = orjson.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert fault_of(Plan(Answer.CALL), False, 200, body) == "another answer than the upstream's"


def test_an_error_status_is_a_fault_whatever_the_body() -> None:
    assert fault_of(Plan(), False, 502, whole_body(Plan())) == "status 502"


@pytest.mark.parametrize(
    "cut",
    [
        lambda body: body.replace(b"data: [DONE]\n\n", b""),
        lambda body: body + b"data: [DONE]\n\n",
        lambda body: body[: len(body) // 2],
        lambda body: body.replace(b"word001", b"word002"),
        lambda body: b"",
    ],
)
def test_a_damaged_stream_is_a_fault(cut: Callable[[bytes], bytes]) -> None:
    assert fault_of(Plan(), True, 200, cut(stream_body(Plan()))) is not None


def test_keep_alive_comments_are_no_fault() -> None:
    assert fault_of(Plan(), True, 200, b": waiting\n\n" + stream_body(Plan())) is None


def test_fresh_calls_differ_and_plain_ones_do_not() -> None:
    fresh, plain = Plan(Answer.FRESH), Plan(Answer.CALL)
    assert whole_answer(fresh, 1) != whole_answer(fresh, 2)
    assert whole_answer(plain, 1) == whole_answer(plain, 2)


def test_the_request_is_an_agents_and_says_its_length() -> None:
    body = request_body(Plan(), stream=False)
    assert 3000 < len(body) < 5000
    head, sent = wire_request(8080, body).split(b"\r\n\r\n", 1)
    assert sent == body
    assert b"content-length: %d" % len(body) in head
    assert b"host: 127.0.0.1:8080" in head
