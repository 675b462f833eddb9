"""Decision curves against the formula, and at their ends."""

from __future__ import annotations

import numpy as np
import pytest

from resight.evaluation import decision_curve


def test_net_benefit_is_what_vickers_and_elkin_wrote(rng: np.random.Generator) -> None:
    y = (rng.random(300) < 0.2).astype(float)
    p = np.round(np.clip(rng.normal(0.2, 0.1, 300) + 0.2 * y, 0, 1), 2)
    curve = decision_curve(y, p)
    for t, model, everybody in zip(curve.threshold, curve.model, curve.treat_all, strict=True):
        act = p >= t
        odds = t / (1 - t)
        assert model == pytest.approx(np.mean(act & (y == 1)) - np.mean(act & (y == 0)) * odds)
        assert everybody == pytest.approx(y.mean() - (1 - y.mean()) * odds)


def test_below_every_probability_the_model_treats_all() -> None:
    y, p = np.array([1.0, 0, 0]), np.array([0.4, 0.5, 0.6])
    curve = decision_curve(y, p, np.array([0.1, 0.9]))
    assert curve.model[0] == curve.treat_all[0]
    assert curve.model[1] == 0


def test_no_rows() -> None:
    assert np.isnan(decision_curve(np.zeros(0), np.zeros(0)).model).all()
