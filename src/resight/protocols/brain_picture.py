"""Pictures of the brain study as small SVG files: training, all methods in all designs, the course of the bats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resight.evidence.figures import Axis, Chart, Interval, Line
from resight.protocols.brain_measures import Metric, Part
from resight.protocols.brain_networks import TRAINED, folder_of
from resight.protocols.charts import standalone, standalone_intervals

_INCHES = (4.2, 3.0)
"""Width and height of one panel."""
_ABREAST = 3
"""Panels in a row."""
_CHART_PX = (380, 240)


def draw_courses(parts: Sequence[Part], path: Path) -> bool:
    """Draw the fitness of every searched head against the generations, one panel per part, the mean over its splits.

    Args:
        parts: those without a search are left away.
        path: SVG file; the same parts give the same bytes.

    Returns:
        Whether there was anything to draw.
    """
    import matplotlib as mpl  # slow to import, and only pictures need it
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    searched = [part for part in parts if part.outcomes[0].courses]
    if not searched:
        return False
    with mpl.rc_context({"svg.hashsalt": "resight", "font.size": 8, "path.simplify": True}):
        abreast = min(_ABREAST, len(searched))
        rows = -(-len(searched) // abreast)
        figure = Figure(figsize=(_INCHES[0] * abreast, _INCHES[1] * rows), layout="constrained")
        for number, part in enumerate(searched, start=1):
            axes = figure.add_subplot(rows, abreast, number)
            for name in part.outcomes[0].courses:
                courses = np.array([outcome.courses[name] for outcome in part.outcomes])
                relative = (courses / courses[:, :1]).mean(axis=0)
                axes.plot(relative, label=name, linestyle="-" if name.endswith("weights") else "--")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("generation, 0 = the head as it came")
            axes.set_ylabel("error on left-out learning images")
            axes.set_title(part.short)
            axes.legend(fontsize=6, frameon=False)
        figure.savefig(path, metadata={"Date": None})
    return True


def draw_methods(parts: Sequence[Part], path: Path, metric: Metric = "AUROC") -> bool:
    """Draw the mean of every method in every part with its interval, one panel a part.

    Args:
        parts: all of them.
        path: SVG file.
        metric: what is drawn.

    Returns:
        Whether there was anything to draw.
    """
    if not parts:
        return False
    panels = [
        (
            part.title,
            [
                Interval(name, part.mean(name, metric), note=f"{part.mean(name, metric).value:.3f}")
                for name in part.methods
            ],
        )
        for part in parts
    ]
    lowest = min(min(row.value.value, row.value.low) for _, rows in panels for row in rows)
    axis = Axis(f"{metric}, mean over the splits", np.floor(10 * lowest) / 10, 1.0)
    text = standalone_intervals(f"{metric} of all methods in all designs", panels, axis)
    path.write_text(text, encoding="utf-8")
    return True


def draw_training(parts: Sequence[Part], folder: Path, path: Path) -> bool:
    """Draw loss and validation AUROC of the networks trained in hold-outs, one line each.

    Args:
        parts: those of which no history was kept are left away.
        folder: where the networks' histories are.
        path: SVG file.

    Returns:
        Whether there was anything to draw.
    """
    charts: list[tuple[str, Chart]] = []
    for part in parts:
        kept = [folder_of(part.source, folder) / f"{o.split.name}.json" for o in part.outcomes]
        if part.source not in TRAINED or not part.held_out or not all(file.is_file() for file in kept):
            continue
        histories = [json.loads(file.read_text(encoding="utf-8"))["history"] for file in kept]
        epochs = Axis("Epoch", 1, max(2, max(map(len, histories))))
        for key, label, top in (("loss", "Training loss", None), ("validation_auroc", "AUROC, validation", 1.0)):
            values = [np.array([epoch[key] for epoch in history], dtype=np.float64) for history in histories]
            every = np.concatenate(values)
            low, high = (np.floor(10 * every.min()) / 10, top or np.ceil(10 * every.max()) / 10)
            lines = tuple(Line("", np.arange(1.0, len(v) + 1), v) for v in values)
            charts.append((f"{part.short}: {label}", Chart(label, epochs, Axis(label, low, high), lines, _CHART_PX)))
    if charts:
        path.write_text(standalone("Training of the networks, one line a hold-out", charts), encoding="utf-8")
    return bool(charts)
