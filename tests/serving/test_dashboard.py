"""The dashboard: planted drift is found, its absence is left alone, and groups are counted right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from review_service import LABELS, model_settings, write_bundle

from resight.monitoring import MonitorOptions, Reference, fit_reference, monitor
from resight.predictions import Predictions
from resight.serving import ServiceSettings
from resight.serving.accounts import add_user
from resight.serving.dashboard import group_rows, height, incoming, rate
from resight.serving.parts import Parts
from resight.serving.people import Decision
from resight.serving.schema import Finding, Instance, Prediction, Study
from resight.serving.service import Service

CASES = 60


def scores(seed: int, shift: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.random.default_rng(seed).normal(shift, 1, (CASES, len(LABELS)))))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    images = pd.DataFrame({"image": [f"r{n}" for n in range(CASES)]})
    before = scores(0, -1.0)
    known = Predictions.from_arrays(images, LABELS, "multilabel", score=before, probability=before)
    bundle = write_bundle(tmp_path / "bundle", reference=fit_reference(known).to_dict())
    given = {"folder": tmp_path / "service", "models": [model_settings(bundle)]}
    with Parts(Service(ServiceSettings.model_validate(given))) as parts:
        yield parts


def fill(parts: Parts, table: np.ndarray) -> int:
    """Answers as the worker writes them; women are every third patient."""
    model = parts.models.current("chest")
    assert model is not None
    with parts.service.store.write() as session:
        add_user(session, "ann", "reader", "correct horse battery staple", by="test")
        for number, row in enumerate(table):
            sex, age = "F" if number % 3 == 0 else "M", 30.0 if number < 10 else None
            study = Study(study_uid=f"1.2.{number}", patient_id=f"P{number}", patient_sex=sex, patient_age_years=age)
            session.add(study)
            session.flush()
            instance = Instance(study_pk=study.id, sop_uid=f"1.2.{number}.1", file="x", sha256="x", size_bytes=1,
                                modality="DX")  # fmt: skip
            prediction = Prediction(study_pk=study.id, model_pk=model.pk, key=str(number), calibrated=True)
            session.add_all([instance, prediction])
            session.flush()
            for label, value in zip(LABELS, row.tolist(), strict=True):
                logit = float(np.log(value / (1 - value)))
                session.add(Finding(prediction_pk=prediction.id, instance_pk=instance.id, label=label, logit=logit,
                                    score=value, probability=value, decision=int(value >= 0.5)))  # fmt: skip
        for action in ("accept", "override"):  # the later one counts
            session.add(Decision(study_pk=1, prediction_pk=1, label="mass", user_pk=1, action=action))
            session.flush()
    return model.pk


@pytest.mark.parametrize(("shift", "drifted"), [(-1.0, False), (2.0, True)])
def test_planted_drift_is_found_and_its_absence_is_left_alone(parts: Parts, shift: float, drifted: bool) -> None:
    fill(parts, scores(1, shift))
    model = parts.models.current("chest")
    assert model is not None
    with parts.service.store.read() as session:
        table = incoming(session, model)
    assert table is not None
    np.testing.assert_allclose(table.probabilities(), scores(1, shift))
    reference = Reference.model_validate(model.predictor.manifest.reference)
    assert monitor(reference, [table], MonitorOptions()).drifted is drifted


def test_groups_are_counted_by_study_with_intervals(parts: Parts) -> None:
    table = scores(1, 0.0)
    pk = fill(parts, table)
    with parts.service.store.read() as session:
        rows = {(row.attribute, row.group, row.label): row for row in group_rows(session, pk)}
    women = rows["sex", "F", "mass"]
    called = table[::3, LABELS.index("mass")] >= 0.5
    assert (women.present.count, women.present.n) == (int(called.sum()), len(called))
    assert women.present.low < called.mean() < women.present.high
    assert (women.overridden.count, women.overridden.n) == (1, 1)
    assert rows["sex", "M", "mass"].overridden.n == 0
    assert rows["age in years", "below 40", "mass"].present.n == 10
    assert rows["age in years", "not known", "mass"].present.n == CASES - 10
    assert np.isnan(rate(0, 0).low)


def test_the_curve_of_the_watch_stays_in_its_box() -> None:
    assert height(1000, 100) == 0
    assert height(1e9, 100) == 0
    assert height(0, 100) == 40
    assert 0 < height(100, 100) < height(1, 100) < 40
