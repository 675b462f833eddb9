"""`resight compare`: two models on the same images."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resight.cli.console import result_json, result_table, say
from resight.cli.results import estimate, p_value

if TYPE_CHECKING:
    from resight.evaluation import PrognosisComparison

_OF_PROBABILITIES = {
    "brier": "Brier score",
    "ece": "ECE",
    "calibration_intercept": "calibration intercept",
    "calibration_slope": "calibration slope",
}


def compare(
    a: Path,
    b: Path,
    *,
    split: str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Test two predictions tables of the same images against each other.

    Two prognoses are compared by Uno's concordance.

    Args:
        a: first predictions table.
        b: second predictions table; differences are b less a.
        split: rows to compare; `test` where both have one, otherwise all.
        bootstrap: replicates by patient.
        seed: of the bootstrap.
        as_json: print the result for programs.
    """
    from resight.evaluation import EvaluationOptions, compare_prognosis_tables, is_prognosis
    from resight.evaluation.compare import compare as test
    from resight.predictions import Predictions
    from resight.settings import validate

    first, second = Predictions.read(a), Predictions.read(b)
    given = {"split": split, "bootstrap": bootstrap, "seed": seed}
    options = validate(EvaluationOptions, given, where="command line")
    if is_prognosis(first) or is_prognosis(second):
        return _prognoses(compare_prognosis_tables(first, second, options), as_json)
    comparison = test(first, second, options)
    if as_json:
        result_json(comparison.to_dict())
        return 0
    columns = ("label", "AUROC a", "AUROC b", "b - a (DeLong)", "p", "p (Holm)", "McNemar p (Holm)")
    rows = [
        (
            label.label,
            *(estimate(a) if isnan(a.value) else f"{a.value:.3f}" for a in (label.auroc_a, label.auroc_b)),
            label.difference,
            *map(p_value, (label.p, label.p_holm, label.mcnemar_p_holm)),
        )
        for label in comparison.labels
    ]
    title = f"{comparison.images} images, {comparison.patients} patients; mean AUROC b - a: {comparison.macro}"
    result_table(columns, rows, title=title)
    measured = [
        (label.label, *(label.differences[name] for name in _OF_PROBABILITIES))
        for label in comparison.labels
        if "brier" in label.differences
    ]
    if measured:
        result_table(("label", *_OF_PROBABILITIES.values()), measured, title="Probabilities, b - a")
    for note in comparison.notes:
        say(f"note: {note}")
    return 0


def _prognoses(comparison: PrognosisComparison, as_json: bool) -> int:
    if as_json:
        result_json(comparison.to_dict())
        return 0
    result_table(
        ("concordance (Uno) a", "concordance (Uno) b", "b - a", "p"),
        [(str(comparison.uno_a), str(comparison.uno_b), comparison.difference, p_value(comparison.p))],
        title=f"{comparison.events} events among {comparison.images} images of {comparison.patients} patients",
    )
    for note in comparison.notes:
        say(f"note: {note}")
    return 0
