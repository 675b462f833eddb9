"""`resight compare`: two models on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import result_json, result_table, say

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

    Args:
        a: first predictions table.
        b: second predictions table; differences are b less a.
        split: rows to compare; `test` where both have one, otherwise all.
        bootstrap: replicates by patient.
        seed: of the bootstrap.
        as_json: print the result for programs.
    """
    from resight.evaluation import EvaluationOptions
    from resight.evaluation.compare import compare as test
    from resight.predictions import Predictions
    from resight.settings import validate

    first, second = Predictions.read(a), Predictions.read(b)
    given = {"split": split, "bootstrap": bootstrap, "seed": seed}
    comparison = test(first, second, validate(EvaluationOptions, given, where="command line"))
    if as_json:
        result_json(comparison.to_dict())
        return 0
    columns = ("label", "AUROC a", "AUROC b", "b - a (DeLong)", "p", "p (Holm)", "McNemar p (Holm)")
    rows = [
        (
            label.label,
            f"{label.auroc_a.value:.3f}",
            f"{label.auroc_b.value:.3f}",
            label.difference,
            f"{label.p:.4f}",
            f"{label.p_holm:.4f}",
            f"{label.mcnemar_p_holm:.4f}",
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
