"""`resight data ...`: look at, import, split and check images and labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from resight.cli.cohort_arguments import CohortArguments
from resight.cli.console import check_free, fresh, progress_bars, result_json, say

if TYPE_CHECKING:
    from resight.types import Cohort

Json = Annotated[bool, Parameter("--json", negative="")]
Flag = Annotated[bool, Parameter(negative="")]


def inspect(cohort: CohortArguments, *, as_json: Json = False) -> int:
    """Count images, patients, labels, sizes and what is missing.

    Args:
        cohort: which images and labels.
        as_json: print the result for programs.
    """
    from resight.cohorts import inspect_cohort

    summary = inspect_cohort(cohort.load())
    if as_json:
        result_json(summary.to_dict())
    else:
        print(summary)
    return 0


def import_(cohort: CohortArguments, *, out: Path, force: Flag = False) -> int:
    """Write a cohort as the plain table that Resight reads.

    Args:
        cohort: which images and labels.
        out: CSV or Parquet file; image names in it are relative to the cohort's folder.
        force: replace `out`.
    """
    from resight.tables import write_table

    check_free(out, force=force)
    loaded = cohort.load()
    write_table(loaded.table, fresh(out, force=force))
    for note in loaded.notes:
        say(f"note: {note}")
    say(f"{len(loaded)} images, labels {', '.join(loaded.labels)}, below {loaded.root}: {out}")
    return 0


def split(
    cohort: CohortArguments,
    *,
    out: Path,
    group: str = "patient_id",
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    folds: int = 0,
    clusters: Path | None = None,
    seed: int = 0,
    force: Flag = False,
) -> int:
    """Split by patient, stratified, and write the table.

    Args:
        cohort: which images and labels.
        out: CSV or Parquet file.
        group: column whose equal values stay together; `none` splits by image.
        fractions: shares of train, validation and test.
        folds: also number the images of train and validation 0 to k-1 in a column `fold`.
        clusters: table of near-duplicates that stay together, as `leakcheck --clusters` writes it.
        seed: another seed gives another split.
        force: replace `out`.
    """
    from resight.cohorts import SplitOptions, assign_folds, split_cohort
    from resight.settings import validate
    from resight.tables import write_table

    given = {"group": group, "fractions": fractions, "clusters": clusters, "seed": seed}
    options = validate(SplitOptions, given, where="command line")
    check_free(out, force=force)
    done = split_cohort(cohort.load(), options)
    table = done.table
    if folds:
        learning = (table["split"] != "test").to_numpy()
        folded = assign_folds(done.rows(learning), folds, seed, group=options.group, clusters=clusters)
        table = table.assign(fold=-1)
        table.loc[learning, "fold"] = folded.table["fold"].to_numpy()
    write_table(table, fresh(out, force=force))
    for note in done.notes:
        say(f"note: {note}")
    say(f"written: {out}")
    return 0


def leakcheck(
    cohort: CohortArguments,
    *,
    split_column: str | None = None,
    clusters: Path | None = None,
    without_images: Flag = False,
    strict: Flag = False,
    force: Flag = False,
    as_json: Json = False,
) -> int:
    """Find shared patients, duplicates, and metadata that give the label away.

    Ends with 4 when training and test share patients or images.

    Args:
        cohort: which images and labels.
        split_column: column with the split to judge, or with folds.
        clusters: write the clusters of duplicates there, to be used as split groups.
        without_images: only look at the table.
        strict: anything suspect counts as failure.
        force: replace `clusters`.
        as_json: print the result for programs.
    """
    from resight.cohorts import LeakOptions
    from resight.cohorts import leakcheck as check
    from resight.tables import write_table

    check_free(clusters, force=force)
    loaded = cohort.load()
    if split_column:
        loaded = _with_split(loaded, split_column)
    options = LeakOptions(images=False if without_images else None, strict=strict)
    with progress_bars() as progress:
        report = check(loaded, options, progress=lambda done, total: progress("look", done, total, ""))
    if clusters:
        write_table(report.clusters, fresh(clusters, force=force))
    if as_json:
        result_json(report.to_dict())
    else:
        print(report)
    return report.exit_code


def datasheet(cohort: CohortArguments, *, out: Path | None = None, force: Flag = False) -> int:
    """Write the datasheet of a cohort.

    Args:
        cohort: which images and labels.
        out: Markdown file; the terminal when not given.
        force: replace `out`.
    """
    from resight.cohorts import datasheet as write
    from resight.cohorts import inspect_cohort
    from resight.cohorts import leakcheck as check

    check_free(out, force=force)
    loaded = cohort.load()
    with progress_bars() as progress:
        leaks = check(loaded, progress=lambda done, total: progress("look", done, total, ""))
    text = write(loaded, summary=inspect_cohort(loaded), leaks=leaks)
    if out is None:
        sys.stdout.write(text)
    else:
        fresh(out, force=force).write_text(text, encoding="utf-8")
        say(f"written: {out}")
    return 0


def phantom(
    out: Path,
    *,
    kind: Literal["xray", "ct", "mr", "table", "modalities", "prognosis"] = "xray",
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None,
    force: Flag = False,
) -> int:
    """Draw a phantom cohort with planted truth.

    Args:
        out: folder.
        kind: chest X-rays with up to 14 findings, CT volumes of the chest with nodules, MR volumes of the brain with
            lesions, a label that only image and table or only two images tell together, or times to an event.
        option: any option of the phantom, for example `images=500` or `label_noise=0.1`.
        force: replace `out`.
    """
    from resight.cohorts import (
        CombinationOptions,
        PhantomOptions,
        VolumePhantomOptions,
        write_combination,
        write_phantom,
        write_volume_phantom,
    )
    from resight.settings import parse_overrides, validate

    given = parse_overrides(option or [])
    if kind == "xray":
        drawn = write_phantom(validate(PhantomOptions, given, where="command line"), fresh(out, force=force))
    elif kind in ("ct", "mr"):
        volumes = validate(VolumePhantomOptions, given | {"kind": kind}, where="command line")
        drawn = write_volume_phantom(volumes, fresh(out, force=force))
    else:
        combination = validate(CombinationOptions, given | {"kind": kind}, where="command line")
        drawn = write_combination(combination, fresh(out, force=force))
    say(f"{len(drawn)} images, labels {', '.join(drawn.labels)}: {out / 'cohort.csv'}")
    return 0


def deidentify(
    source: Path,
    out: Path,
    *,
    key_file: Path,
    dates: Literal["remove", "shift"] = "remove",
    force: Flag = False,
    as_json: Json = False,
) -> int:
    """Take the identity out of DICOM files; pixels are not changed.

    Ends with 4 when no file could be written.

    Args:
        source: folder with DICOM files, or one file.
        out: folder for the files without identity and `deidentified.csv`, the log of what became of each.
        key_file: secret, and old beside new names: keep it apart. It is made here, or taken where there is one.
        dates: `remove` them, or `shift` them by days that differ from patient to patient.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.errors import DataError, similar_path
    from resight.imaging.deidentify_folder import LOG_FILE, deidentify_folder, require_apart

    if not source.exists():
        raise DataError("no such file or folder", where=str(source), fix=similar_path(source))
    require_apart(source, out, key_file)  # before what is there is replaced
    with progress_bars() as progress:
        done = deidentify_folder(source, fresh(out, force=force), key_file, dates=dates, progress=progress)
    if as_json:
        result_json({"files": len(done.log), "written": done.written, "errors": done.errors})
    for reason, count in done.errors.items():
        say(f"{count} files left out: {reason}")
    warned = int(done.log["notes"].str.contains("pixels").sum())
    if warned:
        say(f"{warned} files may show text in their pixels: see {out / LOG_FILE}")
    say(f"{done.written} of {len(done.log)} files without identity: {out}")
    return 0 if done.written else DataError.exit_code


def _with_split(cohort: Cohort, column: str) -> Cohort:
    from dataclasses import replace

    from resight.cohorts.columns import as_text, is_split_name, split_names
    from resight.errors import CohortError
    from resight.tables import require_columns

    require_columns(cohort.table, column, error=CohortError, where=cohort.name)
    parts = as_text(cohort.table[column])
    if parts.map(is_split_name).any():  # otherwise numbers of folds, or sites
        parts = split_names(parts, f"{cohort.name}, column {column!r}")
    return replace(cohort, table=cohort.table.assign(split=parts.where(parts != "", "unknown")))
