"""Exported engines beside the model they were made from: what lies in `engines/` of a bundle, and whose it is.

engines/openvino-int8/
model.xml, model.bin    what the engine reads
export.json             what was exported from what, its checksums, its differences from the network
export.json.sha256
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from resight.errors import BundleError, SettingsError
from resight.models.checksums import UNCHANGED, changed_files, read_sealed
from resight.models.engine import EnginePrecision
from resight.models.manifest import Manifest
from resight.settings import Options, validate

ENGINES_FOLDER: Final = "engines"
RECORD_FILE: Final = "export.json"


class Parity(Options):
    """How far an exported network answers from the original on the same images."""

    images: int = Field(ge=1, description="artificial images, the same on every machine")
    max_logit_difference: float = Field(ge=0, description="largest difference between two logits")
    limit: float = Field(gt=0, description="what the difference may grow to on another machine")


class ExportRecord(Options):
    """The contents of `export.json`."""

    format_version: int = 1
    engine: str
    precision: EnginePrecision
    made_from: str = Field(description="fingerprint of weights and meaning of the model")
    input_shape: tuple[int, ...] = Field(description="of one prepared image: channels, then space")
    created: str = Field(default="", description="date and time, ISO 8601")
    tried_on: str = Field(default="", description="SHA-256 of the processor and library it has answered on")
    calibration_images: int = Field(default=0, ge=0, description="images the ranges of int8 were taken from")
    parity: Parity
    comparison: dict[str, Any] | None = Field(
        default=None, description="differences on images with a reference standard: AUROC, probabilities, decisions"
    )
    versions: dict[str, str] = Field(default={}, description="of the software that exported it")
    files: dict[str, str] = Field(min_length=1, description="sha256 of every other file")

    @property
    def name(self) -> str:
        """Name of the folder."""
        return f"{self.engine}-{self.precision}"

    def auroc_loss(self) -> float | None:
        """By how much the mean AUROC fell on images with a reference standard; None where that was not measured."""
        change = (self.comparison or {}).get("macro_auroc_change", {}).get("value")
        return None if change is None else -float(change)


def model_fingerprint(manifest: Manifest) -> str:
    """SHA-256 over weights and over all that decides what logits mean, so that an export fits no other model."""
    meaning = {
        "weights": {name: manifest.files.get(name) for name in manifest.weight_files()},
        "labels": manifest.labels,
        "task": manifest.task,
        "combination": manifest.combination,
        "input": input_shape(manifest),
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def input_shape(manifest: Manifest) -> tuple[int, ...]:
    """Shape of one prepared image: channels, then space."""
    return (manifest.channels, *manifest.recipe.size_px)


def list_exports(bundle: Path) -> list[str]:
    """Names of the exports of a bundle, sorted; unfinished ones begin with a dot and are left out."""
    folder = bundle / ENGINES_FOLDER
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def read_export(bundle: Path, name: str, manifest: Manifest) -> ExportRecord:
    """The record of an export after checking every byte of it.

    Args:
        bundle: folder of the bundle.
        name: for example `openvino-int8`.
        manifest: of the bundle.

    Raises:
        BundleError: a file is missing or was changed, or it was made from another model.
    """
    folder = bundle / ENGINES_FOLDER / name
    data = read_sealed(folder / RECORD_FILE)
    try:
        record = validate(ExportRecord, data, where=RECORD_FILE)
    except (SettingsError, TypeError, ValueError) as error:
        raise BundleError(f"does not fit this version of Resight ({error})", where=str(folder)) from error
    if record.made_from != model_fingerprint(manifest):
        raise BundleError("exported from another model", where=str(folder), fix="Export it again with --force.")
    if problems := changed_files(folder, record.files):
        raise BundleError(problems[0], where=str(folder), fix=UNCHANGED)
    return record


def export_problems(bundle: Path, manifest: Manifest) -> list[str]:
    """Everything that is wrong with the exports of a bundle, one clause each."""
    problems: list[str] = []
    for name in list_exports(bundle):
        try:
            read_export(bundle, name, manifest)
        except BundleError as error:
            problems.append(f"{ENGINES_FOLDER}/{name}: {error.found}")
    return problems
