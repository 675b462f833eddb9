"""The model card of a bundle (Mitchell et al. 2019, section 4): its manifest for people, with nothing added."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from resight.models.manifest import Manifest

_MOST_FIGURES = 80
"""A card is read by people; all figures stand in the manifest."""


def render_card(manifest: Manifest) -> str:
    """The card as Markdown."""
    network = f"{manifest.model.backbone['name']} with head {manifest.model.head['name']}"
    together = (
        f", {manifest.members} networks ({manifest.combination.replace('_', ' ')})" if manifest.members > 1 else ""
    )
    size = " x ".join(map(str, manifest.recipe.size_px))
    interface = (
        f"Input: images of {manifest.channels} channel(s), brought to {size} pixels by the recipe in the manifest",
        *_inputs(manifest),
        f"Output: {manifest.task}, {len(manifest.labels)} label(s): {', '.join(manifest.labels)}",
        f"Network: {network}{together}",
        "Probabilities: " + _calibration(manifest),
        "Sets of answers: " + _sets(manifest),
    )
    sections = (
        (
            f"# {manifest.name}",
            f"Made {manifest.created or 'at an unknown time'}; bundle format {manifest.format_version}.",
        ),
        ("## Intended use", manifest.intended_use or "Not stated by the maker."),
        ("## Limits", _bullets(manifest.limits) or "None were stated, which does not mean that there are none."),
        ("## Input and output", _bullets(interface)),
        ("## Operating points", _operating_points(manifest)),
        ("## Figures", _figures(manifest.metrics)),
        *((f"## {heading}", _bullets(sentences)) for heading, sentences in manifest.trust.items() if sentences),
        ("## In use", _in_use(manifest)),
        ("## Data", _bullets(f"{key}: {_plain(value)}" for key, value in manifest.data.items()) or "Not recorded."),
    )
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections) + "\n"


def _inputs(manifest: Manifest) -> Iterator[str]:
    """What is read besides one image."""
    if manifest.modalities:
        yield f"Images of each patient: {', '.join(manifest.modalities)}"
    if manifest.encoding is not None and manifest.model.fusion is not None:
        yield f"Clinical columns: {', '.join(manifest.encoding.names)}, joined by {manifest.model.fusion['name']}"
    if manifest.horizons:
        yield f"Prognosis: hazards of {len(manifest.horizons)} intervals of time up to {manifest.horizons[-1]:g}"


def _calibration(manifest: Manifest) -> str:
    if manifest.calibration is None:
        return "not calibrated; scores are no probabilities"
    return "calibrated by " + ", ".join(sorted({label.method for label in manifest.calibration.labels}))


def _sets(manifest: Manifest) -> str:
    if manifest.conformal is None:
        return "none"
    kind = manifest.conformal.method.replace("_", " ")
    rule = manifest.conformal.rule
    within = "" if rule is None else f", also within each group by {rule.by}"
    return f"conformal, {kind}, made to hold the truth for {manifest.conformal.coverage:.0%} of new patients{within}"


def _operating_points(manifest: Manifest) -> str:
    if not manifest.operating_points:
        return "None: the model gives probabilities and no decisions."
    rows = [
        (
            point.name,
            point.label,
            f"{point.threshold:.4g}",
            _rate(point.sensitivity),
            _rate(point.specificity),
            point.chosen_on,
        )
        for point in manifest.operating_points
    ]
    return _table(("name", "label", "threshold", "sensitivity", "specificity", "chosen on"), rows)


def _in_use(manifest: Manifest) -> str:
    if manifest.reference is None:
        return "The bundle carries no reference: whether incoming cases have drifted cannot be told from it."
    watched = [*manifest.reference.get("numbers", {}), *manifest.reference.get("categories", {})]
    return (
        f"`resight monitor` compares incoming cases with {manifest.reference.get('rows')} held-out patients in: "
        f"{', '.join(watched)}."
    )


def _rate(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def _figures(metrics: Mapping[str, Any]) -> str:
    rows = list(_walk(metrics, ()))
    if not rows:
        return "None were recorded. Nothing is known of how well the model works."
    text = _table(("figure", "value", "interval", "n"), rows[:_MOST_FIGURES])
    if len(rows) > _MOST_FIGURES:
        text += f"\n\n{len(rows) - _MOST_FIGURES} more stand in the manifest."
    if measured_on := metrics.get("evaluated_on"):
        text = f"Measured on the {measured_on} images of the cohort below.\n\n{text}"
    return text


def _walk(node: object, path: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    """Every figure below a node: what has a `value`, or is a fraction; those of single labels after all others."""
    if isinstance(node, Mapping) and "value" in node:
        value, low, high, n = (node.get(key) for key in ("value", "low", "high", "n"))
        shown = f"not estimable ({node.get('undefined_because')})" if _missing(value) else f"{value:.3f}"
        interval = "" if _missing(low) or _missing(high) else f"{low:.3f} to {high:.3f}"
        yield " / ".join(path), shown, interval, str(n or "")
    elif isinstance(node, Mapping):
        for key, child in sorted(node.items(), key=lambda item: isinstance(item[1], list)):
            yield from _walk(child, (*path, str(key)))
    elif isinstance(node, list):
        for child in node:
            if isinstance(child, Mapping) and "label" in child:
                yield from _walk(child.get("metrics"), (str(child["label"]),))
    elif isinstance(node, float) and not _missing(node):
        yield " / ".join(path), f"{node:.3f}", "", ""


def _missing(value: Any) -> bool:
    return value is None or math.isnan(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(child)}" for key, child in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_plain, value)) or "none"
    return str(value)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (header, ("---",) * len(header), *rows)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
