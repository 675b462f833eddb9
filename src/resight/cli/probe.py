"""`resight probe`: can an attribute be read from features, and does the score go along with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resight.cli.console import progress_bars, result_json, result_table, say
from resight.cli.group_arguments import attributes
from resight.cli.results import estimate, p_value
from resight.errors import BundleError, SettingsError, nearest

if TYPE_CHECKING:  # they bring pandas and torch, which --help does not need
    from resight.fairness import PixelOptions, PixelTest, Probe
    from resight.models import Bundle
    from resight.predictions import Predictions
    from resight.types import Progress

_BATCH = 64


def probe(
    predictions: Path,
    *,
    by: str = "",
    pixels: Annotated[bool, Parameter(negative="")] = False,
    bundle: Path | None = None,
    root: Path | None = None,
    split: str | None = None,
    min_patients: int = 10,
    most_images: int = 400,
    seed: int = 0,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Look for shortcuts: attributes that scores or features know, and pixels that are no anatomy.

    Args:
        predictions: CSV or Parquet with targets and attributes.
        by: attributes, comma-separated.
        pixels: also exchange corners and edges of the images between patients, put plates into corners, blacken the
            frame and take colour away, and test what the network of the bundle makes of it.
        bundle: also ask the features of this bundle's network, of the images named in the table.
        root: folder the image names are relative to; that of the table when not given.
        split: rows to probe; `test` where there is one, otherwise all.
        min_patients: patients that a group, and the rest, must have.
        most_images: so many images at most for `pixels`, drawn by chance.
        seed: of the folds, and of who gives pixels to whom.
        as_json: print the result for programs.
    """
    from resight.evaluation import make_groupings
    from resight.evaluation.rows import select_split
    from resight.fairness import PixelOptions, probe_features, score_links
    from resight.predictions import Predictions

    names = attributes(by)
    if not names and not pixels:
        raise SettingsError("nothing to look for", where="command line", expected="--by, --pixels or both")
    if pixels and bundle is None:
        raise SettingsError("--pixels without a network", where="command line", expected="--bundle")
    table, _, notes = select_split(Predictions.read(predictions), split)
    links = score_links(table, names, least=min_patients) if names else ()
    notes = [*notes, *(remark for one in make_groupings(table.images(), names) for remark in one.remarks())]
    probes: tuple[Probe, ...] = ()
    found: tuple[PixelTest, ...] = ()
    if bundle is not None:
        from resight.cli.predict import bundle_folder
        from resight.models import image_features, load_bundle

        loaded, folder = load_bundle(bundle_folder(bundle)), root or predictions.parent
        with progress_bars() as progress:
            if names:
                images = table.images()
                features = image_features(loaded, [folder / name for name in images["image"]], progress=progress)
                probes = probe_features(features, images, names, least=min_patients, seed=seed)
            if pixels:
                options = PixelOptions(min_patients=min_patients, seed=seed)
                found, left_out = _of_pixels(loaded, table, folder, most_images, options, progress)
                notes = [*notes, *left_out]
    if as_json:
        result_json({"scores": links, "features": probes, "pixels": found})
        return 0
    if found:
        rows = [
            (t.change, t.label, t.measure, estimate(t.value), p_value(t.p), "SUSPECT" if t.suspect else "")
            for t in found
        ]
        title = "What the network makes of changes that should not matter (p by Holm)"
        result_table(("change", "label", "measure", "value", "p", ""), rows, title=title)
        suspects = len({t.change for t in found if t.suspect})
        say(f"{suspects} of {len({t.change for t in found})} changes matter to the network more than they should")
    if probes:
        title = "Attributes read from features (AUROC of a linear probe, out of fold)"
        result_table(("by", "group", "AUROC"), [(p.attribute, p.group, p.auroc) for p in probes], title=title)
    rows = [(k.attribute, k.group, k.label, "with" if k.target else "without", k.auroc, p_value(k.p)) for k in links]
    if rows:
        title = "Scores and attributes among images of the same target (0.5: no link)"
        result_table(("by", "group", "score of", "finding", "AUROC", "p (Holm)"), rows, title=title)
    for note in notes:
        say(f"note: {note}")
    return 0


def _of_pixels(
    bundle: Bundle, table: Predictions, folder: Path, most: int, options: PixelOptions, progress: Progress
) -> tuple[tuple[PixelTest, ...], list[str]]:
    """The search on some images of the table, and what was left out of it."""
    import numpy as np

    from resight.errors import ImageError
    from resight.evaluation import patient_index
    from resight.evaluation.rows import hard_mask
    from resight.fairness import search_pixels
    from resight.models import Predictor

    predictor, names = Predictor(bundle), table.images()["image"]
    known = bundle.manifest.labels
    if strange := [label for label in table.labels if label not in known]:
        raise BundleError(f"no label {strange[0]!r}", where=bundle.manifest.name, fix=nearest(strange[0], known))
    columns = [known.index(label) for label in table.labels]
    drawn = np.sort(np.random.default_rng(options.seed).permutation(len(names))[:most])
    kept, prepared, failed = [], [], 0
    for done, row in enumerate(drawn):
        try:
            prepared.append(predictor.prepare(folder / names[row]))
            kept.append(row)
        except ImageError:
            failed += 1
        progress("read", done + 1, len(drawn), "")
    if not kept:
        raise ImageError("no image of the table can be read", where=str(folder), fix="Give --root.")
    notes = [f"{failed} images could not be read"] if failed else []
    if len(drawn) < len(names):
        notes.append(f"pixels of {len(drawn)} of {len(names)} images, drawn by chance")

    def predict(pixels: np.ndarray) -> np.ndarray:
        parts = np.array_split(pixels, -(-len(pixels) // _BATCH))
        return np.concatenate([predictor.logits(part) for part in parts])[:, columns]

    found = search_pixels(
        np.stack(prepared),
        predict,
        table.targets()[kept],
        hard_mask(table)[kept],
        table.labels,
        patient_index(table.groups()[kept])[0],
        options,
    )
    return found, notes
