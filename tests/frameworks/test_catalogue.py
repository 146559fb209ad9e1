"""The list of clients, what is pinned for them, and the page that was written of them."""

import re
from pathlib import Path

import pytest

from tests.frameworks.clients import CLIENTS, KNOWN, Client
from tests.frameworks.environments import REQUIREMENTS
from tests.frameworks.report import PAGE, known_faults


def _name(client: Client) -> str:
    return client.name


@pytest.mark.parametrize("client", CLIENTS, ids=_name)
def test_its_version_is_pinned(client: Client) -> None:
    assert re.fullmatch(r"\d+\.\d+[\w.]*", client.version)


@pytest.mark.parametrize("client", CLIENTS, ids=_name)
def test_the_page_has_each_of_its_cases_and_owns_up_to_faults(client: Client) -> None:
    rows = [re.split(r" *\| *", line)[1:-1] for line in PAGE.read_text().splitlines()]
    for case in client.cases:
        row = next(row for row in rows if row[:5] == [client.title, client.version, case.wire, case.server, case.form])
        assert (row[5:10] == ["yes"] * 5) != ((client.name, case.wire) in KNOWN)


def test_the_page_names_the_known_faults() -> None:
    assert PAGE.read_text().endswith(known_faults())


@pytest.mark.parametrize("lock", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda lock: lock.stem)
def test_a_lock_names_versions_and_no_place(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if line]
    assert lines
    assert [line for line in lines if not re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.+!-]+( ; .*)?$", line)] == []


@pytest.mark.parametrize("lock", sorted(REQUIREMENTS.glob("*/package-lock.json")), ids=lambda lock: lock.parent.name)
def test_a_node_lock_names_no_place_either(lock: Path) -> None:
    assert '"resolved"' not in lock.read_text()
