"""`resight zeroshot`: labels from their descriptions alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.cohort_arguments import CohortArguments
from resight.cli.console import fresh, progress_bars, result_json, result_table, say
from resight.cli.predict import bundle_folder


def zeroshot(
    bundle: Path,
    cohort: CohortArguments,
    *,
    descriptions: Path,
    feature_penalty: float = 10.0,
    description_penalty: float = 0.1,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Leave every label out in turn and judge it by its description alone (ESZSL).

    Args:
        bundle: folder of the bundle, or of the run that made it.
        cohort: which images and labels; fitted on all splits but test, judged on test.
        descriptions: table with `label` and either `text` or columns of numbers.
        feature_penalty: ridge penalty of the features, per image.
        description_penalty: ridge penalty of the descriptions.
        out: also write the result there, as JSON.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.errors import CohortError
    from resight.fewshot import ZeroShotOptions, cohort_features, leave_one_label_out, read_descriptions
    from resight.models import Predictor
    from resight.settings import validate, write_json

    given = {"feature_penalty": feature_penalty, "description_penalty": description_penalty}
    options = validate(ZeroShotOptions, given, where="command line")
    loaded = cohort.load()
    described = read_descriptions(descriptions, loaded.labels)
    with progress_bars() as progress:
        found = cohort_features(Predictor.load(bundle_folder(bundle)), loaded, progress)
    test, targets = found.held_out, found.targets()
    if test.all():
        raise CohortError("no test split", where=loaded.name, fix="Split the cohort first: resight data split.")
    result = leave_one_label_out(
        (found.features[~test], targets[~test]),
        (found.features[test], targets[test]),
        loaded.labels,
        described,
        found.patients[test],
        options,
    )
    if out is not None:
        write_json(fresh(out, force=force), result)
        say(f"written: {out}")
    if as_json:
        result_json(result)
        return 0
    rows = [(one.label, one.auroc, one.taught) for one in result.labels]
    title = f"mean of unseen labels {result.mean_unseen}, harmonic mean with seen ones {result.harmonic:.3f}"
    result_table(("label", "AUROC while unseen", "AUROC when taught"), rows, title=title)
    return 0
