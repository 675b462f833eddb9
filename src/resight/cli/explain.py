"""`resight explain`: where in images a bundle sees the evidence for its labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, progress_bars, result_json, result_table, say
from resight.cli.predict import bundle_folder

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
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.errors import ImageError
    from resight.evidence import write_evidence_page
    from resight.explain import NearestCases, build_explainer, similar_cases, write_evidence
    from resight.models import Predictor, load_bundle
    from resight.settings import parse_overrides
    from resight.tables import write_table

    for path in images:
        if not path.exists():
            raise ImageError("no such file or folder", where=str(path))
    explainer = build_explainer(method, **parse_overrides(option or []))
    loaded = load_bundle(bundle_folder(bundle))
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
        folder / "evidence.html", table, said.table, title=loaded.manifest.name, method=method, limits=limits
    )
    if as_json:
        result_json({"folder": str(out), "rows": json.loads(table.to_json(orient="records"))})
        return 0
    shown = ["image", "label", "peak_at", "peak_mm", "file", "error"]
    result_table(shown, table[shown].fillna("").head(_SHOWN_ROWS).to_numpy().tolist())
    failed = int(table["error"].notna().sum())
    say(f"written: {out}" + (f"; {failed} images could not be used, evidence.csv says why" if failed else ""))
    return 0
