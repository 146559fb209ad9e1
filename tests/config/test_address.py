"""Which addresses mean this machine."""

import pytest

from guardproxy.config.address import is_loopback, leads_to, url_host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST", "localhost."])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org", "127.0.0.1.example.org", ""]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:8080/v1", "127.0.0.1", 8080),
        ("http://localhost:8080/v1", "127.0.0.1", 8080),
        ("http://[::1]:8080/v1", "127.0.0.1", 8080),
        ("http://127.0.0.1:8080/v1", "0.0.0.0", 8080),
        ("http://0.0.0.0:8080/v1", "127.0.0.1", 8080),
        ("http://10.0.0.7:8080/v1", "10.0.0.7", 8080),
        ("http://GUARD.example:8080", "guard.example", 8080),
        ("http://localhost/v1", "127.0.0.1", 80),
        ("https://localhost/v1", "127.0.0.1", 443),
    ],
)
def test_a_url_that_leads_here(url: str, host: str, port: int) -> None:
    assert leads_to(url, host, port)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:8000/v1", "127.0.0.1", 8080),
        ("http://10.0.0.8:8080/v1", "10.0.0.7", 8080),
        ("http://vllm:8080/v1", "127.0.0.1", 8080),
        ("http://localhost:0/v1", "127.0.0.1", 0),  # a free port is never the one that is asked for
        ("", "127.0.0.1", 8080),
    ],
)
def test_a_url_that_leads_elsewhere(url: str, host: str, port: int) -> None:
    assert not leads_to(url, host, port)


def test_ipv6_stands_in_brackets_in_a_url() -> None:
    assert url_host("::1") == "[::1]"
    assert url_host("127.0.0.1") == "127.0.0.1"
