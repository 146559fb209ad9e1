import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import MalformedRequest
from guardproxy.upstream import headers
from guardproxy.upstream.upstream import UpstreamRequest


@given(st.lists(st.tuples(st.text(), st.text())))
def test_whatever_a_client_sends_the_block_is_clean_or_refused(pairs):
    request = UpstreamRequest("/chat/completions", tree={}, headers=tuple(pairs))
    try:
        block = headers.to_upstream(request, None)
    except MalformedRequest:
        return
    assert all(headers.is_clean(value) for value in block.values())
    assert not {name for name in block if name not in ALLOWED}


ALLOWED = {
    "accept",
    "accept-encoding",
    "content-type",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "user-agent",
    "x-request-id",
}


@pytest.mark.parametrize(
    "name", ["retry-after", "Retry-After-Ms", "X-RateLimit-Reset-Requests", "anthropic-ratelimit-x"]
)
def test_what_a_client_needs_to_wait_passes(name):
    assert headers.to_client([(name, "1")]) == ((name.lower(), "1"),)


@pytest.mark.parametrize(
    "name",
    [
        "set-cookie",
        "connection",
        "transfer-encoding",
        "content-length",
        "server",
        "location",
        "www-authenticate",
        "x-failed-generation",
        "access-control-allow-origin",
        "x-guardproxy-decision",
    ],
)
def test_nothing_else_passes(name):
    assert headers.to_client({name: "1"}) == ()


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "a\x00", "é", "x" * 5000])
def test_a_broken_value_is_dropped_on_the_way_back(value):
    assert headers.to_client([("x-request-id", value)]) == ()


@given(st.text(alphabet=string.printable.replace("\r", "").replace("\n", "").replace("\x0b", "").replace("\x0c", "")))
def test_printable_ascii_is_clean(value):
    assert headers.is_clean(value)
