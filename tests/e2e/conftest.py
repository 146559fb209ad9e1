"""The real program over loopback. One proxy and one model server serve all tests of a worker; each test has a model
name of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from guardproxy.testing.dialects import Said
from guardproxy.testing.model_server import Answer, ModelServer, PlayedModel, model_server
from guardproxy.testing.service import Service, serving

CONFIG = """
upstreams:
  - {{name: gone, base_url: "http://127.0.0.1:9", models: ["gone-*"]}}
  - {{name: slow, base_url: "{base_url}", models: ["slow-*"], idle_timeout_s: 0.4}}
  - {{name: main, base_url: "{base_url}"}}
guards:
  classifier: {{enabled: false}}
limits: {{keepalive_s: 0.2}}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def server() -> Iterator[ModelServer]:
    """The model server behind the proxy."""
    with model_server() as running:
        yield running


@pytest.fixture(scope="session")
def proxy(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The proxy with the default policy, in front of `server`."""
    with serving(tmp_path_factory.mktemp("proxy"), CONFIG.format(base_url=server.base_url)) as running:
        yield running


@pytest.fixture
def played(server: ModelServer) -> Callable[..., PlayedModel]:
    """`played(Said(...), Answer(...))`: a model of the server that gives these answers."""

    def play(*answers: Answer | Said, family: str = "played") -> PlayedModel:
        return server.model(*answers, family=family)

    return play


@pytest.fixture(scope="session")
def client(proxy: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=proxy.url, api_key="sk-client", max_retries=0, timeout=20) as through:
        yield through


@pytest.fixture(scope="session")
def direct(server: ModelServer) -> Iterator[OpenAI]:
    """The same client without the proxy."""
    with OpenAI(base_url=server.base_url, api_key="sk-client", max_retries=0, timeout=20) as past:
        yield past


@pytest.fixture
def new_async_client(proxy: Service) -> Callable[[], AsyncOpenAI]:
    """To be made inside the test's own event loop."""
    return lambda: AsyncOpenAI(base_url=proxy.url, api_key="sk-client", max_retries=0, timeout=20)
