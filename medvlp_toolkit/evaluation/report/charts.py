"""Charts as inline SVG. Colours are classes of the page's style sheet, so that they follow light and dark mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from medvlp_toolkit.evaluation.results.tables import number
from medvlp_toolkit.evaluation.statistics.intervals import wilson

#: Side of the drawing area of a square chart, and the margins that hold its ticks and names.
_SIDE, _LEFT, _BOTTOM, _TOP, _RIGHT = 200, 36, 34, 8, 10
_STEPS = 400  # curves are drawn on a grid as fine as this: more points could not be seen


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A line through (x, y), in the page's colour for the ``number``-th results."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    number: int = 1
    name: str = ""


def roc(truth: NDArray[Any], score: NDArray[Any], which: int = 1, name: str = "") -> Curve:
    """False positive rate and sensitivity over all thresholds."""
    false_positive, true_positive, _ = roc_curve(truth, score)
    return Curve(false_positive, true_positive, which, name)


def precision_recall(truth: NDArray[Any], score: NDArray[Any], which: int = 1, name: str = "") -> Curve:
    """Recall and precision over all thresholds."""
    precision, recall, _ = precision_recall_curve(truth, score)
    return Curve(recall[::-1], precision[::-1], which, name)


def square_chart(
    curves: Sequence[Curve],
    x_name: str,
    y_name: str,
    description: str,
    diagonal: bool = False,
    level: float | None = None,
) -> str:
    """A chart of both axes from 0 to 1.

    Args:
        curves: drawn in their order.
        x_name, y_name: names of the axes.
        description: text for screen readers in place of the chart.
        diagonal: draw the line of chance, or of perfect calibration.
        level: draw a horizontal line here.
    """
    parts = [_frame((0, 0.5, 1), (0, 0.5, 1), x_name, y_name)]
    if diagonal:
        parts.append(f'<path class="reference" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>')
    if level is not None:
        parts.append(f'<path class="reference" d="M{_x(0)} {_y(level)}H{_x(1)}"/>')
    for curve in curves:
        parts.append(f'<path class="curve series-{curve.number}" d="{_path(curve)}"/>')
    return _svg(_LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM, "".join(parts), description, "chart")


#: Lines of a :func:`threshold_chart`, in the order of their colours.
OVERLAPS = ("dice", "iou", "recall", "precision")


def threshold_chart(curve: Mapping[str, list[float]], mark: float | None, description: str) -> str:
    """Dice, IoU, recall and precision against the threshold, on a logarithmic axis.

    Args:
        curve: ``multiple`` of even attention, and the :data:`OVERLAPS` there.
        mark: draw a vertical line at this multiple.
        description: text for screen readers.
    """
    multiples = np.log2(curve["multiple"])
    low, high = float(multiples.min()), float(multiples.max())
    place = (multiples - low) / (high - low)
    ticks = [v for v in (0.25, 1, 4, 16) if low <= np.log2(v) <= high]
    at = [(float((np.log2(v) - low) / (high - low)), f"{v:g}×") for v in ticks]
    parts = [_frame(at, (0, 0.5, 1), "threshold, in multiples of even attention", "mean over images")]
    if mark is not None and mark > 0 and low <= np.log2(mark) <= high:
        across = _x(float((np.log2(mark) - low) / (high - low)))
        parts.append(f'<path class="reference" d="M{across} {_y(0)}V{_y(1)}"/>')
    for which, name in enumerate(OVERLAPS, start=1):
        line = Curve(place, np.asarray(curve[name]), which)
        parts.append(f'<path class="curve line-{which}" d="{_path(line)}"/>')
    return _svg(_LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM, "".join(parts), description, "chart")


def interval_bar(
    rows: Sequence[tuple[float | None, Any]],
    low: float = 0.0,
    high: float = 1.0,
    references: Sequence[float | None] = (),
    description: str = "",
) -> str:
    """Point and interval of one figure, or of several below one another, on a common axis.

    Args:
        rows: (figure, interval or None), one for each of the results.
        low, high: ends of the axis.
        references: thin marks, such as chance.
        description: text for screen readers.
    """
    # A row of several is as tall as a line of the table, so that each stands beside its own figure.
    width, pitch = 180, 20 if len(rows) == 1 else 22
    height = pitch * len(rows)

    def at(value: float) -> float:
        return round(4 + (width - 8) * (min(max(value, low), high) - low) / (high - low), 1)

    parts = [f'<path class="axis" d="M4 {height / 2:g}H{width - 4}"/>']
    parts += [f'<path class="mark" d="M{at(v)} 2V{height - 2}"/>' for v in references if v is not None]
    for place, (figure, ends) in enumerate(rows):
        y = pitch * place + pitch // 2
        if ends:
            parts.append(f'<path class="interval series-{place + 1}" d="M{at(ends[0])} {y}H{at(ends[1])}"/>')
        if figure is not None:
            parts.append(f'<circle class="dot series-{place + 1}" cx="{at(figure)}" cy="{y}" r="4"/>')
    return _svg(width, height, "".join(parts), description or ", ".join(number(f, 3) for f, _ in rows), "bar")


def reliability_chart(results: Sequence[tuple[int, Sequence[dict[str, float]]]], description: str) -> str:
    """Observed share against mean probability per bin, with Wilson's interval; below, how many images each bin has.

    Args:
        results: (number of the results, its bins). Bars count images of the first.
        description: text for screen readers.
    """
    parts = [_frame((0, 0.5, 1), (0, 0.5, 1), "probability given", "share that has it")]
    parts.append(f'<path class="reference" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>')
    most = max((b["n"] for b in results[0][1]), default=1)
    for b in results[0][1]:
        # The square root keeps the many bins of few images visible beside the one of most.
        tall = 0.22 * (b["n"] / most) ** 0.5
        x, y = _x(b["low"]) + 1, _y(tall)
        wide = round(_x(b["high"]) - _x(b["low"]) - 2, 1)
        parts.append(f'<rect class="count" x="{x:g}" y="{y}" width="{wide}" height="{round(_y(0) - y, 1)}"/>')
    for which, bins in results:
        for b in bins:
            x, ends = _x(b["mean_score"]), wilson(round(b["observed"] * b["n"]), int(b["n"])) or (0.0, 1.0)
            radius = round(2.6 + 2.6 * (b["n"] / most) ** 0.5, 1)
            parts.append(f'<path class="whisker series-{which}" d="M{x} {_y(ends[0])}V{_y(ends[1])}"/>')
            parts.append(f'<circle class="series-{which}" cx="{x}" cy="{_y(b["observed"])}" r="{radius}"/>')
    return _svg(_LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM, "".join(parts), description, "chart")


def _frame(x_ticks: Sequence[Any], y_ticks: Sequence[float], x_name: str, y_name: str) -> str:
    parts = [f'<rect class="plot" x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"/>']
    for tick in x_ticks:
        place, text = tick if isinstance(tick, tuple) else (tick, f"{tick:g}")
        parts.append(f'<path class="grid" d="M{_x(place)} {_y(0)}V{_y(1)}"/>')
        parts.append(f'<text x="{_x(place)}" y="{_TOP + _SIDE + 14}" text-anchor="middle">{text}</text>')
    for tick in y_ticks:
        parts.append(f'<path class="grid" d="M{_x(0)} {_y(tick)}H{_x(1)}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{_y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    centre, middle = _LEFT + _SIDE / 2, _TOP + _SIDE / 2
    parts.append(
        f'<text class="name" x="{centre}" y="{_TOP + _SIDE + 29}" text-anchor="middle">{escape(x_name)}</text>'
    )
    parts.append(
        f'<text class="name" x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">'
        f"{escape(y_name)}</text>"
    )
    return "".join(parts)


def _path(curve: Curve) -> str:
    """The line without the points that lie where another is already drawn."""
    x = np.round(np.asarray(curve.x, float) * _STEPS) / _STEPS
    y = np.round(np.asarray(curve.y, float) * _STEPS) / _STEPS
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    kept = [
        pair
        for i, pair in enumerate(pairs)
        # Along a straight run only its ends are needed.
        if i in (0, len(pairs) - 1)
        or not (pairs[i - 1][0] == pair[0] == pairs[i + 1][0] or pairs[i - 1][1] == pair[1] == pairs[i + 1][1])
    ]
    return "M" + "L".join(f"{_x(a)} {_y(b)}" for a, b in dict.fromkeys(kept)) if kept else ""


def _x(share: float) -> float:
    return round(_LEFT + _SIDE * float(share), 1)


def _y(share: float) -> float:
    return round(_TOP + _SIDE * (1 - float(share)), 1)


def _svg(width: float, height: float, content: str, description: str, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )
