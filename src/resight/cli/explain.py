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
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Write where in images the evidence for the labels lies.

    Maps of volumes are NIfTI files that lie voxel on voxel over the volume they belong to; those of other images are
    pictures in colour. `evidence.csv` lists them with the place of the strongest evidence.

    Args:
        bundle: folder of the bundle, or of the run that made it.
        images: files, folders, DICOM series.
        out: folder for the maps.
        method: explainer, as `resight list explainer` shows it.
        option: option of the explainer, for example `stage=-2`.
        labels: whose evidence; all of the bundle when not given.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.errors import ImageError
    from resight.explain import build_explainer, write_evidence
    from resight.models import load_bundle
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
            loaded, images, folder, explainer=explainer, method=method, labels=labels, progress=progress
        )
    write_table(table, folder / "evidence.csv")
    if as_json:
        result_json({"folder": str(out), "rows": json.loads(table.to_json(orient="records"))})
        return 0
    shown = ["image", "label", "peak_at", "peak_mm", "file", "error"]
    result_table(shown, table[shown].fillna("").head(_SHOWN_ROWS).to_numpy().tolist())
    failed = int(table["error"].notna().sum())
    say(f"written: {out}" + (f"; {failed} images could not be used, evidence.csv says why" if failed else ""))
    return 0
