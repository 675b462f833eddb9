"""Intervals and tests against SciPy, published numbers, and DeLong's formulas written out pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from resight.evaluation import auroc_with_interval, clopper_pearson, delong, holm, mcnemar, proportion, wilson
from resight.evaluation.delong import _newcombe


@pytest.mark.parametrize(
    ("successes", "n", "exact", "score"),
    [
        (81, 263, (0.2527, 0.3676), (0.2553, 0.3662)),
        (15, 148, (0.0578, 0.1617), (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1684), (0.0, 0.1611)),
        (1, 29, (0.0009, 0.1776), (0.0061, 0.1718)),
    ],
)
def test_published_proportions(successes: int, n: int, exact: tuple[float, float], score: tuple[float, float]) -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I, methods 5 and 3."""
    assert clopper_pearson(successes, n) == pytest.approx(exact, abs=5e-5)
    assert wilson(successes, n) == pytest.approx(score, abs=5e-5)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_proportions_against_scipy(confidence: float) -> None:
    for n in (1, 7, 240):
        for successes in {0, 1, n // 3, n}:
            test = stats.binomtest(successes, n)
            expected = test.proportion_ci(confidence, "exact")
            assert clopper_pearson(successes, n, confidence) == pytest.approx(tuple(expected), abs=1e-10)
            expected = test.proportion_ci(confidence, "wilson")
            assert wilson(successes, n, confidence) == pytest.approx(tuple(expected), abs=1e-10)


def pairwise(y: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs and covariance straight from the kernel of every pair (Obuchowski 1997, equations 2 to 5)."""
    positives, negatives = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    m, n = len(positives), len(negatives)
    kernel = [(s[positives][:, None] > s[negatives]) + 0.5 * (s[positives][:, None] == s[negatives]) for s in scores]
    area = np.array([k.mean() for k in kernel])
    every = np.unique(patients)
    with_positive, with_negative = np.unique(patients[positives]), np.unique(patients[negatives])

    def of_positives(model: int, patient: int) -> float:
        return sum(kernel[model][i].mean() - area[model] for i in range(m) if patients[positives[i]] == patient)

    def of_negatives(model: int, patient: int) -> float:
        return sum(kernel[model][:, j].mean() - area[model] for j in range(n) if patients[negatives[j]] == patient)

    covariance = np.zeros((len(scores),) * 2)
    for r in range(len(scores)):
        for s in range(len(scores)):
            s10 = sum(of_positives(r, c) * of_positives(s, c) for c in with_positive)
            s10 *= len(with_positive) / ((len(with_positive) - 1) * m)
            s01 = sum(of_negatives(r, c) * of_negatives(s, c) for c in with_negative)
            s01 *= len(with_negative) / ((len(with_negative) - 1) * n)
            s11 = sum(of_positives(r, c) * of_negatives(s, c) + of_positives(s, c) * of_negatives(r, c) for c in every)
            s11 *= len(every) / (len(every) - 1)
            covariance[r, s] = s10 / m + s01 / n + s11 / (m * n)
    return area, covariance


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("digits", [1, 8])
def test_delong_against_every_pair(rng: np.random.Generator, clustered: bool, digits: int) -> None:
    y = (rng.random(60) < 0.4).astype(float)
    scores = np.round(rng.normal(size=(3, 60)) + 0.8 * y, digits)
    patients = rng.integers(0, 17, 60) if clustered else np.arange(60)
    area, covariance = pairwise(y, scores, patients)
    found = delong(y, scores, patients)
    np.testing.assert_allclose(found.auroc, area, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-14, rtol=1e-10)


def test_delong_of_single_images_is_the_textbook_variance(rng: np.random.Generator) -> None:
    """DeLong et al. 1988, equation 6: sample covariances of the structural components."""
    y = (rng.random(80) < 0.3).astype(float)
    scores = rng.normal(size=(2, 80)) + y
    wins = np.array([(s[y == 1][:, None] > s[y == 0]).mean(axis=1) for s in scores])
    losses = np.array([(s[y == 1][:, None] > s[y == 0]).mean(axis=0) for s in scores])
    expected = np.cov(wins) / wins.shape[1] + np.cov(losses) / losses.shape[1]
    np.testing.assert_allclose(delong(y, scores).covariance, expected, rtol=1e-10)


def test_newcombe_solves_its_equation() -> None:
    for area, m, n in ((0.85, 12, 40), (1.0, 9, 30), (0.0, 5, 8)):
        z, star = stats.norm.ppf(0.975), (m + n) / 2 - 1
        for end in _newcombe(area, m, n, 0.95):
            spread = end * (1 - end) * (1 + star * (1 - end) / (2 - end) + star * end / (1 + end)) / (m * n)
            if end not in (0.0, 1.0):
                assert abs(end - area) == pytest.approx(z * np.sqrt(spread), abs=1e-9)
    low, high = _newcombe(1.0, 9, 30, 0.95)
    assert 0.6 < low < 1
    assert high == 1.0


def test_mcnemar_is_the_binomial_test(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 200)) < [[0.7], [0.8]]
    found = mcnemar(a, b)
    assert (found.only_a_right, found.only_b_right) == (int((a & ~b).sum()), int((b & ~a).sum()))
    discordant = found.only_a_right + found.only_b_right
    exact = stats.binomtest(found.only_a_right, discordant).pvalue
    assert found.p == pytest.approx(exact, abs=1e-12)
    at_seen = stats.binom.pmf(found.only_a_right, discordant, 0.5)
    assert found.mid_p == pytest.approx(exact - at_seen, abs=1e-12)


def test_mcnemar_by_patient_enumerates_signs(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 60)) < [[0.6], [0.8]]
    patients = rng.integers(0, 12, 60)
    net = np.bincount(patients, b.astype(int) - a.astype(int), minlength=12)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 12)).reshape(12, -1)
    sums = np.abs(signs.T @ np.abs(net))
    assert mcnemar(a, b, patients).p == pytest.approx(np.mean(sums >= abs(net.sum()) - 1e-9), abs=1e-12)


def test_mcnemar_of_many_patients_uses_the_normal_without_a_jump(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 4000)) < [[0.65], [0.68]]
    found = mcnemar(a, b)
    discordant = found.only_a_right + found.only_b_right
    assert discordant > 1000
    assert found.mid_p == pytest.approx(stats.binomtest(found.only_a_right, discordant).pvalue, abs=0.01)


def test_holm_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = holm([0.2, float("nan"), 0.03])
    assert corrected[0] == pytest.approx(0.2)
    assert corrected[2] == pytest.approx(0.06)
    assert np.isnan(corrected[1])
    assert holm([]) == []


def draw(rng: np.random.Generator, patients: int, images: int, effect: float) -> tuple[np.ndarray, ...]:
    """Patients with a random level of their own, so that their images resemble each other; AUROC is known."""
    owner = np.repeat(np.arange(patients), images)
    sick = rng.random(patients) < 0.4
    sick[:2], sick[2:4] = True, False
    y = np.where(rng.random(len(owner)) < 0.85, sick[owner], ~sick[owner]).astype(float)
    level = rng.normal(0, 1.0, patients)[owner]
    return y, effect * y + level + rng.normal(0, 0.5, len(owner)), owner


@pytest.mark.parametrize(("kind", "bounds"), [("delong", (0.91, 0.985)), ("logit", (0.92, 0.99))])
def test_auroc_interval_covers(kind: str, bounds: tuple[float, float]) -> None:
    """600 studies of 60 single images each; binomial noise of the share is 0.009."""
    rng = np.random.default_rng(8)
    truth = stats.norm.cdf(1.2 / np.sqrt(2))
    inside = 0
    for _ in range(600):
        y = np.repeat([0.0, 1.0], [40, 20])
        value = auroc_with_interval(y, rng.normal(size=60) + 1.2 * y, on_logit_scale=kind == "logit")
        inside += value.low <= truth <= value.high
    assert bounds[0] < inside / 600 < bounds[1]


def test_auroc_interval_by_patient_covers_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(9)
    y, s, _ = draw(rng, 100_000, 1, 1.0)
    truth = stats.mannwhitneyu(s[y == 1], s[y == 0]).statistic / ((y == 1).sum() * (y == 0).sum())
    by_patient, plain = 0, 0
    for _ in range(400):
        y, s, owner = draw(rng, 60, 8, 1.0)
        value = auroc_with_interval(y, s, owner)
        by_patient += value.low <= truth <= value.high
        value = auroc_with_interval(y, s)
        plain += value.low <= truth <= value.high
    assert by_patient / 400 > 0.9
    assert plain / 400 < 0.8


def test_proportion_by_patient_covers_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(10)
    by_patient, plain = 0, 0
    for _ in range(400):
        owner = np.repeat(np.arange(40), 10)
        hit = rng.random(400) < rng.beta(2, 1, 40)[owner]
        value = proportion(hit, owner)
        by_patient += value.low <= 2 / 3 <= value.high
        value = proportion(hit)
        plain += value.low <= 2 / 3 <= value.high
    assert by_patient / 400 > 0.92
    assert plain / 400 < 0.85


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_exact_interval_never_covers_less_than_it_says(share: float) -> None:
    n = 45
    inside = [low <= share <= high for low, high in (clopper_pearson(k, n) for k in range(n + 1))]
    assert stats.binom.pmf(np.flatnonzero(inside), n, share).sum() >= 0.95


def test_published_delong_interval() -> None:
    """109 CT images rated 1 to 5, Hanley & McNeil 1982, Radiology 143:29, table I.

    The area, its DeLong standard error and interval are those that Stata's manual prints for these data (`roctab`).
    """
    ratings = np.arange(1.0, 6.0)
    normal, abnormal = np.repeat(ratings, [33, 6, 6, 11, 2]), np.repeat(ratings, [3, 2, 2, 11, 33])
    found = auroc_with_interval(np.repeat([0, 1], [58, 51]), np.concatenate([normal, abnormal]))
    assert round(found.value, 4) == 0.8932
    assert round((found.high - found.low) / 2 / stats.norm.ppf(0.975), 4) == 0.0307
    assert (round(found.low, 5), round(found.high, 5)) == (0.83295, 0.95339)
