import pytest

from guardproxy.provider_error import ErrorFields
from guardproxy.upstream.litellm_shapes import chunk_tree, completion_tree, error_fields, finishes

GENERAL = ErrorFields("the provider answered with status 400")
BODY = '{"type": "error", "error": {"message": "It doesn\'t", "type": "t", "failed_generation": "rm -rf /"}}'


@pytest.mark.parametrize(
    ("text", "body", "fields"),
    [
        (
            "litellm.BadRequestError: OpenAIException - no",
            {"message": "no", "code": "c", "failed_generation": "rm"},
            ErrorFields("no", code="c"),
        ),
        ("litellm.BadRequestError: OpenAIException - no", None, ErrorFields("no")),
        ("litellm.RateLimitError: RateLimitError: OpenAIException - slow down", None, ErrorFields("slow down")),
        (f"litellm.BadRequestError: AnthropicException - {BODY}", None, ErrorFields("It doesn't", "t")),
        (f"litellm.BadRequestError: AnthropicException - {BODY.encode()!r}", None, ErrorFields("It doesn't", "t")),
        ('litellm.X: b\'{"error":{"message":"a \\\\"q\\\\" b"}}\'', None, ErrorFields('a "q" b')),
        ("litellm.InternalServerError: Cannot connect: [Connect call failed ('10.0.0.1', 1)]", None, GENERAL),
        ('litellm.APIError: x\nTraceback (most recent call last):\n  File "/srv/a.py"', None, GENERAL),
        ("litellm.BadRequestError: see https://internal.example/x", None, GENERAL),
        ('litellm.BadRequestError: XException - {"failed_generation": "rm -rf /"}', None, GENERAL),
        ("litellm.BadRequestError: XException - {'not': json}", None, GENERAL),
        ("", None, GENERAL),
        ("litellm.BadRequestError: no", {"failed_generation": "rm -rf /"}, ErrorFields("no")),
    ],
)
def test_errors(text, body, fields):
    assert error_fields(text, body, 400) == fields


def test_a_whole_answer():
    call = {"index": 1, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    dumped = {
        "id": "c",
        "choices": [
            {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [call]}}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.1, "iterations": None},
    }
    tree = completion_tree(dumped)
    message = tree["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert tree["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert dumped["choices"][0]["message"]["tool_calls"][0]["index"] == 1


def test_chunks():
    text = chunk_tree({"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}}]})
    assert text["choices"] == [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]
    assert not finishes(text)
    end = chunk_tree({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}})
    assert finishes(end)
    assert end["usage"] == {"prompt_tokens": 1}
    usage = chunk_tree({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 1, "cost": 1}})
    assert (usage["choices"], usage["usage"]) == ([], {"prompt_tokens": 1})
