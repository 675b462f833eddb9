"""Image-text encoders from files: an image encoder as an ONNX graph, label embeddings as a table.

A label's score is the cosine between the image's embedding and the label's, as in CLIP (Radford et al., ICML 2021,
section 3.1.4): no image of the cohort has to be learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from pydantic import Field

from resight.errors import BundleError, CohortError, SettingsError, require
from resight.evaluation import auroc_with_interval, patient_index
from resight.fewshot.base import Features
from resight.fewshot.cohort_features import CohortFeatures, embed_cohort
from resight.fewshot.descriptions import Descriptions
from resight.fewshot.prototypes import unit
from resight.preprocess import Recipe
from resight.settings import Options
from resight.tables import read_table, require_columns
from resight.types import Cohort, MetricValue, Progress, Targets, silent

_FLOAT = "tensor(float)"


class ImageEncoderOptions(Options):
    """How images reach an encoder; the defaults are CLIP's."""

    size_px: int = Field(default=224, gt=0, description="side of the square input, where the graph leaves it open")
    mean: tuple[float, ...] = Field(default=(0.481, 0.458, 0.408), description="per channel, in [0, 1]")
    std: tuple[float, ...] = Field(default=(0.269, 0.261, 0.276), description="per channel, in [0, 1]")


@dataclass(frozen=True)
class DescribedLabel:
    """AUROC of a label by its embedding alone, with DeLong's interval, by patient."""

    label: str
    auroc: MetricValue


class ImageEncoder:
    """An ONNX graph `(B, C, H, W)` to `(B, D)`, in ONNX Runtime on the CPU.

    Args:
        path: of the graph.
        options: size where the graph leaves it open, and normalisation.

    Raises:
        BundleError: it cannot be read, or its inputs and outputs are not such.
        SettingsError: mean and std are not one number for each channel.
        DependencyError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, options: ImageEncoderOptions | None = None) -> None:
        options = options or ImageEncoderOptions()
        where = str(path)
        if not path.is_file():
            raise BundleError("no such file", where=where, expected="an image encoder as an ONNX graph")
        ort: Any = require("onnxruntime", extra="export")
        session = ort.SessionOptions()
        session.log_severity_level = 3
        session.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(where, session, providers=["CPUExecutionProvider"])
        except Exception as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise BundleError(f"ONNX Runtime cannot read it ({line})", where=where) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            names = ", ".join(one.name for one in inputs)
            fix = "Export the image tower of the model by itself."
            raise BundleError(f"{len(inputs)} inputs ({names})", where=where, expected="images alone", fix=fix)
        shape = inputs[0].shape
        if len(shape) != 4 or shape[1] not in (1, 3) or inputs[0].type != _FLOAT:
            found = f"input {inputs[0].name!r} is {inputs[0].type} {shape}"
            raise BundleError(found, where=where, expected=f"{_FLOAT} (B, 1 or 3, H, W)")
        if len(outputs[0].shape) != 2:
            found = f"output {outputs[0].name!r} has shape {outputs[0].shape}"
            raise BundleError(found, where=where, expected="one embedding an image, (B, D)")
        channels: Literal[1, 3] = shape[1]
        if len(options.mean) != len(options.std) or len(options.mean) not in (1, channels):
            found = f"{len(options.mean)} means and {len(options.std)} standard deviations"
            raise SettingsError(found, where=where, expected=f"one, or {channels}, the channels of the graph")
        if min(options.std) <= 0:
            raise SettingsError(f"std = {min(options.std)}", where=where, expected="above 0")
        height, width = (side if isinstance(side, int) else options.size_px for side in shape[2:])
        self.recipe = Recipe(size_px=(height, width), channels=channels)
        self._where, self._input, self._output = where, inputs[0].name, outputs[0].name
        self._one_by_one = shape[0] == 1
        self._mean, self._std = (
            np.array(part, dtype=np.float32).reshape(1, -1, 1, 1) for part in (options.mean, options.std)
        )

    def embed(self, prepared: Shaped[np.ndarray, "B C H W"]) -> Features:
        """Embeddings `(B, D)` of images that the encoder's recipe prepared.

        Raises:
            BundleError: the graph fails on them, or its answer is not finite.
        """
        images = ((prepared.astype(np.float32) / 255 - self._mean) / self._std).astype(np.float32)
        parts = np.split(images, len(images)) if self._one_by_one else [images]
        try:
            found = np.concatenate([self._session.run([self._output], {self._input: part})[0] for part in parts])
        except Exception as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            found = f"fails on images {prepared.shape[1:]} ({line})"
            raise BundleError(found, where=self._where, fix="Give the size it was exported for.") from error
        if not np.isfinite(found).all():
            raise BundleError("embeddings that are not finite", where=self._where)
        return found.astype(np.float64)

    def cohort(self, cohort: Cohort, progress: Progress = silent) -> CohortFeatures:
        """Embeddings of every image of a cohort.

        Raises:
            CohortError: none of the images can be read.
        """
        return embed_cohort(cohort, self.recipe.prepare, self.embed, progress)


def read_embeddings(path: Path, labels: tuple[str, ...]) -> Descriptions:
    """Embeddings of labels, of length 1.

    Args:
        path: table with the column `label` and one column for each dimension, in order; several rows of a label (one
            a sentence) are averaged after scaling to length 1.
        labels: which, in order.

    Raises:
        CohortError: a label is missing, or a value is no number.
    """
    table = read_table(path, error=CohortError, text_columns=("label",))
    require_columns(table, "label", error=CohortError, where=str(path))
    if missing := [label for label in labels if label not in set(table["label"])]:
        raise CohortError(f"no embedding of {missing[0]!r}", where=str(path), expected="at least one row a label")
    numbers = table.drop(columns="label").apply(pd.to_numeric, errors="coerce")
    if numbers.empty or not np.isfinite(numbers.to_numpy(dtype=np.float64)).all():
        raise CohortError("embeddings that are not numbers", where=str(path), expected="columns of numbers")
    rows = unit(numbers.to_numpy(dtype=np.float64))
    return unit(np.stack([rows[(table["label"] == label).to_numpy()].mean(axis=0) for label in labels]))


def judge_descriptions(
    images: Features,
    targets: Targets,
    labels: tuple[str, ...],
    embeddings: Descriptions,
    patients: Shaped[np.ndarray, " N"],
) -> tuple[DescribedLabel, ...]:
    """AUROC of every label by the cosine to its embedding.

    Args:
        images: embeddings of the images.
        targets: `(N, L)`; NaN where not known.
        labels: names.
        embeddings: `(L, D)` of the labels.
        patients: patient of each image.

    Raises:
        CohortError: the embeddings of images and labels are not of one size.
    """
    if images.shape[1] != embeddings.shape[1]:
        found = f"{embeddings.shape[1]} numbers a label and {images.shape[1]} an image"
        raise CohortError(found, where="zero-shot", expected="label embeddings of the encoder's own text side")
    owner, _ = patient_index(patients)
    scores: Float[np.ndarray, "N L"] = unit(images) @ embeddings.T
    known = ~np.isnan(targets)
    return tuple(
        DescribedLabel(label, auroc_with_interval(targets[rows, column], scores[rows, column], owner[rows]))
        for column, label in enumerate(labels)
        for rows in [known[:, column]]
    )
