"""Who may call, and whose key goes where."""

from hashlib import sha256

import pytest

from guardproxy.access import check_access, check_json, identity, provider_credential
from guardproxy.errors import Forbidden, Unauthenticated, UnsupportedMediaType
from guardproxy.model import Credential
from guardproxy.runtime import Access

KEY, OTHER_KEY = "client-key-1", "client-key-2"
OPEN = Access()
KEYED = Access(client_keys=frozenset(sha256(key.encode()).hexdigest() for key in (KEY, OTHER_KEY)))
LISTED = Access(allowed_hosts=frozenset({"proxy.test"}), allowed_origins=frozenset({"https://app.test"}))


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:8080"],
)
def test_loopback_names_are_hosts(host: str) -> None:
    check_access({"host": host}, OPEN)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.test",
        "evil.test:8080",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "127.0.0.1@evil.test",
        "evil.test#127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "[::2]",
        "::1",
        "2130706433",
        "0x7f.1",
        "localhost ",
        "proxy.test",
        "[::1]evil.test",
    ],
)
def test_any_other_host_is_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        check_access({"host": host}, OPEN)
    with pytest.raises(Forbidden):
        check_access({}, OPEN)


def test_an_operator_may_list_hosts_and_origins() -> None:
    check_access({"host": "Proxy.test:443", "origin": "https://APP.test"}, LISTED)
    for headers in ({"host": "proxy.test.evil"}, {"host": "localhost", "origin": "https://app.test.evil"}):
        with pytest.raises(Forbidden):
            check_access(headers, LISTED)


@pytest.mark.parametrize("origin", ["null", "", "http://localhost:8080", "https://evil.test", "file://"])
@pytest.mark.parametrize("access", [OPEN, KEYED])
def test_web_pages_are_refused(origin: str, access: Access) -> None:
    with pytest.raises(Forbidden):
        check_access({"host": "localhost", "origin": origin, "authorization": f"Bearer {KEY}"}, access)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {OTHER_KEY} "},
        {"x-guardproxy-key": KEY},
        {"x-guardproxy-key": KEY, "authorization": "Bearer sk-provider"},
    ],
)
def test_a_client_key_opens(headers: dict[str, str]) -> None:
    check_access(headers | {"host": "anything.test"}, KEYED)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {sha256(KEY.encode()).hexdigest()}"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": "Bearer ké\udcff"},
        {"x-guardproxy-key": "wrong", "authorization": f"Bearer {KEY}"},
    ],
)
def test_nothing_else_opens(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        check_access(headers | {"host": "localhost"}, KEYED)


def test_listed_hosts_count_beside_keys() -> None:
    access = Access(client_keys=KEYED.client_keys, allowed_hosts=LISTED.allowed_hosts)
    check_access({"host": "proxy.test", "x-guardproxy-key": KEY}, access)
    with pytest.raises(Forbidden):
        check_access({"host": "other.test", "x-guardproxy-key": KEY}, access)


@pytest.mark.parametrize(
    ("headers", "access", "passed"),
    [
        ({}, OPEN, None),
        ({"authorization": "Bearer sk-provider"}, OPEN, "Bearer sk-provider"),
        ({"authorization": "Bearer sk-provider"}, KEYED, None),
        ({"x-guardproxy-key": KEY, "authorization": "Bearer sk-provider"}, KEYED, "Bearer sk-provider"),
        ({"x-guardproxy-key": KEY}, KEYED, None),
        # a key to this proxy is no provider's to see, however it is written
        ({"authorization": f"Bearer {KEY}"}, KEYED, None),
        ({"x-guardproxy-key": "", "authorization": f"Bearer {KEY}"}, KEYED, None),
        ({"x-guardproxy-key": KEY, "authorization": f"Bearer {KEY}"}, KEYED, None),
        ({"x-guardproxy-key": KEY, "authorization": f"Bearer {OTHER_KEY}"}, KEYED, None),
        ({"x-guardproxy-key": KEY, "authorization": KEY}, KEYED, None),
        ({"x-guardproxy-key": KEY, "authorization": f"Basic {KEY}"}, KEYED, None),
        ({"x-guardproxy-key": KEY, "authorization": f"Bearer\t{KEY}"}, KEYED, None),
        ({"x-guardproxy-key": KEY, "authorization": f"Bearer a {KEY} b"}, KEYED, None),
    ],
)
def test_which_credential_goes_on(headers: dict[str, str], access: Access, passed: str | None) -> None:
    assert provider_credential(headers, access) == (passed and Credential("authorization", passed))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json; ",
    ],
)
def test_json_in_utf8_is_served(content_type: str) -> None:
    check_json({"content-type": content_type})


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; charset=utf-7; charset=utf-8",
        "application/vnd.api+json",
    ],
)
def test_anything_else_is_refused(content_type: str) -> None:
    """The first three are what a web page can send without asking."""
    with pytest.raises(UnsupportedMediaType):
        check_json({"content-type": content_type} if content_type else {})


@pytest.mark.parametrize(
    ("headers", "access", "passed"),
    [
        ({"x-api-key": "sk-ant"}, OPEN, Credential("x-api-key", "sk-ant")),
        ({"x-api-key": "sk-ant", "authorization": "Bearer a"}, OPEN, Credential("authorization", "Bearer a")),
        ({"x-api-key": KEY}, KEYED, None),
        ({"x-api-key": "sk-ant", "x-guardproxy-key": KEY}, KEYED, Credential("x-api-key", "sk-ant")),
        ({"x-api-key": KEY, "x-guardproxy-key": KEY}, KEYED, None),
    ],
)
def test_which_key_of_the_messages_api_goes_on(
    headers: dict[str, str], access: Access, passed: Credential | None
) -> None:
    assert provider_credential(headers, access) == passed


def test_a_client_key_may_come_as_the_anthropic_sdk_sends_keys() -> None:
    check_access({"host": "localhost", "x-api-key": KEY}, KEYED)
    with pytest.raises(Unauthenticated):
        check_access({"host": "localhost", "x-api-key": "wrong"}, KEYED)


def test_clients_are_told_apart_by_every_credential_that_they_show() -> None:
    shown = [{}, {"authorization": "a"}, {"x-api-key": "a"}, {"x-guardproxy-key": "a"}]
    assert len({identity(headers) for headers in shown}) == len(shown)
    assert identity({"authorization": "a", "user-agent": "x"}) == identity({"authorization": "a"})
