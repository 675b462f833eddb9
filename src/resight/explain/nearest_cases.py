"""Which training cases look alike to the model: nearest neighbours by cosine, never of the same patient.

Source of the idea: Caruana et al., AMIA 1999, "Case-based explanation of non-case-based learning methods".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from resight.errors import BundleError, DataError
from resight.models import Predictor, named_sources

Features = Float[np.ndarray, "N F"]


@dataclass(frozen=True)
class Neighbour:
    """A training case.

    Attributes:
        image: its identifier.
        patient: its patient.
        distance: 1 less the cosine of the features; 0 is the same direction, 2 the opposite.
    """

    image: str
    patient: str
    distance: float


class NearestCases:
    """Features of the training cases, at unit length, with image and patient of each.

    Args:
        unit_features: `(N, F)` of length 1.
        images: identifiers.
        patients: patient of each image.
    """

    def __init__(self, unit_features: Features, images: Sequence[str], patients: Sequence[str]) -> None:
        self._features = unit_features
        self._images = tuple(images)
        self._patients = tuple(patients)

    @classmethod
    def fit(cls, features: Features, images: Sequence[str], patients: Sequence[str]) -> NearestCases:
        """Remember training cases.

        Args:
            features: what the head of the classifier takes, one row a case.
            images: identifiers; where the patient is not known, give the image for the patient too.
            patients: patient of each image.

        Raises:
            DataError: the lengths differ, or a row is not finite or all 0 and so has no direction.
        """
        if not len(features) == len(images) == len(patients):
            found = f"{len(features)} rows of features, {len(images)} images, {len(patients)} patients"
            raise DataError(found, where="nearest cases", expected="one each")
        return cls(_unit(features), [str(i) for i in images], [str(p) for p in patients])

    def __len__(self) -> int:
        return len(self._images)

    def query(
        self, features: Float[np.ndarray, "M F"], patients: Sequence[str | None], *, count: int = 5
    ) -> list[list[Neighbour]]:
        """The nearest training cases of other patients.

        Args:
            features: of the images asked about.
            patients: patient of each; None where it is certain that the patient is not in the training data.
            count: neighbours wanted.

        Returns:
            For each image its neighbours, nearest first; fewer where there are not enough other patients' cases.

        Raises:
            DataError: features of another length, not finite or all 0, or not as many patients.
        """
        if features.ndim != 2 or features.shape[1] != self._features.shape[1] or len(features) != len(patients):
            found = f"features {features.shape} and {len(patients)} patients"
            raise DataError(found, where="nearest cases", expected=f"rows of {self._features.shape[1]} and one each")
        known = np.asarray(self._patients, dtype=object)
        distances = 1 - _unit(features) @ self._features.T
        results = []
        for row, patient in zip(distances, patients, strict=True):
            allowed = np.flatnonzero(known != (None if patient is None else str(patient)))
            order = allowed[np.argsort(row[allowed], kind="stable")[:count]]
            results.append([Neighbour(self._images[i], self._patients[i], float(row[i])) for i in order])
        return results

    def save(self, path: Path) -> None:
        """Write one safetensors file; identifiers stand in its header as JSON."""
        cases = json.dumps({"images": self._images, "patients": self._patients})
        save_file({"features": self._features}, path, metadata={"cases": cases})

    @classmethod
    def load(cls, path: Path) -> NearestCases:
        """Read what `save` wrote.

        Raises:
            BundleError: no such file, or another kind of file.
        """
        try:
            with safe_open(path, framework="np") as stored:
                cases = json.loads((stored.metadata() or {})["cases"])
                return cls(stored.get_tensor("features"), cases["images"], cases["patients"])
        except (OSError, SafetensorError, KeyError) as error:
            raise BundleError(f"not a file of nearest cases ({error})", where=str(path)) from error


def similar_cases(
    predictor: Predictor, cases: NearestCases, images: Sequence[Path], patient: str | None = None, *, count: int = 3
) -> dict[str, str]:
    """The training cases that look most alike, in words, by name of the image; those that cannot be read are left out.

    Args:
        predictor: of the model the cases are features of.
        cases: training cases.
        images: files or folders, named as in a prediction.
        patient: whose images these are; cases of the same patient are not named.
        count: cases named for each image.
    """
    found: dict[str, str] = {}
    for name, source in named_sources(list(images), relative=len(images) == 1):
        try:
            features = predictor.features(predictor.prepare(source, name)[None])
            (near,) = cases.query(features, [patient], count=count)
        except DataError:  # it has its own row with the reason
            continue
        found[name] = "; ".join(f"{one.image} ({one.distance:.3f})" for one in near)
    return found


def _unit(features: Features) -> Features:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if len(bad):
        raise DataError(f"row {bad[0]} has length {length[bad[0], 0]}", where="features", expected="finite, above 0")
    return (features / length).astype(np.float32)
