import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.testclient import TestClient

from guardproxy.admin import LOOPBACK_HOSTS, Readiness, State, build_admin


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("guardproxy_things", "Things.", registry=registry).inc()
    return registry


def client(
    registry: CollectorRegistry, parts: dict[str, State] | None = None, base: str = "http://127.0.0.1:9901"
) -> TestClient:
    readiness = Readiness({"policy": State.OK} if parts is None else parts)
    return TestClient(build_admin(registry, lambda: readiness, LOOPBACK_HOSTS), base_url=base)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_metrics_in_the_classic_format(registry: CollectorRegistry, accept: str, content_type: str) -> None:
    answer = client(registry).get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert "guardproxy_things_total 1.0" in answer.text
    assert "# EOF" not in answer.text


def test_metrics_in_open_metrics_for_who_asks(registry: CollectorRegistry) -> None:
    # As Prometheus 2.42 asks.
    accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    answer = client(registry).get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert answer.text.endswith("# EOF\n")


def test_health_is_ok_whatever_is_not_ready(registry: CollectorRegistry) -> None:
    answer = client(registry, {"model": State.FAILED}).get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({}, 503),
        ({"model": State.OK, "policy": State.OK, "audit": State.OK}, 200),
        ({"model": State.OK, "audit": State.DEGRADED}, 200),
        ({"model": State.FAILED, "audit": State.OK}, 503),
    ],
)
def test_readiness_tells_the_parts(registry: CollectorRegistry, parts: dict[str, State], status: int) -> None:
    answer = client(registry, parts).get("/readyz")
    assert answer.status_code == status
    assert answer.json() == {"ready": status == 200, "parts": {name: state.value for name, state in parts.items()}}


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/metrics/x", "/v1/chat/completions", "/config", "/healthz/", "//metrics"]
)
def test_there_is_nothing_else(registry: CollectorRegistry, path: str) -> None:
    assert client(registry).get(path).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_nothing_can_be_posted(registry: CollectorRegistry, path: str) -> None:
    assert client(registry).post(path).status_code == 405


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9901", "localhost:9901", "LOCALHOST", "[::1]", "[::1]:9901"])
def test_loopback_names_are_served(registry: CollectorRegistry, host: str) -> None:
    assert client(registry).get("/metrics", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9901", "127.0.0.1.evil.example", "localhost:x", "", ":9901", "::1"]
)
def test_a_page_with_a_name_of_its_own_is_not(registry: CollectorRegistry, host: str) -> None:
    assert client(registry).get("/metrics", headers={"host": host}).status_code == 421


def test_beyond_loopback_every_host_is_served(registry: CollectorRegistry) -> None:
    app = build_admin(registry, lambda: Readiness({"policy": State.OK}))
    assert TestClient(app, base_url="http://10.1.2.3:9901").get("/readyz").status_code == 200
