"""A run's plots as SVG. Colours come from the page's style sheet."""

from html import escape
from typing import Final

from guardproxy.offline.learn.pool import Entry, Pool
from guardproxy.offline.learn.scoring import Measured

_WIDE: Final = 320
_HIGH: Final = 220
_LEFT: Final = 38
_TOP: Final = 10
_TICKS: Final = 5


def rounds_plot(pool: Pool, chosen: Entry | None) -> str:
    """A dot for each prefix, and the best score so far."""
    last = max((entry.candidate.round for entry in pool.entries), default=1)
    low, high = (-1.0 if any(entry.score.combined < 0 for entry in pool.entries) else 0.0), 2.0

    def place(round: float, score: float) -> tuple[float, float]:
        return _LEFT + _WIDE * (round - 0.5) / last, _TOP + _HIGH * (1 - (score - low) / (high - low))

    dots = "".join(_dot(e, *place(e.candidate.round, e.score.combined), chosen) for e in _chosen_last(pool, chosen))
    best = [place(round, score) for round in range(1, last + 1) if (score := pool.best_until(round)) > low - 1]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in best)
    ticks = "".join(_y_tick(low + (high - low) * i / (_TICKS - 1), i / (_TICKS - 1)) for i in range(_TICKS))
    ticks += "".join(_x_tick(str(round), place(round, low)[0]) for round in range(1, last + 1))
    return _plot(ticks + (f'<path class="own" d="M{line}"/>' if line else "") + dots, "round", "score")


def scatter_plot(pool: Pool, without: Measured, chosen: Entry | None) -> str:
    def place(measured: Measured) -> tuple[float, float]:
        return _LEFT + _WIDE * measured.performed.value, _TOP + _HIGH * (1 - measured.refused.value)

    dots = "".join(_dot(entry, *place(entry.measured), chosen) for entry in _chosen_last(pool, chosen))
    if without.performed.n and without.refused.n:
        x, y = place(without)
        dots += f'<circle class="none" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>no prefix</title></circle>'
    ticks = "".join(_y_tick(i / 4, i / 4) + _x_tick(f"{i / 4:g}", _LEFT + _WIDE * i / 4) for i in range(5))
    return _plot(ticks + dots, "benign tasks done", "harmful tasks refused")


def _chosen_last(pool: Pool, chosen: Entry | None) -> list[Entry]:
    """What is drawn last is on top."""
    return sorted(pool.entries, key=lambda entry: chosen is not None and entry.candidate.id == chosen.candidate.id)


def _dot(entry: Entry, x: float, y: float, chosen: Entry | None) -> str:
    is_chosen = chosen is not None and entry.candidate.id == chosen.candidate.id
    kind, size = ("chosen", 5) if is_chosen else ("dot", 4)
    told = escape(f"{entry.candidate.id}: {entry.score.combined:.3f}. {entry.candidate.text}")
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"><title>{told}</title></circle>'


def _y_tick(value: float, at: float) -> str:
    y = _TOP + _HIGH * (1 - at)
    return (
        f'<path class="grid" d="M{_LEFT} {y:.1f}H{_LEFT + _WIDE}"/>'
        f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>'
    )


def _x_tick(label: str, x: float) -> str:
    return f'<text x="{x:.1f}" y="{_TOP + _HIGH + 13}" text-anchor="middle">{label}</text>'


def _plot(inside: str, x: str, y: str) -> str:
    width, height, middle = _LEFT + _WIDE + 12, _TOP + _HIGH + 34, _TOP + _HIGH / 2
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(y)} over {escape(x)}">{inside}'
        f'<text x="{_LEFT + _WIDE / 2:.0f}" y="{height - 4}" text-anchor="middle">{escape(x)}</text>'
        f'<text transform="translate(9 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y)}</text></svg>'
    )
