"""Memory while a study of many slices is answered, by a model of single images and by one of volumes.

python -m benchmarks.clinic_long_study --out benchmarks/results/clinic/long_study.json

A CT of 500 slices of 512 x 512 pixels comes in and is answered with report, captures and maps. Peaks are resident
memory above what the service has with its models loaded, of the service and of the processes that read files for it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from resight.evaluation import OperatingPoint, OperatingRule
from resight.models import Manifest, ModelOptions, build_classifier, save_bundle
from resight.preprocess import Recipe
from resight.serving import ServiceSettings
from resight.serving.parts import Parts
from resight.serving.schema import Study
from resight.serving.service import Service
from resight.serving.worker import Worker

_SAMPLE_S = 0.02
_CT = "1.2.840.10008.5.1.4.1.1.2"


def ct_slice(place: int, side: int) -> Dataset:
    """Soft tissue of noise in air."""
    rng = np.random.default_rng(place)
    values = np.zeros((side, side), "<u2")
    body = slice(side // 8, -side // 8)
    values[body, body] = rng.normal(1064, 40, values[body, body].shape).astype("<u2")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in {
        "SOPClassUID": _CT,
        "SOPInstanceUID": f"1.2.7.0.{place}",
        "StudyInstanceUID": "1.2.7",
        "SeriesInstanceUID": "1.2.7.0",
        "FrameOfReferenceUID": "1.2.7.9",
        "Modality": "CT",
        "BodyPartExamined": "CHEST",
        "PatientID": "1",
        "PatientName": "",
        "InstanceNumber": place + 1,
        "Rows": side,
        "Columns": side,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "WindowCenter": 40,
        "WindowWidth": 400,
        "ImagePositionPatient": [0, 0, 0.625 * place],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.7, 0.7],
        "SliceThickness": 0.625,
        "PixelData": values.tobytes(),
    }.items():
        setattr(dataset, keyword, value)
    return dataset


def write_bundle(folder: Path, dims: Literal[2, 3]) -> Path:
    torch.manual_seed(0)
    labels = ("mass", "nodule")
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 16, "zero_init": False})
    model = build_classifier(options, labels=labels, channels=1, dims=dims).eval()
    points = tuple(OperatingPoint(name="all", label=one, threshold=0.0, rule=OperatingRule()) for one in labels)
    recipe = Recipe(size_px=(224, 224) if dims == 2 else (64, 64, 64))
    manifest = Manifest(labels=labels, task="multilabel", recipe=recipe, model=options, operating_points=points)
    save_bundle(folder, model, manifest)
    return folder


class Peaks:
    """Highest resident memory of this process and of its children while it is open, above what it was."""

    def __init__(self) -> None:
        self._own, self._over = psutil.Process(), threading.Event()
        self._before = self._own.memory_info().rss
        self.service = self.readers = 0
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.service = max(self.service, self._own.memory_info().rss - self._before)
            try:
                readers = [one.memory_info().rss for one in self._own.children()]
            except psutil.NoSuchProcess:
                continue
            self.readers = max([self.readers, *readers])


def answered(folder: Path, dims: Literal[2, 3], slices: int, side: int) -> dict[str, Any]:
    entry = {"name": "ct", "bundle": write_bundle(folder / f"bundle{dims}", dims), "engine": "torch", "refuse": ()}
    given = {"folder": folder / f"data{dims}", "quiet_s": 0, "models": [{**entry, "objects": ("sr", "sc", "pm")}]}
    with Parts(Service(ServiceSettings.model_validate(given))) as parts:
        for place in range(slices):
            path = parts.intake.spool()
            ct_slice(place, side).save_as(path, enforce_file_format=True)
            assert parts.intake.accept(path, "benchmark").state == "kept"
        worker = Worker(parts.service, parts.intake, parts.models, parts.sandbox)
        worker.settle()
        begun = time.monotonic()
        with Peaks() as peaks:
            while (study := worker.next_study()) is not None:
                worker.process(study)
        took_s = time.monotonic() - begun
        with parts.service.store.read() as session:
            study = session.get_one(Study, 1)
            kinds = [one.kind for prediction in study.predictions for one in prediction.objects]
            state, reason = study.state, study.reason
    results = sum(path.stat().st_size for path in (folder / f"data{dims}" / "results").rglob("*.dcm"))
    return {
        "state": state,
        "reason": reason,
        "objects": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "objects (MB)": round(results / 2**20, 1),
        "seconds": round(took_s, 1),
        "peak of the service (MB)": round(peaks.service / 2**20),
        "peak of a reading process (MB)": round(peaks.readers / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    found: dict[str, Any] = {"slices": options.slices, "rows and columns": options.side}
    for name, dims in (("a model of single images", 2), ("a model of volumes", 3)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = answered(Path(folder), dims, options.slices, options.side)
        print(name, found[name], flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
