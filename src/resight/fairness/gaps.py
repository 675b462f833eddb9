"""How far the groups of one attribute lie apart: equalised-odds and calibration gaps, and the worst group.

The equalised-odds gap is the larger of the gaps of sensitivity and FPR (Hardt et al. 2016; Fairlearn's
`equalized_odds_difference`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from resight.evaluation.groups import Grouping
from resight.evaluation.measures import Block
from resight.evaluation.resampling import with_percentiles
from resight.fairness.results import Audit, Gap
from resight.types import MetricValue

_GAPS: Mapping[str, Callable[[float], float]] = {
    "auroc": lambda value: value,
    "sensitivity": lambda value: value,
    "fpr": lambda value: -value,
    "selection_rate": lambda value: value,
    "observed_minus_expected": lambda value: -abs(value),
}
"""Metrics whose gaps are given, and how good a value is."""
Blocks = Mapping[tuple[str, int, int], Sequence[Block]]


def gaps(groupings: Sequence[Grouping], labels: Sequence[str], blocks: Blocks, confidence: float) -> tuple[Gap, ...]:
    """Gaps of every attribute and label.

    Args:
        groupings: the groups.
        labels: names of the labels.
        blocks: metrics and their replicates by attribute, number of the group, and number of the label.
        confidence: coverage; intervals are percentiles of the bootstrap by patient.
    """
    return tuple(
        gap
        for grouping in groupings
        for column, label in enumerate(labels)
        for gap in _of_label(grouping, column, label, blocks, confidence)
    )


def widest_gaps(found: Audit, metrics: Sequence[str]) -> Iterator[Gap]:
    """Of every attribute the label with the widest gap in each metric, where two groups or more are estimable.

    Args:
        found: the audit.
        metrics: of the gaps, in the order wanted.
    """
    for attribute in dict.fromkeys(gap.attribute for gap in found.gaps):
        for metric in metrics:
            known = [g for g in found.gaps if g.attribute == attribute and g.metric == metric and g.worst]
            if known:
                yield max(known, key=lambda gap: gap.gap.value)


def _of_label(grouping: Grouping, column: int, label: str, blocks: Blocks, confidence: float) -> Iterator[Gap]:
    drawn: dict[str, Float[np.ndarray, " R"]] = {}
    found: dict[str, Gap] = {}
    for metric, goodness in _GAPS.items():
        known = [
            (group, value, replicates)
            for number, group in enumerate(grouping.groups)
            for value, replicates in [_of_group(blocks[grouping.name, number, column], metric)]
            if not np.isnan(value)
        ]
        if len(known) < 2:
            reason = f"{len(known)} group(s) of {len(grouping.groups)} estimable"
            found[metric] = Gap(
                grouping.name, label, metric, MetricValue.undefined(reason, len(known)), "", "", len(known)
            )
            continue
        values = [value for _, value, _ in known]
        ordered = sorted(known, key=lambda one: goodness(one[1]))
        gap = MetricValue(max(values) - min(values), n=len(known))
        if all(replicates is not None for _, _, replicates in known):
            table = np.stack([replicates for _, _, replicates in known if replicates is not None])
            drawn[metric] = table.max(axis=0) - table.min(axis=0)
            gap = with_percentiles(gap, drawn[metric], confidence)
        found[metric] = Gap(grouping.name, label, metric, gap, ordered[0][0], ordered[-1][0], len(known))
    yield _odds(found, drawn, confidence)
    yield from found.values()


def _odds(found: Mapping[str, Gap], drawn: Mapping[str, Float[np.ndarray, " R"]], confidence: float) -> Gap:
    parts = [found["sensitivity"], found["fpr"]]
    first = parts[0]
    undefined = [part for part in parts if np.isnan(part.gap.value)]
    if undefined:
        return Gap(first.attribute, first.label, "equalised_odds", undefined[0].gap, "", "", undefined[0].groups)
    larger = max(parts, key=lambda part: part.gap.value)
    gap = MetricValue(larger.gap.value, n=min(part.groups for part in parts))
    if {"sensitivity", "fpr"} <= set(drawn):
        gap = with_percentiles(gap, np.maximum(drawn["sensitivity"], drawn["fpr"]), confidence)
    return Gap(first.attribute, first.label, "equalised_odds", gap, larger.worst, larger.best, gap.n)


def _of_group(blocks: Sequence[Block], metric: str) -> tuple[float, Float[np.ndarray, " R"] | None]:
    block = next((block for block in blocks if metric in block.values), None)
    if block is None:
        return np.nan, None
    return block.values[metric].value, block.replicates.get(metric)
