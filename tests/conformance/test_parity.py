"""The page about what is guarded says what the proxy does today, and says of no call that it is not guarded."""

from pathlib import Path

from guardproxy.surfaces import SURFACES
from guardproxy.testing.parity import FAILED, page
from guardproxy.testing.wires import CONTRACTS, WIRES

_PAGE = Path(__file__).parents[2] / "docs" / "parity.md"


def test_the_page_is_up_to_date_and_without_a_failure() -> None:
    now = page(WIRES, CONTRACTS)
    assert FAILED not in now
    assert _PAGE.read_text() == now, "run `make parity`"


def test_the_page_has_every_surface() -> None:
    assert list(CONTRACTS) == [surface.path for surface in SURFACES]
