"""Two models on the same images: is one better, or is it chance?

Paired DeLong for AUROCs (DeLong et al. 1988), McNemar's exact test for decisions, the same bootstrap draws of patients
for everything else, and Holm's correction over labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from resight.errors import PredictionsError
from resight.evaluation.delong import auroc_with_interval, paired_difference
from resight.evaluation.measures import Block, decision_block, macro_means, probability_block, ranking_block, resample
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.resampling import patient_index, with_percentiles
from resight.evaluation.rows import hard_mask, select_split
from resight.evaluation.significance import McNemar, holm, mcnemar
from resight.predictions import Predictions
from resight.settings import plain
from resight.types import MetricValue


@dataclass(frozen=True)
class LabelComparison:
    """One label of two models.

    Attributes:
        label: its name.
        auroc_a: of the first model.
        auroc_b: of the second.
        difference: second less first, with the paired DeLong interval (by patient where patients repeat).
        p: two-sided, that the AUROCs are equal; NaN where it is not estimable, with a note of the comparison.
        p_holm: corrected for all labels compared.
        mcnemar: of the decisions; None where a table has none.
        mcnemar_p_holm: its exact p, corrected for all labels compared.
        differences: second less first for other metrics, with bootstrap intervals by patient.
    """

    label: str
    auroc_a: MetricValue
    auroc_b: MetricValue
    difference: MetricValue
    p: float
    p_holm: float
    mcnemar: McNemar | None
    mcnemar_p_holm: float
    differences: Mapping[str, MetricValue]


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        labels: one by one.
        macro: mean AUROC over the estimable labels: second less first, with a bootstrap interval by patient.
        images: compared.
        patients: among them.
        notes: what was left out.
        confidence: of the intervals.
    """

    labels: tuple[LabelComparison, ...]
    macro: MetricValue
    images: int
    patients: int
    notes: tuple[str, ...]
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return plain(self)


def compare(a: Predictions, b: Predictions, options: EvaluationOptions | None = None) -> Comparison:
    """Compare two models' predictions.

    Rows are matched by image and label; their order does not matter. A row counts where it counts in both tables.
    Probabilities are compared, and images ranked by them, where both tables hold some, otherwise scores; decisions
    where both hold some.

    Args:
        a: predictions of the first model.
        b: predictions of the second, for the same images, labels and targets.
        options: intervals, bootstrap, and the split; the test rows where unset and the first table has any. A second
            table without a `split` column is cut to the images of the first.

    Raises:
        PredictionsError: the tables differ in images, labels, targets or patients; the first difference is named.
    """
    options = options or EvaluationOptions()
    a, b, notes = matched(a, b, options.split)
    patients, n_patients = patient_index(a.groups())
    # a table recalibrated by group ranks anew while its scores are still those of the network
    ranked_by = "probability" if all(table.has("probability") for table in (a, b)) else "score"
    counts = [hard_mask(table) & ~np.isnan(table.array(ranked_by)) for table in (a, b)]
    mask = counts[0] & counts[1]
    if not mask.any():
        raise PredictionsError("no row counts in both tables", where="comparison", expected="targets 0 and 1")
    left = int((counts[0] ^ counts[1]).sum())
    columns = range(len(a.labels))
    pairs = [
        tuple(_blocks(table, label, mask[:, label], patients, (a, b), ranked_by, options) for table in (a, b))
        for label in columns
    ]
    resample([block for pair in pairs for blocks in pair for block in blocks], patients, n_patients, options)
    differing = [
        [_difference(*both, options.confidence) for both in zip(of_a, of_b, strict=True)] for of_a, of_b in pairs
    ]
    found = [
        _compare_label(a, b, label, mask[:, label], patients, differing[label], ranked_by, options) for label in columns
    ]
    p_holm = holm([result.p for result in found])
    mcnemar_p_holm = holm([math.nan if result.mcnemar is None else result.mcnemar.p for result in found])
    return Comparison(
        labels=tuple(
            replace(result, p_holm=p, mcnemar_p_holm=q)
            for result, p, q in zip(found, p_holm, mcnemar_p_holm, strict=True)
        ),
        macro=macro_means([blocks[0] for blocks in differing], options.confidence)["auroc"],
        images=len(a),
        patients=n_patients,
        notes=(
            *notes,
            *([f"{left} rows count in one table only and are left out"] if left else []),
            *(f"{result.label}: no p: {_why_no_p(result)}" for result in found if math.isnan(result.p)),
        ),
        confidence=options.confidence,
    )


def matched(a: Predictions, b: Predictions, split: str | None) -> tuple[Predictions, Predictions, list[str]]:
    """The rows of two tables that are compared, in the order of the first, and notes.

    Args:
        a: first table.
        b: second table; without a `split` column it is cut to the images of the first.
        split: rows to compare; the test rows where unset and the first table has any.

    Raises:
        PredictionsError: the tables differ in images, labels, targets or patients; the first difference is named.
    """
    a, _, notes = select_split(a, split)
    if "split" in b.table.columns:
        b, _, _ = select_split(b, split)
    else:
        chosen = b.table["image"].isin(set(a.table["image"]))
        b = replace(b, table=b.table.loc[chosen].reset_index(drop=True))
    return a, _aligned(a, b), notes


def _blocks(
    table: Predictions,
    label: int,
    rows: Bool[np.ndarray, " N"],
    patients: Int[np.ndarray, " N"],
    both: tuple[Predictions, Predictions],
    ranked_by: str,
    options: EvaluationOptions,
) -> list[Block]:
    """The metrics of one model and label; those of decisions on the rows that both models decided."""
    y, owner = table.targets()[rows, label], patients[rows]
    blocks = [ranking_block(rows, y, table.array(ranked_by)[rows, label], owner, options)]
    if ranked_by == "probability":
        blocks.append(probability_block(rows, y, table.array("probability")[rows, label], owner, options))
    if all(each.has("decision") for each in both):
        decided = rows & ~np.any([np.isnan(each.array("decision")[:, label]) for each in both], axis=0)
        called = table.array("decision")[decided, label]
        blocks.append(decision_block(decided, table.targets()[decided, label], called, patients[decided], options))
    return blocks


def _difference(a: Block, b: Block, confidence: float) -> Block:
    """Second less first, with replicates and percentile intervals of the difference."""
    replicates = {name: b.replicates[name] - a.replicates[name] for name in a.replicates if name in b.replicates}
    values: dict[str, MetricValue] = {}
    for name, first in a.values.items():
        second = b.values[name]
        reason = first.undefined_because or second.undefined_because
        if reason:
            values[name] = MetricValue.undefined(reason, n=first.n)
            continue
        values[name] = MetricValue(second.value - first.value, n=first.n)
        if name in replicates:
            values[name] = with_percentiles(values[name], replicates[name], confidence)
    return Block(a.rows, values, replicates=replicates)


def _compare_label(
    a: Predictions,
    b: Predictions,
    label: int,
    rows: Bool[np.ndarray, " N"],
    patients: Int[np.ndarray, " N"],
    differing: list[Block],
    ranked_by: str,
    options: EvaluationOptions,
) -> LabelComparison:
    y, owner = a.targets()[rows, label], patients[rows]
    scores = np.stack([table.array(ranked_by)[rows, label] for table in (a, b)])
    aurocs = [auroc_with_interval(y, s, owner, confidence=options.confidence) for s in scores]
    difference, p = paired_difference(y, scores, owner, confidence=options.confidence)
    tested = None
    if a.has("decision") and b.has("decision"):
        decisions = np.stack([table.array("decision")[rows, label] for table in (a, b)])
        decided = ~np.isnan(decisions).any(axis=0)
        right = (decisions[:, decided] > 0) == (y[decided] > 0)
        tested = mcnemar(right[0], right[1], owner[decided])
    return LabelComparison(
        label=a.labels[label],
        auroc_a=aurocs[0],
        auroc_b=aurocs[1],
        difference=difference,
        p=p,
        p_holm=math.nan,
        mcnemar=tested,
        mcnemar_p_holm=math.nan,
        differences={k: v for block in differing for k, v in block.values.items() if k != "auroc"},
    )


def _why_no_p(result: LabelComparison) -> str:
    return result.difference.undefined_because or "one patient holds all positives, or all negatives"


def _aligned(a: Predictions, b: Predictions) -> Predictions:
    """The second table in the order of the first, after checking that both speak of the same things."""
    for kind, ours, theirs in (
        ("label", a.labels, b.labels),
        ("image", a.images()["image"].astype(str), b.images()["image"].astype(str)),
    ):
        only = sorted(set(ours) ^ set(theirs))
        if only:
            raise PredictionsError(
                f"{kind} {only[0]!r} is in the {'first' if only[0] in set(ours) else 'second'} table only "
                f"({len(only)} such {kind}s)",
                where="comparison",
                expected=f"the same {kind}s in both tables",
            )
    index = pd.MultiIndex.from_frame(b.table[["image", "label"]].astype(str))
    order = index.get_indexer(pd.MultiIndex.from_frame(a.table[["image", "label"]].astype(str)))
    b = Predictions(b.table.iloc[order].reset_index(drop=True), a.labels, b.task)
    for table in (a, b):
        if "target" not in table.table.columns:
            raise PredictionsError("no column 'target'", where="comparison", expected="targets in both tables")
    ours, theirs = a.targets(), b.targets()
    unequal = (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    images = a.images()["image"]
    if unequal.any():
        row, column = np.argwhere(unequal)[0]
        raise PredictionsError(
            f"image {images.iloc[row]!r} has targets {ours[row, column]:g} and {theirs[row, column]:g} for label "
            f"{a.labels[column]!r} ({int(unequal.sum())} targets differ)",
            where="comparison",
            expected="the same targets in both tables",
        )
    strangers = a.groups() != b.groups()
    if all("patient_id" in table.table.columns for table in (a, b)) and strangers.any():
        row = int(strangers.argmax())
        raise PredictionsError(
            f"image {images.iloc[row]!r} belongs to patients {a.groups()[row]!r} and {b.groups()[row]!r}",
            where="comparison",
            expected="the same patients in both tables",
        )
    return b
