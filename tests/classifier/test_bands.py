import pytest

from guardproxy.classifier.bands import Bands, BandsByTool, with_changes


def test_taint_never_loosens() -> None:
    assert Bands(block=0.5, tainted=0.9).blocks_from(tainted=True) == 0.5
    assert Bands(block=0.9, tainted=0.5).blocks_from(tainted=True) == 0.5
    assert Bands(block=0.9, tainted=0.5).blocks_from(tainted=False) == 0.9


@pytest.mark.parametrize(("tool", "block"), [("send_mail", 0.3), ("send_money", 0.3), ("read", 0.9), ("resend_x", 0.9)])
def test_the_first_pattern_that_fits_counts(tool: str, block: float) -> None:
    default = Bands(0.9, 0.8)
    bands = BandsByTool(
        default, {"send_*": with_changes(default, block=0.3), "*_money": with_changes(default, block=0.1)}
    )
    assert bands.of(tool).block == block


def test_what_is_null_stays() -> None:
    assert with_changes(Bands(0.9, 0.8, review=0.4), block=None, reask=0.6) == Bands(0.9, 0.8, 0.6, 0.4)
