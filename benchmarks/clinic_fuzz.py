"""Damaged DICOM and image files through the reading processes: each is answered with a reason, none harms the service.

python benchmarks/clinic_fuzz.py --files 10000 --out benchmarks/results/clinic/fuzz.json
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from resight.errors import ImageError
from resight.imaging import Sandbox
from resight.imaging.display import VOI

SIDE_PX = 48
MEMORY_MB, TIMEOUT_S = 600, 20.0


def dicom(rng: np.random.Generator, syntax: str, **changes: Any) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    values: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.4",
        "Modality": "DX",
        "PatientName": "Secretname^Jane",
        "PixelSpacing": [0.2, 0.2],
        "Rows": SIDE_PX,
        "Columns": SIDE_PX,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": rng.integers(0, 255, (SIDE_PX, SIDE_PX), dtype=np.uint8).tobytes(),
    }
    for keyword, value in (values | changes).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def picture(rng: np.random.Generator, kind: str) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


def seeds(rng: np.random.Generator) -> dict[str, bytes]:
    """Whole files of every kind, small enough that a mutation often meets something that matters."""
    found = {
        "explicit": dicom(rng, ExplicitVRLittleEndian),
        "implicit": dicom(rng, ImplicitVRLittleEndian),
        "deflated": dicom(rng, DeflatedExplicitVRLittleEndian),
        "several frames": dicom(rng, ExplicitVRLittleEndian, NumberOfFrames=3, PixelData=bytes(3 * SIDE_PX**2)),
    }
    return found | {kind: picture(rng, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP")}


def mutate(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One of eight kinds of damage."""
    changed = bytearray(data)
    at = int(rng.integers(0, len(changed)))
    kind = str(rng.choice(["bits", "bytes", "cut", "hole", "twice", "numbers", "header bytes", "noise"]))
    if kind == "bits":
        for place in rng.integers(0, len(changed), rng.integers(1, 20)):
            changed[place] ^= 1 << int(rng.integers(8))
    elif kind in ("bytes", "header bytes"):
        end = len(changed) if kind == "bytes" else min(len(changed), 900)
        for place in rng.integers(0, end, rng.integers(1, 40)):
            changed[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF]))
    elif kind == "cut":
        del changed[at:]
    elif kind == "hole":
        del changed[at : at + int(rng.integers(1, 64))]
    elif kind == "twice":
        changed[at:at] = changed[at : at + int(rng.integers(1, 2000))]
    elif kind == "numbers":
        # lengths, rows, columns and frames are small numbers; huge ones are what parsers stumble over
        place = int(rng.integers(0, max(1, min(len(changed), 1200) - 4)))
        changed[place : place + 4] = int(rng.choice([0xFFFFFFFF, 0x7FFFFFFF, 0xFFFF, 0, 2**24])).to_bytes(4, "little")
    else:
        changed[at : at + 200] = rng.bytes(min(200, len(changed) - at))
    return kind, bytes(changed)


def fuzz(files: int, seed: int, folder: Path) -> dict[str, Any]:
    """Send files through; figures of what came of them. Anything but an answer or an `ImageError` is raised."""
    rng = np.random.default_rng(seed)
    whole = seeds(rng)
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest_s, peak_mb, ended, named = 0.0, 0.0, 0, 0
    begun = time.monotonic()
    with Sandbox(processes=1, memory_mb=MEMORY_MB, timeout_s=TIMEOUT_S, most_values=10**6, most_frames=50) as sandbox:
        for kind, data in whole.items():  # pays for the start of the process, and shows that the seeds are sound
            path = folder / "whole"
            path.write_bytes(data)
            assert kind == "several frames" or sandbox.image(path, VOI()).pixels.size > 0
        for _ in range(files):
            kind = str(rng.choice(list(whole)))
            _, data = mutate(whole[kind], rng)
            path = folder / "fuzzed"
            path.write_bytes(data)
            started = time.monotonic()
            for read in (sandbox.header, lambda p: sandbox.image(p, VOI())):
                try:
                    read(path)
                    outcomes["read"] += 1
                except ImageError as error:
                    reason = str(error)
                    outcomes["refused with a reason"] += 1
                    ended += "ends the process" in reason or "takes more than" in reason
                    reasons["".join(" " if c.isdigit() else c for c in error.found).strip()[:60]] += 1
                    named += "Secretname" in reason
            slowest_s = max(slowest_s, time.monotonic() - started)
            peak_mb = max(peak_mb, *(p.memory_info().rss / 2**20 for p in psutil.Process().children()), 0.0)
    return {
        "files": files,
        "seed": seed,
        "answers": dict(outcomes),
        "reading processes ended": ended,
        "reasons that name the patient": named,
        "distinct reasons": len(reasons),
        "commonest reasons": dict(reasons.most_common(10)),
        "slowest file (s)": round(slowest_s, 2),
        "largest reading process (MB resident)": round(peak_mb),
        "memory cap beyond the start (MB)": MEMORY_MB,
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(options.files, options.seed, Path(folder))
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
