"""`resight export`: the network of a bundle for another engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from resight.cli.console import progress_bars, result_json, result_table, say
from resight.cli.predict import bundle_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resight.models import ExportRecord
    from resight.types import Cohort


def export(
    bundle: Path,
    *,
    to: Literal["onnx", "openvino"],
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    calibration: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    cohort: Path | None = None,
    split: str | None = None,
    option: Annotated[list[str] | None, Parameter(negative="")] = None,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a bundle's network for ONNX Runtime or OpenVINO, beside the bundle, and measure what that changed.

    Args:
        bundle: folder of the bundle, or of the run that made it. For a run, calibration and comparison take its own
            training and test images where no others are named.
        to: the engine.
        precision: number format.
        calibration: files or folders of images like those the model will see, no test images; for int8.
        cohort: images with a reference standard, on which AUROC, probabilities and decisions are compared.
        split: only these rows of the cohort, for example `test`.
        option: how the cohort is read, for example `label_column=finding` or `positive=PNEUMONIA`.
        as_json: print the record for programs.
        force: replace an export of the same name.
    """
    from resight.models import export_bundle

    folder = bundle_folder(bundle)
    ranges: Sequence[Path] = calibration or ()
    judged_on = None if cohort is None else _cohort(cohort, split, option or [])
    if folder != bundle:
        from resight.experiments import cohort_of_run

        if precision == "int8" and not ranges:
            ranges = cohort_of_run(bundle, "train").paths
        judged_on = judged_on or cohort_of_run(bundle, "test")
    with progress_bars() as progress:
        record = export_bundle(
            folder,
            to,
            precision,
            calibration=ranges,
            judged_on=judged_on,
            replace=force,
            progress=progress,
        )
    say(f"written: {folder / 'engines' / record.name}")
    if as_json:
        result_json(record.model_dump(mode="json"))
    else:
        _show(record)
    return 0


def _cohort(path: Path, split: str | None, options: list[str]) -> Cohort:
    from resight.cli.cohort_arguments import CohortArguments
    from resight.errors import CohortError

    cohort = CohortArguments(path, option=options).load()
    if split is None:
        return cohort
    if "split" not in cohort.table.columns or not (cohort.table["split"] == split).any():
        raise CohortError(f"no rows of the split {split!r}", where=str(path))
    return cohort.part(split)


def _show(record: ExportRecord) -> None:
    rows = [
        ("largest logit difference, artificial images", f"{record.parity.max_logit_difference:.2g}"),
        ("allowed on other machines", f"{record.parity.limit:.2g}"),
    ]
    if found := record.comparison:
        change = found["macro_auroc_change"]
        interval = "" if change["low"] is None else f" ({change['low']:+.4f} to {change['high']:+.4f})"
        value = change["undefined_because"] if change["value"] is None else f"{change['value']:+.4f}{interval}"
        rows += [
            ("images with a reference standard", str(found["images"])),
            ("change of the mean AUROC", value),
            ("largest change of a probability", f"{found['max_probability_difference']:.2g}"),
        ]
        if found["changed_decisions"] is not None:
            rows.append(("changed decisions", f"{found['changed_decisions']} of {found['decisions']}"))
    result_table(("measured", "value"), rows, title=record.name)
