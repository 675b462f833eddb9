"""`resight explain`: where in images a bundle sees the evidence for its labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, progress_bars, result_json, result_table, say
from resight.cli.predict import bundle_folder

if TYPE_CHECKING:  # it brings torch, which --help does not need
    from resight.explain import MapScores

_SHOWN_ROWS = 20


def explain(
    bundle: Path,
    images: Annotated[list[Path], Parameter(negative="")],
    *,
    out: Path,
    method: str = "gradcam",
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None,
    labels: Annotated[list[str] | None, Parameter(name="--labels", consume_multiple=True, negative="")] = None,
    arrays: Annotated[bool, Parameter(negative="")] = False,
    patient: str | None = None,
    score: Annotated[bool, Parameter(negative="")] = False,
    references: Path | None = None,
    control: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Write where in images the evidence for the labels lies.

    Every image and label gets a picture in colour; maps of volumes are also NIfTI files that lie voxel on voxel over
    the volume they belong to. `evidence.csv` lists them with the place of the strongest evidence, `evidence.html` shows
    them with what the model says.

    Args:
        bundle: folder of the bundle, or of the run that made it, which also knows which training cases look alike.
        images: files, folders, DICOM series.
        out: folder for the maps.
        method: explainer, as `resight list explainer` shows it.
        option: option of the explainer, for example `stage=-2`.
        labels: whose evidence; all of the bundle when not given.
        arrays: also write the maps of images as NumPy arrays, on the pixels of the upright original.
        patient: whose images these are; training cases of the same patient are not shown as alike.
        score: also put the maps to the test on the first 64 images, and say whether they may be trusted; written to
            `scores.json` and to the page.
        references: boxes (`image, label, x_px, y_px, width_px, height_px`, or NIH's list) or folder of masks that the
            maps are scored against; implies `score` on the images that have one.
        control: bundle of the same network trained on permuted labels, whose maps must be others; a run trained with
            `report.label_randomisation` has one, which is found by itself. Implies `score`.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.errors import ImageError, similar_path
    from resight.evidence import write_evidence_page
    from resight.explain import NearestCases, References, build_explainer, score_files, similar_cases, write_evidence
    from resight.models import Predictor, load_bundle
    from resight.settings import parse_overrides, write_json
    from resight.tables import write_table

    check_free(out, force=force)
    for path in images:
        if not path.exists():
            raise ImageError("no such file or folder", where=str(path), fix=similar_path(path))
    explainer = build_explainer(method, **parse_overrides(option or []))
    loaded = load_bundle(bundle_folder(bundle))
    scores = None
    if score or references is not None or control is not None:
        control = control or (bundle / "control" if (bundle / "control").is_dir() else None)
        scores = score_files(
            loaded,
            images,
            explainer,
            method,
            references=None if references is None else References.read(references),
            control=None if control is None else load_bundle(control),
        )
    folder = fresh(out, force=force)
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        table = write_evidence(
            loaded, images, folder, explainer=explainer, method=method, labels=labels, arrays=arrays, progress=progress
        )
        predictor = Predictor(loaded)
        said = predictor.predict(list(images), progress=progress)
    cases = bundle / "cases.safetensors"
    if cases.is_file():
        table["nearest"] = table["image"].map(similar_cases(predictor, NearestCases.load(cases), images, patient))
    write_table(table, folder / "evidence.csv")
    limits = [limit for limit in loaded.manifest.limits if "evidence maps" in limit]
    write_evidence_page(
        folder / "evidence.html",
        table,
        said.table,
        title=loaded.manifest.name,
        method=method,
        limits=limits,
        scores=scores,
    )
    if scores is not None:
        write_json(folder / "scores.json", scores.to_dict())
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        result_json({"folder": str(out), "rows": rows, "scores": None if scores is None else scores.to_dict()})
        return 0
    if scores is not None:
        _show(scores)
    shown = ["image", "label", "peak_at", "peak_mm", "file", "error"]
    result_table(shown, table[shown].fillna("").head(_SHOWN_ROWS).to_numpy().tolist())
    if empty := int((table["peak"] <= 0).sum()):
        say(f"{empty} of {len(table)} maps are empty: nothing in the image speaks for the label")
    failed = int(table["error"].notna().sum())
    say(f"written: {out}" + (f"; {failed} images could not be used, evidence.csv says why" if failed else ""))
    return 0


def _show(scores: MapScores) -> None:
    from resight.evidence import verdict_words

    rows = [(name.replace("_", " "), value) for name, value in scores.faithfulness.items()]
    rows += [(f"rank correlation, {name}", value) for name, value in scores.other_models.items()]
    rows += [(f"pointing, {name}", found.pointing) for name, found in scores.places.items()]
    rows += [(f"IoU, {name}", found.iou) for name, found in scores.places.items()]
    rows += [(f"evidence inside, {name}", found.energy) for name, found in scores.places.items()]
    result_table(("measure", "mean"), rows, title=f"{scores.pairs} maps of {scores.images} images")
    say(verdict_words(scores.method, scores.verdict))
    for note in scores.notes:
        say(f"note: {note}")
