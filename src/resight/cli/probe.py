"""`resight probe`: can an attribute be read from features, and does the score go along with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.audit import attributes, p_value
from resight.cli.console import progress_bars, result_json, result_table, say


def probe(
    predictions: Path,
    *,
    by: str,
    bundle: Path | None = None,
    root: Path | None = None,
    split: str | None = None,
    min_patients: int = 10,
    seed: int = 0,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Look for shortcuts: attributes that scores or features know.

    Args:
        predictions: CSV or Parquet with targets and attributes.
        by: attributes, comma-separated.
        bundle: also ask the features of this bundle's network, of the images named in the table.
        root: folder the image names are relative to; that of the table when not given.
        split: rows to probe; `test` where there is one, otherwise all.
        min_patients: patients that a group, and the rest, must have.
        seed: of the folds.
        as_json: print the result for programs.
    """
    from resight.evaluation.rows import select_split
    from resight.fairness import probe_features, score_links
    from resight.predictions import Predictions

    table, _, notes = select_split(Predictions.read(predictions), split)
    names = attributes(by)
    links = score_links(table, names, least=min_patients)
    probes = ()
    if bundle is not None:
        from resight.cli.predict import bundle_folder
        from resight.models import image_features, load_bundle

        images = table.images()
        paths = [(root or predictions.parent) / name for name in images["image"]]
        with progress_bars() as progress:
            features = image_features(load_bundle(bundle_folder(bundle)), paths, progress=progress)
        probes = probe_features(features, images, names, least=min_patients, seed=seed)
    if as_json:
        result_json({"scores": links, "features": probes})
        return 0
    if probes:
        title = "Attributes read from features (AUROC of a linear probe, out of fold)"
        result_table(("by", "group", "AUROC"), [(p.attribute, p.group, p.auroc) for p in probes], title=title)
    rows = [(k.attribute, k.group, k.label, "with" if k.target else "without", k.auroc, p_value(k.p)) for k in links]
    title = "Scores and attributes among images of the same target (0.5: no link)"
    result_table(("by", "group", "score of", "finding", "AUROC", "p (Holm)"), rows, title=title)
    for note in notes:
        say(f"note: {note}")
    return 0
