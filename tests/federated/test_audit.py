"""Figures from sums equal those of the pooled images, and sites' own figures are theirs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from resight.evaluation import OperatingPoint, OperatingRule, auroc_with_interval, ece, slope_and_intercept
from resight.evaluation.options import EvaluationOptions
from resight.federated.audit import choose_points, pooled_figures
from resight.federated.coordinator import Coordinator
from resight.federated.counts import LEVELS, count, group_titles, rounded, spread_out, tied_share
from resight.federated.shift import site_shift
from resight.federated.simulate import InProcess, run_sites, sites_of

POINT = OperatingPoint(name="shared", label="a", threshold=0.4, rule=OperatingRule(kind="threshold", value=0.4))
OPTIONS = EvaluationOptions(bootstrap=0, auroc_interval="delong", baselines=False)


def some(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(float)
    y[:2] = 0, 1
    return y, 1 / (1 + np.exp(-rng.normal(1.2 * y - 0.5, 1)))


def counted(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return count(p[:, None], y[:, None], np.ones((len(y), 1), bool), pd.DataFrame(index=range(len(y))), {})[0, 0]


@given(st.lists(st.integers(3, 60), min_size=1, max_size=5), st.integers(0, 10_000))
def test_pooled_figures_follow_from_sums_to_the_last_digits(sizes: list[int], seed: int) -> None:
    sites = [some(n, seed + number) for number, n in enumerate(sizes)]
    y, p = (np.concatenate(part) for part in zip(*sites, strict=True))
    p = rounded(p)
    total = np.sum([counted(*site) for site in sites], axis=0)
    found = pooled_figures(total, "everyone", "a", (POINT,), OPTIONS).evaluation.labels[0].metrics
    assert found["auroc"].value == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    pooled = auroc_with_interval(y, p)
    assert found["auroc"].low == pytest.approx(pooled.low, abs=1e-12, nan_ok=True)
    assert found["auroc"].high == pytest.approx(pooled.high, abs=1e-12, nan_ok=True)
    assert found["brier"].value == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert found["ece"].value == pytest.approx(ece(y, p).value, abs=1e-12)
    calibration = slope_and_intercept(y, p)
    for name in ("calibration_slope", "calibration_intercept"):
        assert found[name].value == pytest.approx(calibration[name].value, abs=1e-7, nan_ok=True)
    assert found["sensitivity"].value == pytest.approx(np.mean(p[y > 0] >= 0.4), abs=1e-12)
    assert found["specificity"].value == pytest.approx(np.mean(p[y == 0] < 0.4), abs=1e-12)


@given(st.integers(5, 200), st.integers(0, 10_000))
def test_rounding_changes_auroc_by_no_more_than_half_of_the_tied_pairs(n: int, seed: int) -> None:
    y, p = some(n, seed)
    p = p / 200  # many scores to a level
    counts = counted(y, p)
    rows = spread_out(counts)
    off = abs(roc_auc_score(y, p) - roc_auc_score(rows.targets, rows.probabilities))
    assert off <= tied_share(counts) / 2 + 1e-12


def test_what_is_not_known_does_not_count_and_groups_count_apart() -> None:
    y, p = some(50, 0)
    sex = pd.DataFrame({"sex": np.where(np.arange(50) % 3 == 0, "F", "M")})
    mask = np.ones((50, 1), bool)
    mask[10:20] = False
    p[5], y[6] = np.nan, 0.7
    counts = count(p[:, None], y[:, None], mask, sex, {"sex": ("F", "M"), "age": ("old",)})
    assert counts.shape == (4, 1, 2, LEVELS)
    assert group_titles({"sex": ("F", "M"), "age": ("old",)}) == ("everyone", "sex = F", "sex = M", "age = old")
    assert counts[0].sum() == 38
    assert counts[1].sum() + counts[2].sum() == 38
    assert counts[3].sum() == 0
    usable = mask[:, 0] & np.isfinite(p) & np.isin(y, (0, 1))
    assert counts[1, 0, 1].sum() == int((usable & (y == 1) & (sex["sex"] == "F").to_numpy()).sum())


def test_the_shared_threshold_is_that_of_the_pooled_validation_images() -> None:
    y, p = some(300, 1)
    rule = OperatingRule(kind="sensitivity", value=0.9)
    (point,) = choose_points(counted(y, p)[None, None], ("a",), rule)
    assert np.mean(rounded(p)[y > 0] >= point.threshold) >= 0.9
    assert np.mean(rounded(p)[y > 0] >= point.threshold + 0.02) < 0.9


def test_a_shifted_site_stands_out_and_a_like_one_does_not() -> None:
    rest, like, other = counted(*some(4000, 0)), counted(*some(4000, 1)), counted(*some(4000, 2))
    moved = np.roll(other, LEVELS // 4, axis=1)
    moved[1] = other[1] * 2
    alike, shifted = site_shift(like, rest), site_shift(moved, rest)
    assert alike["stability_index"].value < 0.02
    assert alike["prevalence_difference"].low < 0 < alike["prevalence_difference"].high
    assert shifted["stability_index"].value > 0.25
    assert shifted["prevalence_difference"].low > 0.1
    assert shifted["largest_distance"].value > 5 * alike["largest_distance"].value
    assert site_shift(like * 0, rest)["stability_index"].undefined_because == "no images here"


def test_secure_sums_give_the_same_audit_as_open_ones(settings, three, tmp_path: Path) -> None:
    audit = {"groups": {"sex": ("F", "M")}}
    plain = run_sites("plain", settings(rounds=1, audit=audit), three, tmp_path / "plain").audit
    privacy = {"secure_aggregation": True}
    secure = run_sites("secure", settings(rounds=1, audit=audit, privacy=privacy), three, tmp_path / "secure").audit
    assert [(p.group, p.label) for p in plain.pooled] == [(p.group, p.label) for p in secure.pooled]
    for one, other in zip(plain.pooled, secure.pooled, strict=True):
        a, b = (x.evaluation.labels[0].metrics["auroc"].value for x in (one, other))
        assert a == pytest.approx(b, abs=2e-2)  # the networks differ by rounding, and scores may change a level
    assert {p.group for p in plain.pooled} == {"everyone", "sex = F", "sex = M"}


def test_the_audit_is_that_of_the_pooled_predictions_the_sites_kept(settings, three, tmp_path: Path) -> None:
    chosen = settings(rounds=2)
    sites = sites_of(chosen, three, tmp_path / "sites")
    coordinator = Coordinator(chosen, InProcess(sites), tmp_path)
    coordinator.train()
    from resight.federated.audit import run_audit

    audit = run_audit(coordinator)
    tables = [pd.read_csv(tmp_path / "sites" / name / "predictions.csv") for name in three]
    pooled = pd.concat(tables)
    p = rounded(pooled["probability"].to_numpy())
    found = audit.pooled[0].evaluation.labels[0]
    assert found.counts.positives + found.counts.negatives == len(pooled)
    assert found.metrics["auroc"].value == pytest.approx(roc_auc_score(pooled["target"], p), abs=1e-12)
    assert found.metrics["brier"].value == pytest.approx(brier_score_loss(pooled["target"], p), abs=1e-12)
    for name, table in zip(three, tables, strict=True):
        own = audit.sites[name]["shared"]["square"]["metrics"]
        expected = auroc_with_interval(table["target"].to_numpy(), table["score"].to_numpy(), on_logit_scale=True)
        assert own["auroc"]["value"] == pytest.approx(expected.value, abs=1e-12)
        assert own["auroc"]["low"] == pytest.approx(expected.low, abs=1e-12)
        assert set(audit.sites[name]["thresholds"]) == {"square"}
    values = {name: audit.sites[name]["shared"]["square"]["metrics"]["auroc"]["value"] for name in three}
    assert audit.worst["square"]["site"] == min(values, key=values.__getitem__)
