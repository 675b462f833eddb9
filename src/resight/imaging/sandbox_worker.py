"""A process that reads files it has no reason to trust: little memory, no time to waste, nothing it could tell.

One JSON line in for each task; one JSON line out, followed by the pixels where pixels were asked for. Started by
`Sandbox`, which kills it when it takes too long.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pydicom
from pydicom.uid import UID

from resight.errors import ImageError
from resight.imaging.dicom_file import guarded, numbers, open_dicom, require_image, sop_class, transfer_syntax
from resight.imaging.display import VOI
from resight.imaging.reader import describe, read
from resight.imaging.sniff import MAX_VALUES, check_size
from resight.types import Image

_KILOBYTE: Final = 2**10
_MEGABYTE: Final = 2**20
_OPEN_FILES: Final = 256
_LARGEST_FILE: Final = 2**31
"""Of what a decoder of its own may write while it works."""
_TEXTS: Final = (
    "AccessionNumber", "BodyPartExamined", "FrameOfReferenceUID", "ImageLaterality", "Laterality", "Manufacturer",
    "Modality", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyDate", "StudyID", "StudyInstanceUID", "StudyTime",
    "ViewPosition",
)  # fmt: skip
_NUMBERS: Final = (
    "Columns", "ImageOrientationPatient", "ImagePositionPatient", "ImagerPixelSpacing", "InstanceNumber",
    "NumberOfFrames", "PixelSpacing", "Rows", "SamplesPerPixel", "SeriesNumber", "SliceThickness",
    "SpacingBetweenSlices",
)  # fmt: skip
_KEPT_STEPS: Final = ("modality", "voi", "presentation", "sort slices", "to LPS")
"""Of the history, what became of stored values and of the order of slices and axes; the rest names decoders."""
_LONGEST_TEXT: Final = 324
"""Longest value of a person's name (PS3.5 table 6.2-1: five groups of 64 and their separators)."""


def header(path: Path) -> dict[str, Any]:
    """What a DICOM file says of itself: `texts`, `numbers`, `age_years`, `transfer_syntax`, `sop_class` and `problem`.

    `problem` says why it is no image; empty where it is one. Texts are shortened and hold printable characters only.

    Raises:
        ImageError: it is not DICOM, or does not say what it is.
    """
    dataset, notes = open_dicom(path, pixels=False)
    where = str(path)
    with guarded(where, "the header cannot be understood"):
        texts = {keyword: text for keyword in _TEXTS if (text := _text(dataset, keyword))}
        counts = {keyword: found for keyword in _NUMBERS if (found := _finite(dataset, keyword))}
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            if not _is_uid(texts.get(keyword, "")):
                raise ImageError(f"no valid {keyword}", where=where, expected="a DICOM object")
        problem = ""
        try:
            require_image(dataset, where, pixels=False)
        except ImageError as error:
            problem = error.found
        if not problem and UID(texts["SOPClassUID"]).type != "SOP Class":
            problem = f"{sop_class(dataset)}, which no result could refer to"
        if not problem and not _has_pixels(path, deflated="the dataset was deflated" in notes):
            problem = f"{sop_class(dataset)} without pixel data"
        return {
            "texts": texts,
            "numbers": counts,
            "age_years": _age_years(dataset),
            "transfer_syntax": str(transfer_syntax(dataset)),
            "sop_class": sop_class(dataset),
            "problem": problem,
        }


def image(path: Path, voi: VOI, at_least_px: int | None, most_values: int, most_frames: int) -> Image:
    """Read a file or series, after its header promised to stay below the caps.

    Raises:
        ImageError: it cannot be read, or is too large.
    """
    facts = describe(path)
    frames = int(facts.get("frames", 1)) * int(facts.get("files", 1))
    if frames > most_frames:
        raise ImageError(f"{frames} frames", where=str(path), expected=f"at most {most_frames}")
    count = int(facts["width"]) * int(facts["height"]) * frames
    if count > most_values:
        raise ImageError(f"the header promises {count} pixels", where=str(path), expected=f"at most {most_values}")
    check_size(count, str(path))
    return read(path, voi=voi, at_least_px=at_least_px)


def serve() -> None:
    """Answer what comes in on standard input until it ends; the first line says how much memory there is."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not look like an answer
    limit_memory(int(json.loads(sys.stdin.readline())["memory_mb"]))
    for line in sys.stdin:
        task = json.loads(line)
        path = Path(task["path"])
        try:
            if task["what"] == "header":
                _answer(answers, header(path))
            else:
                voi = VOI.model_validate(task["voi"])
                _answer_image(answers, image(path, voi, task["at_least_px"], task["most_values"], task["most_frames"]))
        except ImageError as error:
            _answer(answers, {"error": [error.found, error.expected, error.fix]})
        except MemoryError:
            _answer(answers, {"error": ["does not fit into the memory that reading is given", "", ""]})
        except OSError as error:
            _answer(answers, {"error": [f"cannot be opened ({error.strerror})", "", ""]})


def limit_memory(megabytes: int) -> None:
    """Cap the address space at what is in use now and so much more, files at 2 GiB, and leave no core behind."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * os.sysconf("SC_PAGE_SIZE") + megabytes * _MEGABYTE
    for what, limit in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        _, hard = resource.getrlimit(what)
        lowered = limit if hard < 0 else min(limit, hard)
        resource.setrlimit(what, (lowered, lowered))


def _answer(answers: BinaryIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()


def _answer_image(answers: BinaryIO, found: Image) -> None:
    pixels = found.pixels
    value = {
        "dtype": pixels.dtype.str,
        "shape": pixels.shape,
        "spacing_mm": found.spacing_mm,
        "modality": found.modality,
        "affine": None if found.affine is None else found.affine.tolist(),
        "attributes": {**found.attributes, "turned": int(any(step.name == "upright" for step in found.history))},
        "steps": [[step.name, dict(step.parameters)] for step in found.history if step.name in _KEPT_STEPS],
    }
    _answer(answers, value)
    for place in np.ndindex(pixels.shape[:-2]):  # a volume is not copied as a whole
        answers.write(np.ascontiguousarray(pixels[place]).data)
    answers.flush()


def _has_pixels(path: Path, *, deflated: bool) -> bool:
    """Whether pixel data follow the header; uncompressed ones are passed over, not read."""
    if deflated:
        whole, _ = open_dicom(path)
    else:
        whole = pydicom.dcmread(path, force=True, defer_size=_KILOBYTE)
    return any(keyword in whole for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except (LookupError, UnicodeError, ValueError, TypeError, AttributeError, NotImplementedError):
        return ""  # an unknown character set, or a value that is none of its type
    text = "" if value is None else str(value)
    return "".join(letter for letter in text if letter.isprintable())[:_LONGEST_TEXT].strip()


def _finite(dataset: pydicom.Dataset, keyword: str) -> list[float]:
    found = numbers(dataset, keyword)[:16]
    return list(found) if all(map(math.isfinite, found)) and all(abs(n) < MAX_VALUES for n in found) else []


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and set(text) <= set("0123456789.") and text[0] != "." and text[-1] != "."


def _age_years(dataset: pydicom.Dataset) -> float | None:
    """Patient Age (VR AS: three digits and D, W, M or Y)."""
    text = _text(dataset, "PatientAge")
    if len(text) != 4 or not text[:3].isdigit() or text[3] not in "DWMY":
        return None
    return round(int(text[:3]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[text[3]], 2)


if __name__ == "__main__":
    serve()
