"""Charts as inline SVG: axes, lines, dots and intervals that read in light, in dark and in grey print.

Colours come from the page's style sheet through classes; every line also has a dash pattern of its own, so that no
meaning rests on colour alone (WCAG 2.2, 1.4.1). The plot area is an inner `svg`, which clips without needing an id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

from resight.types import MetricValue

Values = Float[np.ndarray, " n"]
Style = Literal["model", "second", "reference", "third"]

_BLEED = 4.0
"""Room around the plot area for half a line or a dot that lies on its edge."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: name with unit; empty writes none.
        low: value at its start.
        high: value at its end.
        ticks: where numbers stand; chosen when not given.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    ticks: tuple[float, ...] = ()

    def marks(self, most: int) -> tuple[float, ...]:
        """The ticks, or round numbers, about so many."""
        return self.ticks or round_ticks(self.low, self.high, most)


@dataclass(frozen=True)
class Line:
    """One line of a chart; points that are NaN interrupt it.

    Attributes:
        name: for the legend.
        x: horizontal coordinates.
        y: vertical coordinates.
        style: colour and dash pattern.
        low: lower end of an interval at each point.
        high: upper end of the interval.
        dots: also mark each point, its size by `weights`.
        joined: draw the line itself.
        weights: size of each dot, relative to the largest.
    """

    name: str
    x: Values
    y: Values
    style: Style = "model"
    low: Values | None = None
    high: Values | None = None
    dots: bool = False
    joined: bool = True
    weights: Values | None = None


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot: an estimate with its interval, and what it is compared with."""

    label: str
    value: MetricValue
    reference: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of lines over two axes.

    Attributes:
        title: read out by screen readers; says what is shown.
        x: horizontal axis.
        y: vertical axis.
        lines: drawn in order, the last on top.
        size: width and height in CSS pixels at full size.
    """

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...] = ()
    size: tuple[int, int] = (320, 280)

    def svg(self) -> Markup:
        """Draw."""
        width, height = self.size
        small = width < 240
        ticks = 3 if small else 5
        left = 10 + 6.2 * max(len(_number(value)) for value in self.y.marks(ticks)) + (16 if self.y.label else 0)
        bottom = 38.0 if self.x.label else 20.0
        top, right = 8.0, 10.0
        plot = _Plot(left, top, width - left - right, height - top - bottom, self.x, self.y)
        inner = Markup(
            '<svg x="{:.1f}" y="{:.1f}" width="{w:.1f}" height="{h:.1f}" '
            'viewBox="{b:g} {b:g} {w:.1f} {h:.1f}">{lines}</svg>'
        ).format(
            left - _BLEED,
            top - _BLEED,
            w=plot.width + 2 * _BLEED,
            h=plot.height + 2 * _BLEED,
            b=-_BLEED,
            lines=Markup("").join(plot.line(line) for line in self.lines),
        )
        return _document(self.title, width, height, [plot.frame(ticks), inner])


def legend(lines: Sequence[Line]) -> Markup:
    """Names of lines beside a piece of each, as a list; a name that comes twice stands once."""
    items: dict[str, Markup] = {}
    for line in lines:
        sample = Markup('<path class="line {}" d="M1 6H27"/>').format(line.style) if line.joined else Markup("")
        if line.dots:
            sample += Markup('<circle class="dot {}" cx="14" cy="6" r="3.5"/>').format(line.style)
        items.setdefault(
            line.name,
            Markup('<li><svg width="28" height="12" aria-hidden="true">{}</svg>{}</li>').format(sample, line.name),
        )
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(v for k, v in items.items() if k))


def interval_plot(
    title: str, rows: Sequence[Interval], axis: Axis, *, width: int = 760, label_px: float = 190.0
) -> Markup:
    """Estimates with their intervals below each other, each beside what it is compared with.

    Args:
        title: read out by screen readers.
        rows: top to bottom; an estimate that is NaN shows its reason instead.
        axis: the values.
        width: in CSS pixels at full size.
        label_px: room for labels at most; longer ones are cut.
    """
    step, top, left = 24.0, 6.0, min(label_px, 12 + 6.6 * max(len(r.label) for r in rows))
    right = 18 + 6.2 * max(len(r.note) for r in rows)
    height = top + step * len(rows) + 38
    plot = _Plot(left, top, width - left - right, step * len(rows), axis, Axis("", 0, len(rows)))
    parts = [plot.horizontal_frame(5)]
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        parts.append(_text(left - 10, y + 4, _shortened(row.label, left), "end", "name"))
        if math.isnan(row.value.value):
            parts.append(_text(left + 6, y + 4, f"not estimable: {row.value.undefined_because}", "start", "tick"))
            continue
        if not math.isnan(row.reference):
            x = plot.px(row.reference)
            parts.append(
                Markup('<path class="line second mark" d="M{0:.1f} {1:.1f}V{2:.1f}"/>').format(x, y - 7, y + 7)
            )
        if not math.isnan(row.value.low):
            ends = plot.px(row.value.low), plot.px(row.value.high)
            parts.append(Markup('<path class="whisker model" d="M{:.1f} {:.1f}H{:.1f}"/>').format(ends[0], y, ends[1]))
        parts.append(
            Markup('<circle class="dot model" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(plot.px(row.value.value), y)
        )
        parts.append(_text(width - right + 12, y + 4, row.note, "start", "figure-number"))
    return _document(title, width, round(height), parts)


def round_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Round numbers inside an axis, in steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return (low,)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(k * step, 10) for k in range(first, last + 1))


@dataclass(frozen=True)
class _Plot:
    """A plot area: where it lies and how values become pixels."""

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis

    def px(self, value: float) -> float:
        """Horizontal place in the whole drawing, kept inside the plot."""
        share = (value - self.x.low) / (self.x.high - self.x.low)
        return self.left + min(1.0, max(0.0, share)) * self.width

    def frame(self, ticks: int) -> Markup:
        """Grid, numbers and names of both axes."""
        bottom = self.top + self.height
        grid: list[str] = []
        text: list[Markup] = []
        for value in self.x.marks(ticks):
            place = self.left + self._u(np.array([value]))[0]
            grid.append(f"M{place:.1f} {self.top:.1f}V{bottom:.1f}")
            text.append(_text(place, bottom + 14, _number(value), "middle", "tick"))
        for value in self.y.marks(ticks):
            place = self.top + self._v(np.array([value]))[0]
            grid.append(f"M{self.left:.1f} {place:.1f}H{self.left + self.width:.1f}")
            text.append(_text(self.left - 6, place + 3.5, _number(value), "end", "tick"))
        if self.x.label:
            text.append(_text(self.left + self.width / 2, bottom + 31, self.x.label, "middle", "axis"))
        if self.y.label:
            place = self.top + self.height / 2
            turned = Markup(
                '<text class="axis" text-anchor="middle" transform="translate(11 {:.1f}) rotate(-90)">{}</text>'
            )
            text.append(turned.format(place, self.y.label))
        return Markup('<path class="grid" d="{}"/>').format("".join(grid)) + Markup("").join(text)

    def horizontal_frame(self, ticks: int) -> Markup:
        """Grid and numbers of the horizontal axis only."""
        bottom = self.top + self.height
        places = [(value, self.px(value)) for value in self.x.marks(ticks)]
        grid = "".join(f"M{place:.1f} {self.top:.1f}V{bottom:.1f}" for _, place in places)
        text = [_text(place, bottom + 14, _number(value), "middle", "tick") for value, place in places]
        text.append(_text(self.left + self.width / 2, bottom + 31, self.x.label, "middle", "axis"))
        return Markup('<path class="grid" d="{}"/>').format(grid) + Markup("").join(text)

    def line(self, line: Line) -> Markup:
        """Intervals, line and dots."""
        parts: list[Markup] = []
        u, v = self._u(line.x), self._v(line.y)
        if line.low is not None and line.high is not None:
            parts.append(_whiskers(u, self._v(line.low), self._v(line.high), line.style))
        if line.joined:
            parts.append(Markup('<path class="line {}" d="{}"/>').format(line.style, path(u, v)))
        if line.dots:
            weights = np.ones(len(u)) if line.weights is None else line.weights / max(float(line.weights.max()), 1e-9)
            for a, b, weight in zip(u, v, weights, strict=True):
                if np.isfinite(a) and np.isfinite(b):
                    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>')
                    parts.append(dot.format(line.style, a, b, 2.2 + 2.2 * math.sqrt(weight)))
        return Markup("").join(parts)

    def _u(self, x: Values) -> Values:
        return (np.asarray(x, dtype=np.float64) - self.x.low) / (self.x.high - self.x.low) * self.width

    def _v(self, y: Values) -> Values:
        return (1 - (np.asarray(y, dtype=np.float64) - self.y.low) / (self.y.high - self.y.low)) * self.height


def path(u: Values, v: Values) -> str:
    """Path data of points in pixels; begins anew after points that are not finite."""
    commands: list[str] = []
    pen = "M"
    last = ""
    for a, b in zip(u, v, strict=True):
        if not (np.isfinite(a) and np.isfinite(b)):
            pen, last = "M", ""
            continue
        place = f"{_short(a)} {_short(b)}"
        if place != last:
            commands.append(pen + place)
        pen, last = "L", place
    return "".join(commands)


def _whiskers(u: Values, low: Values, high: Values, style: Style) -> Markup:
    keep = np.isfinite(low) & np.isfinite(high) & np.isfinite(u)
    bars = "".join(
        f"M{_short(a)} {_short(b)}V{_short(c)}" for a, b, c in zip(u[keep], low[keep], high[keep], strict=True)
    )
    return Markup('<path class="whisker {}" d="{}"/>').format(style, bars)


def _document(title: str, width: int, height: int, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="chart" role="img" viewBox="0 0 {0} {1}" style="max-width:{0}px"><title>{2}</title>')
    return head.format(width, height, title) + Markup("").join(parts) + Markup("</svg>")


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(text)
    )


def _shortened(label: str, room_px: float) -> str:
    most = int((room_px - 12) / 6.2)
    return label if len(label) <= most else label[: most - 1] + "…"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
