"""A model as one folder: weights, manifest and card, written at once and checked byte by byte when it is read.

    model.safetensors       weights; `model_0.safetensors`, `model_1.safetensors`, ... for an ensemble
    manifest.json           what the model is (see `Manifest`), with the sha256 of the weights and the card
    manifest.json.sha256    the sha256 of the manifest, as `sha256sum --check` reads it
    card.md                 the manifest for people
    novelty.safetensors     what known images look like to the network, where that was learned (see `Novelty`)
    engines/                the same network for other engines, where it was exported (see `exported`)

No file is a pickle, so that reading a bundle runs nobody's code.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from resight.errors import BundleError, OutputError, SettingsError, similar_path, writing
from resight.models.build import build_classifier
from resight.models.card import render_card
from resight.models.checksums import UNCHANGED, changed_files, read_sealed, sha256, write_sealed
from resight.models.classifier import Classifier
from resight.models.ensemble import Ensemble
from resight.models.exported import export_problems
from resight.models.manifest import FORMAT_VERSION, Manifest
from resight.models.novelty import Novelty
from resight.settings import validate

MANIFEST_FILE: Final = "manifest.json"
CARD_FILE: Final = "card.md"
NOVELTY_FILE: Final = "novelty.safetensors"


@dataclass(frozen=True)
class Bundle:
    """A model that was read, in evaluation mode.

    Attributes:
        members: one classifier, or those of an ensemble.
        manifest: what the model is.
        novelty: how far an image lies from those it learned from; None where that was not learned.
    """

    members: tuple[Classifier, ...]
    manifest: Manifest
    novelty: Novelty | None = None

    @property
    def model(self) -> Classifier | Ensemble:
        """Images to logits."""
        if len(self.members) == 1:
            return self.members[0]
        return Ensemble(self.members, self.manifest.combination, self.manifest.task).eval()


def save_bundle(
    folder: Path, model: Classifier | Sequence[Classifier], manifest: Manifest, novelty: Novelty | None = None
) -> Manifest:
    """Write a bundle; it appears complete or not at all.

    Args:
        folder: must not exist.
        model: the classifier, or the members of an ensemble in order.
        manifest: what is to be known of it; `members`, `files` and resolved model options are filled in here.
        novelty: of the features of the first member.

    Returns:
        The manifest as written.

    Raises:
        OutputError: the folder exists or cannot be written.
        BundleError: there is no classifier, or not the one the manifest describes.
    """
    members = (model,) if isinstance(model, Classifier) else tuple(model)
    if not members:
        raise BundleError("no classifier was given", where=str(folder))
    options = manifest.model.resolved()
    if options.weights is not None:
        options = options.model_copy(update={"weights": Path(options.weights.name)})
    manifest = manifest.model_copy(update={"members": len(members), "model": options, "files": {}})
    states = [{key: tensor.detach().cpu().contiguous() for key, tensor in m.state_dict().items()} for m in members]
    for index, state in enumerate(states):
        _load_strictly(_new_classifier(manifest, str(folder)), state, f"member {index}")
    if folder.exists():
        raise OutputError("exists already", where=str(folder), fix="Choose another folder.")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
        unfinished.mkdir()
        try:
            manifest = _write(unfinished, states, manifest, novelty)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return manifest


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle after checking every byte of it.

    Raises:
        BundleError: a file is missing or was changed, the format is newer than this version of Resight, or weights and
            manifest do not belong together.
    """
    folder = Path(folder)
    manifest = _open_manifest(folder)
    if problems := _file_problems(folder, manifest):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BundleError(problems[0] + more, where=str(folder), fix=UNCHANGED)
    members: list[Classifier] = []
    for name in manifest.weight_files():
        member = _new_classifier(manifest, str(folder))
        _load_strictly(member, _read_weights(folder / name, manifest), str(folder / name))
        members.append(member.eval())
    novelty = None
    if NOVELTY_FILE in manifest.files:
        novelty = Novelty.from_bytes((folder / NOVELTY_FILE).read_bytes(), str(folder / NOVELTY_FILE))
    return Bundle(tuple(members), manifest, novelty)


def verify_bundle(folder: str | Path) -> list[str]:
    """Everything that is wrong with the files of a bundle, one clause each; empty when nothing is.

    The weights are compared with their checksums but not loaded, and so are exported engines. Other files that the
    manifest does not name are not looked at.
    """
    folder = Path(folder)
    try:
        manifest = _open_manifest(folder)
        return _file_problems(folder, manifest) + export_problems(folder, manifest)
    except BundleError as error:
        return [str(error).removeprefix(f"{error.where}: ")]


def _write(folder: Path, states: Sequence[dict[str, Tensor]], manifest: Manifest, novelty: Novelty | None) -> Manifest:
    for name, state in zip(manifest.weight_files(), states, strict=True):
        # save_file would make a file that nobody but its owner may read.
        (folder / name).write_bytes(save(state, metadata=_fingerprint(manifest)))
    (folder / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
    names = (*manifest.weight_files(), CARD_FILE)
    if novelty is not None:
        (folder / NOVELTY_FILE).write_bytes(novelty.to_bytes())
        names = (*names, NOVELTY_FILE)
    manifest = manifest.model_copy(update={"files": {name: sha256(folder / name) for name in names}})
    seal = write_sealed(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
    for name in (*names, MANIFEST_FILE, seal.name):
        with (folder / name).open("rb") as stream:
            os.fsync(stream.fileno())
    return manifest


def _fingerprint(manifest: Manifest) -> dict[str, str]:
    """What weights must agree with; kept inside their file, so that it cannot be put beside another manifest."""
    meaning = {"labels": manifest.labels, "task": manifest.task, "channels": manifest.channels, "dims": manifest.dims}
    if manifest.encoding is not None:
        meaning["table"] = manifest.encoding.model_dump(mode="json")
    if manifest.modalities:
        meaning["modalities"] = manifest.modalities
    return {"resight": json.dumps(meaning)}


def _open_manifest(folder: Path) -> Manifest:
    """The manifest, if it is there, unchanged and of a format that is known."""
    where, expected = str(folder), "the folder of a bundle"
    if folder.is_file():
        raise BundleError("a file", where=where, expected=expected)
    if not folder.is_dir():
        raise BundleError("no such folder", where=where, expected=expected, fix=similar_path(folder))
    if not (folder / MANIFEST_FILE).is_file():
        inner = folder / "bundle"
        fix = f"Did you mean {str(inner)!r}?" if (inner / MANIFEST_FILE).is_file() else UNCHANGED
        raise BundleError(f"{MANIFEST_FILE} is missing", where=where, expected=expected, fix=fix)
    data: Any = read_sealed(folder / MANIFEST_FILE)
    try:
        version = data["format_version"]
    except (KeyError, TypeError) as error:
        raise BundleError(f"{MANIFEST_FILE} is not a manifest ({error})", where=str(folder)) from error
    if version != FORMAT_VERSION:
        found, fix = f"bundle format {version!r}", "Install a newer version of Resight."
        raise BundleError(found, where=str(folder), expected=str(FORMAT_VERSION), fix=fix)
    try:
        return validate(Manifest, data, where=MANIFEST_FILE)
    except SettingsError as error:
        raise BundleError(f"does not fit this version of Resight ({error})", where=str(folder)) from error


def _file_problems(folder: Path, manifest: Manifest) -> list[str]:
    names = (*manifest.weight_files(), CARD_FILE)
    unnamed = [f"{name} is not named in {MANIFEST_FILE}" for name in names if name not in manifest.files]
    return unnamed + changed_files(folder, manifest.files)


def _read_weights(path: Path, manifest: Manifest) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as opened:
            meaning = opened.metadata() or {}
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"cannot be read as safetensors ({error})", where=str(path)) from error
    if meaning != (expected := _fingerprint(manifest)):
        found = f"weights made for {meaning.get('resight', 'an unknown model')}"
        raise BundleError(found, where=str(path), expected=expected["resight"])
    return state


def _new_classifier(manifest: Manifest, where: str) -> Classifier:
    options = manifest.model.model_copy(update={"weights": None})
    try:
        with torch.device("meta"):
            return build_classifier(
                options,
                labels=manifest.labels,
                channels=manifest.channels,
                dims=manifest.dims,
                modalities=max(len(manifest.modalities), 1),
                encoding=manifest.encoding,
            )
    except SettingsError as error:
        raise BundleError(f"the model cannot be built ({error})", where=where) from error


def _load_strictly(classifier: Classifier, state: dict[str, Tensor], where: str) -> None:
    try:
        classifier.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        found = f"the weights do not fit the model that the manifest describes ({first})"
        raise BundleError(found, where=where) from error
