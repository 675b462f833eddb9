"""The section on explanations: whether maps may be shown at all, and what was measured of them."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from resight.evidence.figures import Axis, Chart, Line, legend
from resight.evidence.page import Section
from resight.evidence.plots import Figure, Group
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, plural
from resight.explain import MapScores, Verdict
from resight.types import MetricValue

_FAITHFULNESS = {
    "gain": ("Showing less hiding what is marked", "0 for a random order; more is better"),
    "road": ("The same with removed pixels filled in (ROAD)", "0 for a random order; more is better"),
    "deletion_auc": ("Area under the curve of hiding", "less is better"),
    "insertion_auc": ("Area under the curve of showing", "more is better"),
    "infidelity": ("Infidelity, in squared logits", "0 is best"),
    "max_sensitivity": ("Largest change of the map when the image hardly changes", "0 is steady"),
}
_PLACES = (("pointing", "Pointing game"), ("iou", "IoU"), ("energy", "Evidence inside"))


def verdict_words(method: str, found: Verdict) -> str:
    """One sentence on whether maps may be trusted, with every reason why not."""
    if not found.passed:
        return f"The {method} maps are not trustworthy here: {' '.join(found.reasons)}"
    checks = ["they change when the weights are random"]
    if "spearman_permuted_labels" in found.measures:
        checks.append("they change when the labels are permuted")
    checks.append("hiding what they mark matters more than chance")
    if "pointing" in found.measures:
        checks.append("they hit findings more often than the centre of the image does")
    return f"The {method} maps passed their checks: {', '.join(checks[:-1])}, and {checks[-1]}."


def explanation_section(scores: MapScores) -> Section:
    """What was measured of maps, with the curves of hiding and showing."""
    tables: list[Table] = []
    if scores.places:
        head = ("", *(name for _, name in _PLACES))
        rows = [
            Row((name.capitalize(), *(cell(getattr(found, measure)) for measure, _ in _PLACES)))
            for name, found in scores.places.items()
        ]
        tables.append(Table("Do they lie where the finding is", head, tuple(rows)))
    if scores.faithfulness:
        rows = [
            Row((words, cell(scores.faithfulness[name]), how))
            for name, (words, how) in _FAITHFULNESS.items()
            if name in scores.faithfulness
        ]
        tables.append(Table("Does the answer depend on what they mark", ("", "Mean", "Read as"), tuple(rows)))
    if scores.other_models:
        rows = [Row((name.capitalize(), cell(value))) for name, value in scores.other_models.items()]
        note = "Rank correlation with the maps of other networks: 1 is the same map, near 0 is what should be."
        tables.append(Table("Do they depend on the model", ("", "Rank correlation"), tuple(rows), note=note))
    return Section(
        "Explanations",
        how="A map persuades whether or not it says anything about the model, so maps are put to the test.",
        sentences=(
            verdict_words(scores.method, scores.verdict),
            f"Measured on {plural(scores.pairs, 'map')} of {plural(scores.images, 'image')}.",
        ),
        charts=_charts(scores),
        tables=tuple(tables),
        notes=scores.notes,
    )


def _charts(scores: MapScores) -> Group | None:
    if not scores.curves:
        return None
    share, hiding, showing = (np.asarray(scores.curves[name]) for name in ("share", "deletion", "insertion"))
    lines = (
        Line("Showing the strongest evidence first", share, showing),
        Line("Hiding it first", share, hiding, "second"),
    )
    answer = Chart(
        "Probability while evidence is shown or hidden", Axis("Share of the pixels"), Axis("Probability"), lines
    )
    figures = [Figure("Hiding and showing", answer.svg())]
    values = [value for name, value in scores.other_models.items() if "random" in name]
    if values:
        figures.append(Figure("Random weights, from the last layer on", _cascade(values)))
    return Group(tuple(figures), legend(lines))


def _cascade(values: list[MetricValue]) -> Markup:
    share = np.linspace(0, 1, len(values) + 1)
    line = Line(
        "Rank correlation",
        share,
        np.array([1.0, *(value.value for value in values)]),
        low=np.array([1.0, *(value.low for value in values)]),
        high=np.array([1.0, *(value.high for value in values)]),
        dots=True,
    )
    none = Line("No likeness", np.array([0.0, 1.0]), np.zeros(2), "reference")
    low = math.floor(10 * min([0.0, *(value.low for value in values if not math.isnan(value.low))])) / 10
    title = "Rank correlation with the trained model's maps while layers become random"
    return Chart(title, Axis("Share of layers that are random"), Axis("Rank correlation", low, 1.0), (none, line)).svg()
