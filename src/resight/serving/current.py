"""Which answer of a model counts: the newest; an image that comes late gives another one, and those before are kept.

As in IHE AI Results, the report of the newest names the one before it as its predecessor, and nothing is taken back.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import aliased

from resight.serving.people import Decision
from resight.serving.schema import Model, Prediction, Study


def current_predictions(study: Study) -> list[Prediction]:
    """Of each model the newest answer; one of the version in service goes before those of others."""
    by_model: dict[str, Prediction] = {}
    for one in sorted(study.predictions, key=lambda one: (one.model.active, one.id)):
        by_model[one.model.name] = one
    return sorted(by_model.values(), key=lambda one: one.id)


def is_current() -> ColumnElement[bool]:
    """The same as a condition on `Prediction` for queries over many studies."""
    other, its_model, our_model = aliased(Prediction), aliased(Model), aliased(Model)
    goes_before = or_(
        its_model.active & ~our_model.active, (its_model.active == our_model.active) & (other.id > Prediction.id)
    )
    better = (
        select(other.id)
        .join(its_model, its_model.id == other.model_pk)
        .join(our_model, our_model.id == Prediction.model_pk)
        .where(other.study_pk == Prediction.study_pk, its_model.name == our_model.name, goes_before)
    )
    return ~better.correlate(Prediction).exists()


def is_of_newest_answer() -> ColumnElement[bool]:
    """Condition on `Decision`: no model has answered the study anew since."""
    later = select(Prediction.id).where(
        Prediction.study_pk == Decision.study_pk, Prediction.created_at > Decision.created_at
    )
    return ~later.correlate(Decision).exists()
