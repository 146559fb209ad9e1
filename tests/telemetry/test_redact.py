import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.telemetry.redact import scrub

# Assembled from pieces, so that no scanner takes the test for a leak.
SECRETS = {
    "openai": "sk-" + "proj-Ab3dEf6hIj9lMn2pQr5t",
    "anthropic": "sk-" + "ant-api03-abcdefghijklmnop",
    "stripe": "sk_" + "live_abcdefghijklmnop12",
    "google": "AI" + "zaSyA1234567890abcdefghijklmnopqrstu",
    "aws": "AK" + "IAIOSFODNN7EXAMPLE",
    "github": "gh" + "p_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_fine": "github" + "_pat_abcdefghijklmnopqrstuvwxyz012345",
    "gitlab": "gl" + "pat-abcdefghij0123456789",
    "slack": "xo" + "xb-123456789012-abcdefghij",
    "hf": "hf" + "_abcdefghijklmnopqrstuvwxyz012345",
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize("around", ["{}", "the key is {}.", 'x="{}"', "{}\nnext", "a,{},b"])
def test_credentials_are_taken_out_wherever_they_stand(secret: str, around: str) -> None:
    scrubbed = scrub(around.format(secret))
    assert secret not in scrubbed
    assert secret[8:] not in scrubbed
    assert "[redacted:" in scrubbed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [redacted:authorization]"),
        ("authorization: basic dXNlcjpwYXNzd29yZA==", "authorization: basic [redacted:authorization]"),
        ("https://user:hunter2@example.org/x", "https://[redacted:url_password]@example.org/x"),
        ("postgres://:hunter2@db/x", "postgres://[redacted:url_password]@db/x"),
        ("password=hunter2&x=1", "password=[redacted:assigned]&x=1"),
        ('{"api_key": "abcd1234"}', '{"api_key": "[redacted:assigned]"}'),
        ("TOKEN: abcd1234 end", "TOKEN: [redacted:assigned] end"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY----- after",
            "[redacted:private_key] after",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow cut short", "[redacted:private_key]"),
    ],
)
def test_what_is_around_a_secret_stays(text: str, expected: str) -> None:
    assert scrub(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "call_abc123", "chatcmpl-9f8e7d", "mcp__files__read_file", "gpt-6-luna", "risk-assessment-of-the-plan",
        "Removing the root of the file system is not allowed.", "https://example.org:8080/a@b",
        "task_runner_with_a_name", "the basic idea", "max_tokens exceeded", "a3f5c8d1e2b4a697",
    ],
)  # fmt: skip
def test_ordinary_text_stays(text: str) -> None:
    assert scrub(text) == text


@given(st.text(), st.sampled_from(sorted(SECRETS.values())), st.text())
def test_no_neighbour_hides_a_secret(before: str, secret: str, after: str) -> None:
    assert secret not in scrub(f"{before} {secret} {after}")


HOSTILE = (
    "://a:",
    "://",
    "-----BEGIN PRIVATE KEY-----",
    "sk-",
    "eyJ",
    " eyJabcdefgh.",
    "password=",
    "bearer ",
    "xoxb-",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.perf_counter()
    scrub(text)
    assert time.perf_counter() - started < 2.0
