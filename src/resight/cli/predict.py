"""`resight predict`: apply a bundle to images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, progress_bars, result_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from resight.bulk import Spread, Work
    from resight.evaluation import BudgetPoint
    from resight.models import EngineName, Predictor, Source

_SHOWN_ROWS = 20
_SHOWN = (
    *("image", "label", "probability", "survival", "decision", "operating_point", "exit", "flops_share"),
    *("alerts", "error"),
)


def predict(
    bundle: Path,
    images: Annotated[list[str], Parameter(negative="")] | None = None,
    *,
    table: Path | None = None,
    out: Path | None = None,
    operating_point: str | None = None,
    budget: float | None = None,
    doubt: Literal["members", "dropout", "views"] | None = None,
    passes: int = 20,
    novelty: Annotated[bool, Parameter(negative="")] = False,
    batch: int = 32,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    engine: Literal["auto", "torch", "onnx", "openvino", "ray"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "int8"] = "fp32",
    parts: Path | None = None,
    part_images: int = 1024,
    spread: Literal["local", "ray"] = "local",
    processes: int | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Apply a bundle to images and write the predictions table.

    Args:
        bundle: folder of the bundle, or of the run that made it.
        images: files, folders, DICOM series, tables (CSV or Parquet) with the column `image`, or URLs of any of these
            (`s3://...`); not needed where `table` names the images of every patient.
        table: clinical columns, and those that groups of sets are made of, one row an image; of a bundle with several
            modalities, their files, one row a patient.
        out: predictions table (CSV or Parquet); a summary goes to the terminal in any case.
        operating_point: decide at this one; the bundle's first when not given.
        budget: answer with at most this share of the network's FLOPs, for example 0.6; for bundles with exits or gates.
        doubt: answer several times and write the spread of the probabilities: by the members of an ensemble, with
            dropout left on, or mirrored and turned.
        passes: how often dropout is drawn.
        novelty: write how far each image lies from the training images, as a share of held-out images.
        batch: images that go through the network together.
        device: where it runs.
        engine: what computes; `auto` measures the engines that the bundle was exported to and takes the fastest, and
            `ray` is `--spread ray` with `auto` in every process.
        precision: number format; with the engine `auto` the coarsest allowed, `auto` allowing those whose AUROC was
            measured and held.
        parts: folder that keeps finished parts, so that the same command goes on after an interruption; `OUT.parts`
            where tables, URLs or `spread` ask for parts.
        part_images: images in a part, a multiple of `batch`.
        spread: `local` predicts in this process, `ray` in several, each on one core.
        processes: how many, for `ray`; one for each core when not given.
        force: replace `out`, and the parts of another job.
    """
    from resight.bulk import Work, is_manifest, is_url
    from resight.errors import ImageError, similar_path
    from resight.models import Predictor

    check_free(out, force=force)
    computing, spread = _computing(engine, spread, budget)
    if parts is not None or spread == "ray" or any(is_url(one) or is_manifest(one) for one in images or []):
        work = Work(
            bundle=str(bundle_folder(bundle)),
            engine=computing,
            precision=precision,
            device=device,
            table=None if table is None else str(table),
            operating_point=operating_point,
            budget=budget,
            doubt=doubt,
            passes=passes,
            novelty=novelty,
            batch=batch,
            part_images=part_images,
            suffix=".parquet" if out is not None and out.suffix == ".parquet" else ".csv",
        )
        return _in_parts(images or [], work, out, parts, spread, processes, force=force)
    for path in images or []:
        if not Path(path).exists():
            raise ImageError("no such file or folder", where=path, fix=similar_path(Path(path)))
    predictor = Predictor.load(bundle_folder(bundle), device=device, engine=computing, precision=precision)
    for note in predictor.engine_notes:
        say(note)
    if budget is not None:
        point = predictor.budget_point(budget)
        assert predictor.manifest.budgets is not None
        for line in budget_lines(point, predictor.manifest.budgets.whole_auroc):
            say(line)
    rows, sources = _inputs(predictor, images or [], table)
    with progress_bars() as progress:
        predictions = predictor.predict(
            sources,
            table=rows,
            operating_point=operating_point,
            budget=budget,
            doubt=doubt,
            passes=passes,
            novelty=novelty,
            batch=batch,
            progress=progress,
        )
    if out is not None:
        predictions.write(fresh(out, force=force))
        say(f"written: {out}")
    found = predictions.table
    shown = [c for c in _SHOWN if c in found]
    rows = [[_cell(row[c]) for c in shown] for _, row in found.head(_SHOWN_ROWS).iterrows()]
    result_table(shown, rows)
    if len(found) > _SHOWN_ROWS:
        say(f"and {len(found) - _SHOWN_ROWS} more rows" + ("" if out else "; give --out to keep them"))
    if "conformal_group" in found and (
        unknown := int((found["conformal_group"] == "").sum()) // len(predictions.labels)
    ):
        say(f"{unknown} of {len(predictions)} images have no known group, so their sets are the largest of any group's")
    failed = int(predictions.images()["error"].notna().sum())
    if failed:
        say(f"{failed} of {len(predictions)} images could not be used; the column `error` says why")
    return ImageError.exit_code if failed == len(predictions) else 0


def _computing(engine: EngineName | Literal["ray"], spread: Spread, budget: float | None) -> tuple[EngineName, Spread]:
    """The engine of each process, and what spreads the work over processes."""
    if engine == "ray":
        engine, spread = "auto", "ray"
    if budget is not None and engine == "auto":
        engine = "torch"  # the others run the whole network
    return engine, spread


def _in_parts(
    images: list[str],
    work: Work,
    out: Path | None,
    parts: Path | None,
    spread: Spread,
    processes: int | None,
    *,
    force: bool,
) -> int:
    """Predict part by part, and say how fast."""
    from resight.bulk import predict_in_parts
    from resight.errors import ImageError, SettingsError

    if out is None:
        raise SettingsError("parts without --out", where="command line", expected="the table they are joined into")
    folder = parts or out.with_name(f"{out.name}.parts")
    with progress_bars() as progress:
        report = predict_in_parts(
            images, work, out, folder, spread=spread, processes=processes, force=force, progress=progress
        )
    for line in (*report.notes, *report.lines(), f"written: {out}"):
        say(line)
    if report.failed:
        say(f"{report.failed} of {report.images} images could not be used; the column `error` says why")
    return ImageError.exit_code if report.failed == report.images else 0


def budget_lines(point: BudgetPoint, whole_auroc: float | None) -> list[str]:
    """What a budget buys and costs on the validation images, and which groups pay for it, one sentence each."""
    line = f"expected FLOPs: {point.share:.0%} of the whole network's, as on the validation images"
    if point.auroc is not None and whole_auroc is not None:
        line += f"; mean AUROC there {point.auroc:.3f}, of the whole network {whole_auroc:.3f}"
    return [line] + [f"warning: {change}" for change in point.falls]


def _inputs(
    predictor: Predictor, images: list[str], table: Path | None
) -> tuple[pd.DataFrame | None, Sequence[Source]]:
    """The rows of the table, and the images: as given, or those that the table names of every patient."""
    from resight.cohorts import load_cases, load_clinical
    from resight.errors import SettingsError

    if table is not None and predictor.manifest.modalities:
        return load_cases(table, predictor.manifest.modalities)
    if not images:
        raise SettingsError("nothing to predict", where="command line", expected="images, or a table that names them")
    return None if table is None else load_clinical(table), images


def bundle_folder(path: Path) -> Path:
    """The bundle itself, where the folder of a run is given."""
    return path / "bundle" if (path / "bundle" / "manifest.json").is_file() else path


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return "" if value is None else str(value)
