"""ROC curves and reliability diagrams as SVG. Colours come from the page's style sheet."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from guardproxy.offline.evaluate.metrics import Sample, reliability, roc

_SIDE: Final = 200
_LEFT: Final = 34
_TOP: Final = 10
_WIDTH: Final = _LEFT + _SIDE + 12
_HEIGHT: Final = _TOP + _SIDE + 34
_MAX_POINTS: Final = 400


def roc_plot(sample: Sample, baseline: Sample | None, name: str) -> str:
    """The curve of the scores, the baseline's if there is one, and the point where the guards stand."""
    parts = [_diagonal()]
    if baseline is not None:
        parts.append(_line(zip(*map(list, roc(baseline)), strict=True), "bag"))
    parts.append(_line(zip(*map(list, roc(sample)), strict=True), "own"))
    harmful, flagged = sample.harmful, sample.flagged
    at = float(flagged[~harmful].mean()), float(flagged[harmful].mean())
    parts.append(f'<circle class="here" cx="{_x(at[0]):.1f}" cy="{_y(at[1]):.1f}" r="4"/>')
    told = f"{name}: ROC curve; flagged are {at[1]:.1%} of the harmful and {at[0]:.1%} of the benign"
    return _plot("".join(parts), "false positive rate", "recall", told)


def reliability_plot(sample: Sample, name: str) -> str:
    """Share of harmful rows over their score; dots are as large as their bin is full."""
    bins = reliability(sample)
    most = max(count for _, _, count in bins)
    dots = (
        f'<circle class="bin" cx="{_x(score):.1f}" cy="{_y(share):.1f}" r="{2 + 5 * (count / most) ** 0.5:.1f}">'
        f"<title>{count} rows, score {score:.2f}, {share:.0%} harmful</title></circle>"
        for score, share, count in bins
    )
    line = _line([(score, share) for score, share, _ in bins], "own")
    return _plot(_diagonal() + line + "".join(dots), "score", "share harmful", f"{name}: reliability diagram")


def _plot(inside: str, x: str, y: str, told: str) -> str:
    ticks = "".join(map(_ticks, (0.0, 0.25, 0.5, 0.75, 1.0)))
    middle = _y(0.5)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(told)}">{ticks}{inside}'
        f'<text x="{_x(0.5):.0f}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>'
        f'<text transform="translate(9 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y)}</text></svg>'
    )


def _ticks(at: float) -> str:
    x, y = _x(at), _y(at)
    return (
        f'<path class="grid" d="M{x:.1f} {_y(0):.1f}V{_y(1):.1f}M{_x(0):.1f} {y:.1f}H{_x(1):.1f}"/>'
        f'<text x="{x:.1f}" y="{_y(0) + 13:.1f}" text-anchor="middle">{at:g}</text>'
        f'<text x="{_x(0) - 4:.1f}" y="{y + 4:.1f}" text-anchor="end">{at:g}</text>'
    )


def _diagonal() -> str:
    return f'<path class="chance" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>'


def _line(points: Iterable[tuple[float, float]], kind: str) -> str:
    path = "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in _thinned(list(points)))
    return f'<path class="{kind}" d="M{path}"/>'


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Not more than can be seen; the ends stay."""
    step = max(1, len(points) // _MAX_POINTS)
    return [*points[:-1:step], points[-1]]


def _x(value: float) -> float:
    return _LEFT + value * _SIDE


def _y(value: float) -> float:
    return _TOP + (1 - value) * _SIDE
