"""Charts of the studies as SVG files that stand alone and read on light and on dark paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup, escape

from resight.evidence.figures import Axis, Chart, Interval, Line, interval_plot
from resight.evidence.theme import style_variables

_GAP, _HEAD, _KEY = 18, 22, 30
"""Pixels between charts, above each for its name, and below all for the key."""
_SWATCH, _LETTER = 34, 6.6
"""Pixels of a line's sample in the key, and about how wide a letter is."""
_PLOT_PX, _LABEL_PX = 860, 360
"""Width of a plot of intervals, and of its longest label."""


def write_charts(folder: Path, pictures: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Write pictures.

    Args:
        folder: where they are written.
        pictures: file name -> caption, and the SVG document.

    Returns:
        The captions by file name.
    """
    for name, (_, document) in pictures.items():
        (folder / name).write_text(document, encoding="utf-8")
    return {name: caption for name, (caption, _) in pictures.items()}


def standalone(title: str, charts: Sequence[tuple[str, Chart]], *, columns: int = 2) -> str:
    """Charts side by side with one key, as an SVG document.

    Args:
        title: read out by screen readers.
        charts: name above the chart, and the chart; all of one size.
        columns: charts in a row.
    """
    width, height = charts[0][1].size
    rows = -(-len(charts) // columns)
    down = rows * (height + _HEAD + _GAP) + _KEY
    lines = [line for _, chart in charts for line in chart.lines]
    names = {line.name for line in lines}
    across = max(columns * (width + _GAP) + _GAP, round(sum(_SWATCH + _LETTER * len(n) + _GAP for n in names)) + _GAP)
    parts: list[Markup] = []
    for number, (name, chart) in enumerate(charts):
        x, y = _GAP + number % columns * (width + _GAP), number // columns * (height + _HEAD + _GAP) + _HEAD
        parts.append(Markup('<text class="name" x="{}" y="{}">{}</text>').format(x, y - 6, name))
        place = Markup('<g transform="translate({} {})"><svg width="{}" height="{}">{}</svg></g>')
        parts.append(place.format(x, y, width, height, chart.svg()))
    parts.append(_key(lines, down - 10))
    return _document(title, across, down, parts)


def standalone_intervals(title: str, panels: Sequence[tuple[str, Sequence[Interval]]], axis: Axis) -> str:
    """Estimates with their intervals, one panel below the other, as an SVG document.

    Args:
        title: read out by screen readers.
        panels: name of each, and its rows from top to bottom.
        axis: the values, the same for all panels.
    """
    parts: list[Markup] = []
    y = 0
    for name, rows in panels:
        plot = interval_plot(name, rows, axis, width=_PLOT_PX, label_px=_LABEL_PX)
        height = 24 * len(rows) + 44
        y += _HEAD
        parts.append(Markup('<text class="name" x="{}" y="{}">{}</text>').format(_GAP, y - 6, name))
        place = Markup('<svg x="0" y="{}" width="{}" height="{}">{}</svg>')
        parts.append(place.format(y, _PLOT_PX, height, plot))
        y += height + _GAP
    return _document(title, _PLOT_PX, y, parts)


def _document(title: str, across: int, down: int, parts: Sequence[Markup]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {across} {down}" width="{across}" '
        f'height="{down}"><title>{escape(title)}</title><style>{_style()}</style>'
    )
    return "".join([head, '<rect class="paper" width="100%" height="100%"/>', *parts, "</svg>\n"])


def _key(lines: Sequence[Line], y: float) -> Markup:
    parts: list[Markup] = []
    x = float(_GAP)
    for name, style in dict.fromkeys((line.name, line.style) for line in lines if line.name):
        sample = Markup('<path class="line {}" d="M{:.0f} {:.0f}h26"/>').format(style, x, y - 4)
        parts.append(sample + Markup('<text class="name" x="{:.0f}" y="{:.0f}">{}</text>').format(x + _SWATCH, y, name))
        x += _SWATCH + _LETTER * len(name) + _GAP
    return Markup("").join(parts)


def _style() -> str:
    return (
        f"svg {{ {style_variables(dark=False)} font-family: system-ui, sans-serif; }}"
        f"@media (prefers-color-scheme: dark) {{ svg {{ {style_variables(dark=True)} }} }}"
        ".paper { fill: var(--paper); } .grid { stroke: var(--rule); fill: none; }"
        ".tick, .axis { fill: var(--muted); font-size: 11px; } .name { fill: var(--ink); font-size: 12px; }"
        ".figure-number { fill: var(--ink); font-size: 11px; } .whisker { fill: none; stroke-width: 1.6; }"
        ".whisker.model { stroke: var(--model); }"
        ".line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }"
        ".line.model { stroke: var(--model); } .dot.model { fill: var(--model); }"
        ".line.second { stroke: var(--second); stroke-dasharray: 7 3; } .dot.second { fill: var(--second); }"
        ".line.third { stroke: var(--good); stroke-dasharray: 1.5 3; } .dot.third { fill: var(--good); }"
        ".line.reference { stroke: var(--reference); stroke-dasharray: 4 4; }"
        ".line.mark { stroke-width: 2.2; stroke-dasharray: none; }"
    )
