import pytest
from yarl import URL

from guardproxy.errors import ConfigurationError
from guardproxy.upstream import environment_proxy

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("environment", "server", "proxy"),
    [
        ({}, "https://api.example/v1", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://api.example/v1", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "https://api.example/v1", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://api.example/v1", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://api.example/v1", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, "https://api.example/v1", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "https://api.example/v1", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "other"}, "https://api.example/v1", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://127.0.0.1:8000/v1", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://[::1]:8000/v1", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://localhost:8000/v1", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://10.0.0.1:8000/v1", "http://proxy:3128"),
    ],
)
def test_find(monkeypatch, environment, server, proxy):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = environment_proxy.find(URL(server))
    assert (str(found).rstrip("/") if found else None) == proxy


@pytest.mark.parametrize("address", ["socks5://proxy:1080", "http://", "http://[bad"])
def test_a_proxy_that_cannot_be_used_is_a_fault(monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        environment_proxy.find(URL("https://api.example/v1"))
