"""`resight evaluate`: judge a predictions table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, deliver
from resight.cli.results import show_evaluation, show_prognosis


def evaluate(
    predictions: Path,
    *,
    split: str | None = None,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Judge a predictions table, whoever made it.

    Needed are the columns `image`, `label`, `target` and one of `probability`, `score`, `logit`; `patient_id` makes
    intervals honest, `split` selects, attributes serve the metadata-only baseline. With `time`, `event` and `horizon`
    the labels are hazards of intervals of time, and the prognosis is judged as well.

    Args:
        predictions: CSV or Parquet.
        split: rows to judge; `test` where there is one, otherwise all.
        bootstrap: replicates by patient; 0 leaves bootstrap intervals away.
        confidence: coverage of the intervals.
        seed: of the bootstrap.
        out: also write all figures there, as JSON.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.evaluation import EvaluationOptions, evaluate_prognosis, is_prognosis
    from resight.evaluation import evaluate as judge
    from resight.predictions import Predictions
    from resight.settings import validate

    given = {"split": split, "bootstrap": bootstrap, "confidence": confidence, "seed": seed}
    options = validate(EvaluationOptions, given, where="command line")
    check_free(out, force=force)
    table = Predictions.read(predictions)
    prognosis = evaluate_prognosis(table, options) if is_prognosis(table) else None
    evaluation = judge(table, options) if prognosis is None or table.has("target") else None
    found = {} if evaluation is None else evaluation.to_dict()
    found |= {} if prognosis is None else {"prognosis": prognosis.to_dict()}
    if deliver(found, out=out, force=force, as_json=as_json):
        return 0
    if evaluation is not None:
        show_evaluation(evaluation, f"{predictions.name}: {evaluation.images} images, {evaluation.patients} patients")
    if prognosis is not None:
        show_prognosis(prognosis)
    return 0
