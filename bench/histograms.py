"""Rows of histograms over one axis, as a standalone SVG that follows the reader's colour scheme."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_LEFT, _WIDE, _ROW, _BINS, _FOOT = 190, 460, 62, 60, 62
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#6b7280}.benign{fill:#1f6feb}.harmful{fill:#c11d4e}"
    ".mark{stroke:#9aa3ae;stroke-dasharray:3 3}.mean{stroke:#111827;stroke-width:2}"
    "@media(prefers-color-scheme:dark){.mean{stroke:#e6e8eb}.benign{fill:#6ea8ff}.harmful{fill:#ff6f9c}}"
)


@dataclass(frozen=True, slots=True)
class Row:
    """`style` is a class of the style sheet: benign or harmful."""

    label: str
    style: str
    values: Vector


@dataclass(frozen=True, slots=True)
class Panel:
    """`mark` is where the axis has a line of its own; `span` is found from the values where it is None."""

    title: str
    rows: Sequence[Row]
    mark: float
    span: tuple[float, float] | None = None


def plot(panels: Sequence[Panel]) -> str:
    """One below the other."""
    drawn: list[str] = []
    top = 0
    for panel in panels:
        drawn.append(f'<g transform="translate(0 {top})">{_panel(panel)}</g>')
        top += len(panel.rows) * _ROW + _FOOT
    width, title = _LEFT + _WIDE + 20, escape("; ".join(panel.title for panel in panels))
    size = f'viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{title}">'
    return f"{head}<style>{_STYLE}</style>{''.join(drawn)}</svg>\n"


def _panel(panel: Panel) -> str:
    every = np.concatenate([row.values for row in panel.rows])
    low, high = panel.span or (float(every.min()), float(every.max()))
    scale = _WIDE / ((high - low) or 1.0)
    bottom = len(panel.rows) * _ROW
    rows = "".join(_row(place, row, low, scale) for place, row in enumerate(panel.rows))
    mark = _LEFT + (panel.mark - low) * scale
    line = f'<path class="mark" d="M{mark:.1f} 6V{bottom + 6}"/>' if low < panel.mark < high else ""
    ends = "".join(
        f'<text x="{_LEFT + (value - low) * scale:.1f}" y="{bottom + 20}" text-anchor="middle">{value:.1f}</text>'
        for value in dict.fromkeys((low, panel.mark, high))
        if low <= value <= high
    )
    place = f'x="{(_LEFT + _WIDE + 20) / 2:.0f}" y="{bottom + 38}" text-anchor="middle"'
    return f"{rows}{line}{ends}<text {place}>{escape(panel.title)}</text>"


def _row(place: int, row: Row, low: float, scale: float) -> str:
    bottom = (place + 1) * _ROW
    counts, _ = np.histogram(row.values, bins=_BINS, range=(low, low + _WIDE / scale))
    wide = _WIDE / _BINS
    bars = "".join(
        f'<rect class="{row.style}" x="{_LEFT + i * wide:.1f}" y="{bottom - tall:.1f}" width="{wide:.1f}" '
        f'height="{tall:.1f}"/>'
        for i, count in enumerate(counts)
        if (tall := (_ROW - 14) * count / max(1, counts.max()))
    )
    mean = _LEFT + (float(row.values.mean()) - low) * scale
    return (
        f'<text x="{_LEFT - 8}" y="{bottom - 12}" text-anchor="end">{escape(row.label)}</text>'
        f'<text x="{_LEFT - 8}" y="{bottom + 2}" text-anchor="end">mean {row.values.mean():.2f}</text>{bars}'
        f'<path class="mean" d="M{mean:.1f} {bottom - _ROW + 10}V{bottom}"/>'
    )
