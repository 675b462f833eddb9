"""Evidence on the slices of a series that a model of single images judged one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from resight.explain import PlacedEvidence
from resight.findings.base import along_slices
from resight.serving.current import is_current
from resight.serving.pictures import source_of
from resight.serving.schema import Finding, Instance, Model, Prediction


@dataclass(frozen=True, eq=False)
class SliceEvidence:
    """What `PlacedEvidence` is to a volume, for slices that were judged alone.

    A map of one slice does not tell how its evidence compares with that of the next. Each map is therefore drawn as
    strong as the model was sure of the label on its slice.

    Attributes:
        labels: of the model.
        numbers: probability of the label that was asked for on each slice; NaN where the slice was not judged.
        explain: maps of the slice at a place.
    """

    labels: tuple[str, ...]
    numbers: Float[np.ndarray, " D"]
    explain: Callable[[int], PlacedEvidence]

    def plane(self, label: str, place: int) -> Float[np.ndarray, "H W"]:
        """The map of a label on one slice, its peak at the probability.

        Raises:
            LookupError: the slice was not judged.
        """
        number = float(self.numbers[place])
        if np.isnan(number):
            raise LookupError("the model did not judge this slice")
        found = np.nan_to_num(self.explain(place).plane(label)).clip(min=0)
        peak = float(found.max(initial=0.0))
        return found * (number / peak) if peak > 0 else found

    def profile(self, label: str) -> Float[np.ndarray, " D"]:
        """Probability of the label on each slice, 0 where the slice was not judged."""
        del label  # there is one
        return np.nan_to_num(self.numbers)


def in_order(instances: Sequence[Instance]) -> list[Instance]:
    """Single-frame instances of a series in the order that its slices are shown in."""
    places = {one.sop_uid: one for one in instances}
    return [places[source.SOPInstanceUID] for source in along_slices(tuple(map(source_of, instances)))]


def probabilities_of(
    session: Session, instances: Sequence[Instance], model: str, version: str, label: str
) -> Float[np.ndarray, " D"]:
    """What the current answer of a version says of a label on each of these; NaN where it says nothing."""
    number = func.coalesce(Finding.probability, Finding.score)
    wanted = (
        select(Finding.instance_pk, number)
        .join(Prediction, Prediction.id == Finding.prediction_pk)
        .join(Model, Model.id == Prediction.model_pk)
        .where(Prediction.study_pk == instances[0].study_pk, is_current(), Finding.error == "")
        .where(Model.name == model, Model.model_hash == version, Finding.label == label)
    )
    known = {row[0]: row[1] for row in session.execute(wanted)}
    found = [known.get(one.id) for one in instances]
    return np.array([np.nan if one is None else one for one in found])
