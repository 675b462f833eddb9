"""Predict any number of images in parts that are kept, here or over several processes, and join them once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from resight.bulk.job import Job, JobRecord, PartRecord, resumed
from resight.bulk.listing import ImageList
from resight.bulk.part import PartPredictor, Work
from resight.bulk.report import BulkReport, stage_rates
from resight.bulk.spread_ray import over_processes
from resight.errors import ImageError, OutputError, SettingsError
from resight.models import Manifest
from resight.models.bundle import MANIFEST_FILE
from resight.models.checksums import sha256
from resight.settings import plain, write_json
from resight.types import Progress, silent

Spread = Literal["local", "ray"]


def predict_in_parts(
    inputs: Sequence[str],
    work: Work,
    out: Path,
    parts: Path,
    *,
    spread: Spread = "local",
    processes: int | None = None,
    threads: int = 2,
    force: bool = False,
    progress: Progress = silent,
) -> BulkReport:
    """Predict images part by part; given again after an interruption, it goes on where it stopped.

    Memory holds the rows of one part, and of each process the images of two batches.

    Args:
        inputs: files, folders, DICOM series, tables with the column `image`, and URLs of any of these.
        work: bundle and options.
        out: the table, with the suffix of `work`; replaced if it exists.
        parts: folder of finished parts; what lies there of the same job is not computed again.
        spread: `local` predicts in this process, `ray` in several.
        processes: of `ray`; one for each core when not given.
        threads: of each process, that fetch and prepare images.
        force: begin anew where the folder holds parts of another job.
        progress: told after every part.

    Raises:
        SettingsError: an option is wrong, or a URL has an unknown scheme.
        BundleError: the bundle cannot be used.
        CohortError: a table cannot be read.
        ImageError: there are no images.
        OutputError: the folder holds other parts, or something cannot be written.
        DependencyError: a library is not installed.
        ResightError: a process failed.
    """
    _check(inputs, work, out, spread, processes, threads)
    job, notes = Job(parts), list[str]()
    with job.locked():
        local = PartPredictor(work, threads)
        local.check()
        manifest = local.predictor.manifest
        wanted = _record(inputs, work, manifest)
        record = _begun(job, wanted, force=force)
        if record is None:
            job.clear()
            images, repeated = ImageList.write(job.list_path, inputs, volumes=manifest.dims == 3)
            chosen = replace(work, engine=local.predictor.engine.name, precision=local.predictor.engine.precision)  # type: ignore[arg-type]
            record = replace(wanted, work=chosen, images=len(images), repeated=repeated)
            notes += local.predictor.engine_notes
            job.begin(record)
        images = ImageList(job.list_path)
        if record.images == 0:
            raise ImageError("no images", where=" ".join(inputs))
        work = resumed(work, record)
        if (local.predictor.engine.name, local.predictor.engine.precision) != (work.engine, work.precision):
            local = PartPredictor(work, threads)
        count = math.ceil(record.images / work.part_images)
        finished, problems = job.finished(work.suffix)
        before = set(finished)
        missing = [number for number in range(1, count + 1) if number not in before]
        done = sum(one.images for one in finished.values())
        begin = time.perf_counter()
        computed = (
            (local(images, number) for number in missing)
            if spread == "local"
            else over_processes(work, images, missing, processes=processes, threads=threads)
        )
        for part in computed:
            finished[part.number] = job.keep(part, work.suffix)
            done += part.images
            progress("predict", done, record.images, job.path(part.number, work.suffix).name)
        elapsed = time.perf_counter() - begin
        ordered = [finished[number] for number in range(1, count + 1)]
        job.assemble(ordered, work.suffix, out)
        report = _report(out, record, ordered, before, elapsed, (*notes, *problems))
        write_json(parts / "report.json", plain(asdict(report)))
    return report


def _check(inputs: Sequence[str], work: Work, out: Path, spread: Spread, processes: int | None, threads: int) -> None:
    if not inputs:
        raise SettingsError("nothing to predict", where="images", expected="files, folders, tables or URLs")
    if out.suffix != work.suffix:
        raise SettingsError(f"{out.name} for parts of {work.suffix}", where="out", expected=f"a name in {work.suffix}")
    if work.part_images < work.batch or work.part_images % work.batch:
        found = f"parts of {work.part_images} images with batches of {work.batch}"
        raise SettingsError(found, where="part_images", expected="a multiple of the batch")
    if threads < 1 or (processes is not None and processes < 1):
        raise SettingsError(f"threads = {threads}, processes = {processes}", expected="1 or more")
    if spread == "ray" and any(place.startswith("memory://") for place in inputs):
        fix = "Use --spread local, or a store that all processes reach."
        raise SettingsError("memory://, which only this process sees", where="spread = ray", fix=fix)


def _record(inputs: Sequence[str], work: Work, manifest: Manifest) -> JobRecord:
    bundle = {"name": manifest.name, "sha256": sha256(Path(work.bundle) / MANIFEST_FILE)}
    table = "" if work.table is None else sha256(Path(work.table))
    return JobRecord(bundle, tuple(inputs), table, work, (work.engine, work.precision))


def _begun(job: Job, wanted: JobRecord, *, force: bool) -> JobRecord | None:
    try:
        return job.begun(wanted)
    except OutputError:
        if not force:
            raise
        return None


def _report(
    out: Path, record: JobRecord, parts: list[PartRecord], before: set[int], elapsed_s: float, notes: tuple[str, ...]
) -> BulkReport:
    new = [one for one in parts if one.part not in before]
    seconds, rates = stage_rates(new)
    return BulkReport(
        out=str(out),
        images=record.images,
        failed=sum(one.failed for one in parts),
        repeated=record.repeated,
        parts=len(parts),
        parts_found=len(before),
        images_per_s=sum(one.images for one in new) / elapsed_s if new else math.nan,
        stage_seconds=seconds,
        stage_images_per_s=rates,
        notes=notes,
    )
