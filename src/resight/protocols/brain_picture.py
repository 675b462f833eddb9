"""The course of the bat search as a small SVG file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resight.protocols.brain_measures import Part

_INCHES = (4.2, 3.0)
"""Width and height of one panel."""


def draw_courses(parts: Sequence[Part], path: Path) -> None:
    """Draw the fitness of every searched head against the generations, one panel per part, the mean over its splits.

    Args:
        parts: those without a search are left away.
        path: SVG file; the same parts give the same bytes.
    """
    import matplotlib as mpl  # slow to import, and only pictures need it
    from matplotlib.figure import Figure

    searched = [part for part in parts if part.outcomes[0].courses]
    if not searched:
        return
    with mpl.rc_context({"svg.hashsalt": "resight", "font.size": 8, "path.simplify": True}):
        figure = Figure(figsize=(_INCHES[0] * len(searched), _INCHES[1]), layout="constrained")
        for axes, part in zip(np.ravel(figure.subplots(1, len(searched))), searched, strict=True):
            for name in part.outcomes[0].courses:
                courses = np.array([outcome.courses[name] for outcome in part.outcomes])
                relative = (courses / courses[:, :1]).mean(axis=0)
                axes.plot(relative, label=name, linestyle="-" if name.endswith("weights") else "--")
            axes.set_xlabel("generation, 0 = the head as it came")
            axes.set_ylabel("error on left-out learning images")
            axes.set_title(f"{part.design}, {part.source} features")
            axes.legend(fontsize=6, frameon=False)
        figure.savefig(path, metadata={"Date": None})
