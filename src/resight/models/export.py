"""Writing a bundle's network for another engine, and measuring what that changed."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from resight.errors import BundleError, ImageError, OutputError, SettingsError, writing
from resight.evaluation import EvaluationOptions, compare
from resight.models.bundle import load_bundle
from resight.models.checksums import sha256, write_sealed
from resight.models.choice import parity
from resight.models.engine import ENGINES, Engine, EnginePrecision, GraphEngine, TorchEngine
from resight.models.exported import (
    ENGINES_FOLDER,
    RECORD_FILE,
    ExportRecord,
    Parity,
    input_shape,
    list_exports,
    model_fingerprint,
)
from resight.models.graph import N_PROBES, write_graph
from resight.models.predictor import Predictor
from resight.models.sources import Source
from resight.models.trial import surroundings
from resight.predictions import Predictions
from resight.settings import plain
from resight.types import Cohort, PreparedImage, Progress, silent

MOST_CALIBRATION_IMAGES: Final = 300
"""More images hardly change the ranges."""
_TOLERANCE: Final = 1e-3
"""Of fp32 logits, relative to the largest one or to 1: sums in another order differ in the last digits only."""
_ROOM: Final = 2.0
"""Another processor's kernels may round differently: the recorded difference may grow this much."""
_NAMED: Final = ("resight", "torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


def export_bundle(
    folder: Path,
    engine: str,
    precision: EnginePrecision = "fp32",
    *,
    calibration: Iterable[Source] = (),
    judged_on: Cohort | None = None,
    replace: bool = False,
    progress: Progress = silent,
) -> ExportRecord:
    """Write the network of a bundle for another engine, into `engines/` of the bundle; complete or not at all.

    Args:
        folder: of the bundle, which stays as it is.
        engine: `onnx` or `openvino`.
        precision: number format; int8 needs `calibration`.
        calibration: images, folders or arrays like those the model will see, but no test images; the first
            `MOST_CALIBRATION_IMAGES` that can be read are used.
        judged_on: images with a reference standard; both the network and the export answer on them, and the change of
            AUROC, probabilities and decisions is recorded.
        replace: put it in the place of an export of the same name.
        progress: told after every batch.

    Returns:
        The record as written.

    Raises:
        BundleError: the bundle was changed, the network fits into no graph, or fp32 does not give its answers.
        SettingsError: unknown engine, a precision that it does not know, int8 without images, or other labels.
        ImageError: no image with a reference standard can be read.
        OutputError: the export exists, or cannot be written.
        DependencyError: the engine or what exports to it is not installed.
    """
    kind: type[GraphEngine] = ENGINES.member(engine).builder  # type: ignore[assignment]
    if reason := kind.precisions[precision]:
        known = ", ".join(name for name, why in kind.precisions.items() if not why)
        raise SettingsError(f"{engine} in {precision}: {reason}", expected=f"{known}, or another engine")
    bundle = load_bundle(folder)
    if bundle.manifest.encoding is not None or bundle.manifest.modalities:
        found = "the network reads more than one image of each patient"
        raise BundleError(found, where=str(folder), fix="Use it with PyTorch.")
    name = f"{engine}-{precision}"
    place = folder / ENGINES_FOLDER / name
    if name in list_exports(folder) and not replace:
        raise OutputError("exists already", where=str(place), fix="Give --force to replace it.")
    if judged_on is not None:
        _check_labels(judged_on, bundle.manifest.labels)
    shape = input_shape(bundle.manifest)
    reference = TorchEngine(bundle.model, torch.device("cpu"))
    plainly = Predictor(bundle, device="cpu")
    ranges = _calibration(plainly, calibration) if precision == "int8" else []
    with writing(place):
        place.parent.mkdir(exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=place.parent))
        try:
            with tempfile.TemporaryDirectory() as scratch:
                graph = Path(scratch) / "graph.onnx"
                write_graph(bundle.model, shape, graph)
                files = kind.write(graph, unfinished, precision, ranges)
            exported: Engine = ENGINES.build(engine, folder=unfinished, precision=precision)
            record = ExportRecord(
                engine=engine,
                precision=precision,
                made_from=model_fingerprint(bundle.manifest),
                input_shape=shape,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                tried_on=surroundings(engine),
                calibration_images=len(ranges),
                parity=_parity(exported, reference, shape),
                comparison=None if judged_on is None else _comparison(plainly, exported, judged_on, progress),
                versions={library: found for library in _NAMED if (found := _version(library))},
                files={file: sha256(unfinished / file) for file in files},
            )
            write_sealed(unfinished / RECORD_FILE, record.model_dump(mode="json"))
            unfinished.chmod(0o755)  # mkdtemp makes it for its owner alone
            _put(unfinished, place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return record


def _put(new: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _calibration(predictor: Predictor, sources: Iterable[Source]) -> list[PreparedImage]:
    images = list(islice(predictor.prepared(sources), MOST_CALIBRATION_IMAGES))
    if not images:
        found, fix = "int8 without calibration images", "Name images like those the model will see: --calibration."
        raise SettingsError(found, where="export", expected="at least one that can be read", fix=fix)
    return images


def _parity(exported: Engine, reference: Engine, shape: tuple[int, ...]) -> Parity:
    difference, largest = parity(exported, reference, shape)
    tolerance = _TOLERANCE * max(1.0, largest)
    if not np.isfinite(difference) or (exported.precision == "fp32" and difference > tolerance):
        found = f"the exported network's logits differ by {difference:.3g} from the network's"
        raise BundleError(found, expected=f"at most {tolerance:.3g}", fix="Use it with PyTorch.")
    return Parity(images=N_PROBES, max_logit_difference=difference, limit=tolerance + _ROOM * difference)


def _check_labels(cohort: Cohort, labels: tuple[str, ...]) -> None:
    if set(cohort.labels) != set(labels):
        found, expected = ", ".join(cohort.labels), ", ".join(labels)
        raise SettingsError(f"labels {found}", where=cohort.name, expected=f"those of the model: {expected}")


def _comparison(plainly: Predictor, exported: Engine, cohort: Cohort, progress: Progress) -> dict[str, Any]:
    """What changed on images with a reference standard."""
    tables = [_answers(p, cohort, progress) for p in (plainly, plainly.with_engine(exported))]
    read = ~np.isnan(tables[0].array("logit")).any(axis=1)
    if not read.any():
        raise ImageError("none of the images with a reference standard can be read", where=cohort.name)
    differences = compare(tables[0], tables[1], EvaluationOptions())
    before, after = (table.probabilities()[read] for table in tables)
    decided = [table.array("decision")[read] for table in tables] if tables[0].has("decision") else None
    return plain(
        {
            "cohort": cohort.fingerprint(),
            "images": int(read.sum()),
            "patients": differences.patients,
            "macro_auroc_change": differences.macro,
            "auroc": {
                each.label: {"before": each.auroc_a, "after": each.auroc_b, "change": each.difference}
                for each in differences.labels
            },
            "max_logit_difference": np.abs(np.subtract(*(table.array("logit")[read] for table in tables))).max(),
            "max_probability_difference": np.abs(before - after).max(),
            "changed_decisions": None if decided is None else int((decided[0] != decided[1]).sum()),
            "decisions": None if decided is None else decided[0].size,
        }
    )


def _answers(predictor: Predictor, cohort: Cohort, progress: Progress) -> Predictions:
    predictions = predictor.predict(cohort.paths, progress=progress)
    order: Sequence[int] = [cohort.labels.index(label) for label in predictions.labels]
    images = cohort.table[[c for c in ("image", "patient_id") if c in cohort.table.columns]].reset_index(drop=True)
    names = [c for c in ("logit", "score", "probability", "decision") if c in predictions.table.columns]
    arrays = {name: predictions.array(name) for name in names}
    return Predictions.from_arrays(
        images,
        predictions.labels,
        predictions.task,
        **arrays,
        target=cohort.targets()[:, order],
        mask=cohort.mask()[:, order],
    )


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
