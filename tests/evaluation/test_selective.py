from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resight.evaluation import RiskCoverage, confidence_of, patient_index, risk_coverage
from resight.predictions import Predictions

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def of_real_images(study: str, label: str) -> RiskCoverage:
    table = Predictions.read(RESULTS / study)
    table = table.part(split="test") if "split" in table.table else table
    probabilities, column = table.probabilities(), table.labels.index(label)
    wrong = (probabilities >= 0.5) != (table.targets() > 0)
    confidence = confidence_of(probabilities, "multilabel")[:, column]
    return risk_coverage(confidence, wrong[:, column], patient_index(table.groups())[0], replicates=300)


def test_the_area_is_the_mean_of_the_risks() -> None:
    wrong = np.array([False, False, True, False, True])
    found = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), wrong, replicates=0)
    risks = [0, 0, 1 / 3, 1 / 4, 2 / 5]
    np.testing.assert_allclose(found.risk, risks)
    assert found.aurc.value == pytest.approx(np.mean(risks))
    assert found.at[1.0].value == pytest.approx(0.4)
    assert found.gain.value == pytest.approx(0.4 - 1 / 3)


def test_the_best_order_has_no_excess_and_a_random_one_the_overall_risk(rng: np.random.Generator) -> None:
    wrong = np.arange(4000) % 5 == 0
    best = risk_coverage(np.where(wrong, 0.0, 1.0) + rng.random(4000) * 0.1, wrong, replicates=0)
    blind = risk_coverage(rng.random(4000), wrong, replicates=0)
    assert best.excess.value == pytest.approx(0, abs=1e-3)
    assert blind.aurc.value == pytest.approx(0.2, abs=0.03)


def test_tied_confidence_is_answered_together(rng: np.random.Generator) -> None:
    wrong = rng.random(300) < 0.3
    tied = risk_coverage(np.full(300, 0.7), wrong, replicates=0)
    assert tied.risk.tolist() == [pytest.approx(wrong.mean())]
    assert tied.gain.value == pytest.approx(0)
    shuffled = rng.permutation(300)
    confidence = np.round(rng.random(300), 1)
    a = risk_coverage(confidence, wrong, replicates=0)
    b = risk_coverage(confidence[shuffled], wrong[shuffled], replicates=0)
    assert a.aurc.value == pytest.approx(b.aurc.value, abs=1e-12)


def test_nothing_answered_is_not_estimable() -> None:
    assert risk_coverage(np.empty(0), np.empty(0, dtype=bool)).aurc.undefined_because == "no images"


def test_an_interval_holds_the_value_and_patients_widen_it(rng: np.random.Generator) -> None:
    confidence, wrong = rng.random(400), rng.random(400) < 0.25
    alone = risk_coverage(confidence, wrong, replicates=300)
    together = risk_coverage(
        np.repeat(confidence[:40], 10), np.repeat(wrong[:40], 10), np.repeat(np.arange(40), 10), replicates=300
    )
    assert alone.aurc.low < alone.aurc.value < alone.aurc.high
    assert together.aurc.high - together.aurc.low > 1.5 * (alone.aurc.high - alone.aurc.low)


@pytest.mark.parametrize(
    ("study", "label"),
    [
        ("cxr_pneumonia/predictions.csv", "PNEUMONIA"),
        ("fairness/nih_predictions.csv.gz", "Effusion"),
        ("fairness/isic_predictions.csv.gz", "melanoma"),
        ("fairness/isic_predictions.csv.gz", "seborrheic_keratosis"),
    ],
)
def test_on_real_images_the_risk_falls_all_the_way(study: str, label: str) -> None:
    found = of_real_images(study, label)
    risks = [found.at[share].value for share in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)]
    assert risks == sorted(risks, reverse=True)
    assert found.gain.low > 0
    assert not found.misleads


@pytest.mark.parametrize("label", ["Atelectasis", "Infiltration"])
def test_on_findings_that_the_network_hardly_knows_no_step_rises_beyond_chance(label: str) -> None:
    found = of_real_images("fairness/nih_predictions.csv.gz", label)
    assert max(rise.value for rise in found.rises.values()) > 0
    assert not found.misleads
    assert found.gain.low < 0 < found.gain.high


def test_confidence_that_misleads_is_noticed_and_chance_is_not() -> None:
    """The surer half is wrong more often; and of confidence that says nothing at most 5 % of worlds are called so."""
    rng = np.random.default_rng(0)
    confidence = rng.random(2000)
    found = risk_coverage(confidence, rng.random(2000) < 0.1 + 0.4 * confidence, replicates=300)
    assert found.misleads
    assert all(rise.low <= rise.value <= rise.high for rise in found.rises.values())
    assert found.rises[0.5].value == pytest.approx(found.at[0.5].value - found.at[0.6].value)
    worlds = [risk_coverage(rng.random(300), rng.random(300) < 0.3, replicates=300) for _ in range(200)]
    assert np.mean([world.misleads for world in worlds]) <= 0.05


def test_nothing_wrong_is_no_certainty() -> None:
    confidence, wrong = np.arange(40)[::-1] / 40, np.arange(40) >= 30
    found = risk_coverage(confidence, wrong, replicates=50)
    assert (found.at[0.5].value, found.at[0.5].low) == (0, 0)
    assert found.at[0.5].high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert found.at[0.5].interval == "Clopper-Pearson"
    assert found.at[1.0].interval == "bootstrap by patient"


def test_confidence_of_classes_is_that_of_the_likeliest() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1]])
    assert confidence_of(probabilities, "multiclass").tolist() == [[0.7]]
    assert confidence_of(probabilities, "multilabel").tolist() == [[0.8, 0.7, 0.9]]
