"""The three fastest clients, end to end; `make frameworks` plays all of them."""

from collections.abc import Iterator
from typing import Any

import pytest

from guardproxy.testing.service import Service
from tests.frameworks.clients import BY_NAME, FASTEST, KNOWN, Client
from tests.frameworks.environments import NoEnvironment, environment
from tests.frameworks.run import Case
from tests.frameworks.setting import setting
from tests.frameworks.trial import judge
from tests.frameworks.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # the first run makes the environments


def _cases() -> Iterator[Any]:
    for client in (BY_NAME[name] for name in FASTEST):
        for case in client.cases:
            id = f"{client.name}-{case.wire}-{case.form.replace(', ', '-')}" + "-bridged" * case.bridged
            fault = KNOWN.get((client.name, case.wire))
            marks = [pytest.mark.xfail(reason=fault, raises=AssertionError)] if fault else []
            yield pytest.param(client, case, id=id, marks=marks)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Upstream, Service]]:
    with setting() as both:
        yield both


@pytest.mark.parametrize(("client", "case"), list(_cases()))
def test_an_unmodified_client(running: tuple[Upstream, Service], client: Client, case: Case) -> None:
    server, proxy = running
    try:
        folder = environment(client.environment)
    except NoEnvironment as error:
        pytest.skip(f"no environment for {client.title}: {error}")
    trial = judge(client, case, folder, server, proxy.url.removesuffix("/v1"))
    assert trial.passed, "\n".join([*trial.faults, trial.detail])
