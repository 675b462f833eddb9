"""An audit finds what was planted, with sign and size, and nothing where nothing was planted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from resight.errors import PredictionsError, SettingsError
from resight.fairness import Audit, AuditOptions, GroupResult, audit
from resight.fairness.differences import auroc_contrast
from resight.predictions import Predictions


def of(found: Audit, group: str, label: str) -> GroupResult:
    return next(one for one in found.groups if (one.group, one.label) == (group, label))


def table(y: list[float], p: list[float], group: list[object], **more: object) -> Predictions:
    images = pd.DataFrame({"image": [f"{i}" for i in range(len(y))], "group": group, **more})
    column = np.asarray(p, dtype=float)[:, None]
    return Predictions.from_arrays(images, ("a",), "binary", score=column, target=np.asarray(y, float)[:, None])


def test_a_planted_disadvantage_is_found_with_sign_and_size(draw: Callable[..., Predictions]) -> None:
    # truth: sensitivities of a shifted normal; two of women's lie 1.0 lower on the logit
    found = audit(draw(1, patients=1500, fainter=1.0), AuditOptions(by=("sex", "view"), bootstrap=100))
    spread = math.hypot(0.7, 1.0)
    truth = norm.cdf(-0.2 / spread) - norm.cdf(0.8 / spread)
    women = [d for d in found.found if (d.group, d.metric) == ("F", "sensitivity")]
    assert {d.label for d in women} == {"effusion", "mass", "nodule"}
    assert all(d.difference.low < truth < d.difference.high for d in women)
    missed = next(d for d in found.found if (d.group, d.metric) == ("F", "underdiagnosis"))
    assert missed.difference.low > 0.1
    assert {d.attribute for d in found.found} == {"sex"}
    gap = next(g for g in found.gaps if (g.attribute, g.label, g.metric) == ("sex", "mass", "equalised_odds"))
    assert gap.worst == "F"
    assert gap.gap.low < -truth < gap.gap.high


def test_men_against_women_and_women_against_men_are_one_test(draw: Callable[..., Predictions]) -> None:
    found = audit(draw(0, fainter=1.0), AuditOptions(by=("sex",), bootstrap=0))
    assert found.tests == 3 * 4 + 1
    for metric in ("auroc", "sensitivity", "specificity", "observed_minus_expected"):
        first, second = (d for d in found.differences if (d.label, d.metric) == ("mass", metric))
        assert (first.mirrored, second.mirrored) == (False, True)
        assert first.p == pytest.approx(second.p)
        assert (first.p_holm, first.difference.value) == (second.p_holm, pytest.approx(-second.difference.value))
    assert 0 < len(found.found) <= found.tests
    assert {one.group for one in found.found} == {"F"}


@pytest.mark.slow
def test_it_does_not_cry_wolf(draw: Callable[..., Predictions]) -> None:
    """200 repetitions without bias, images clustered in patients: an alarm in at most 5 % after correction."""
    options = AuditOptions(by=("sex", "sex+view"), bootstrap=0)
    found = [audit(draw(seed, patients=150, labels=("a",)), options) for seed in range(200)]
    alarms = sum(bool(one.found) for one in found)
    raw = [d.p for one in found for d in one.differences if not math.isnan(d.p)]
    assert alarms <= 10
    assert 0.01 < np.mean(np.asarray(raw) < 0.05) < 0.06  # and it is no test that never speaks


def test_a_test_that_takes_images_for_patients_would_be_too_sure(draw: Callable[..., Predictions]) -> None:
    predictions = draw(3, per_patient=6, clustered=2.0)
    by_patient = audit(predictions, AuditOptions(by=("sex",), bootstrap=0))
    nobody = predictions.table.drop(columns="patient_id")
    by_image = audit(Predictions(nobody, predictions.labels, predictions.task), AuditOptions(by=("sex",), bootstrap=0))
    for first, second in zip(by_patient.differences, by_image.differences, strict=True):
        width = first.difference.high - first.difference.low
        assert width > 1.3 * (second.difference.high - second.difference.low)
    assert any("No patients given" in note for note in by_image.notes)


def test_a_group_of_one_is_counted_and_not_measured() -> None:
    group = ["x"] * 30 + ["y"] * 30 + ["z"]
    found = audit(table([0, 1] * 30 + [1], [0.2, 0.8] * 30 + [0.5], group), AuditOptions(by=("group",)))
    lonely = of(found, "z", "a")
    assert lonely.images == 1
    assert all(math.isnan(value.value) for value in lonely.metrics.values())
    assert "1 images, fewer than 20" in str(lonely.metrics["auroc"])
    assert any("not measured: z" in note for note in found.notes)
    assert all(math.isnan(d.p) for d in found.differences if d.group == "z")


def test_a_group_without_positives_has_no_sensitivity() -> None:
    found = audit(table([0, 1] * 20 + [0] * 40, [0.3, 0.7] * 40, ["x"] * 40 + ["y"] * 40), AuditOptions(by=("group",)))
    y = of(found, "y", "a").metrics
    for name in ("auroc", "auprc", "sensitivity", "fnr", "calibration_slope"):
        assert str(y[name]) == "not estimable (0 patients with positives, fewer than 10)"
    assert y["specificity"].value == 0.5
    gap = next(g for g in found.gaps if g.metric == "equalised_odds")
    assert str(gap.gap) == "not estimable (1 group(s) of 2 estimable)"


def test_ten_images_of_one_patient_are_one_patient() -> None:
    predictions = table(
        [1] * 20 + [0] * 40, [0.7] * 60, ["x"] * 30 + ["y"] * 30, patient_id=["p"] * 20 + list("abcd") * 10
    )
    found = audit(predictions, AuditOptions(by=("group",)))
    assert "1 patients with positives" in str(of(found, "x", "a").metrics["sensitivity"])


def test_an_attribute_that_is_the_label_is_told() -> None:
    y = [0.0, 1.0] * 30
    found = audit(table(y, [0.3, 0.6] * 30, ["sick" if v else "well" for v in y]), AuditOptions(by=("group",)))
    assert "group says the same as the label a: within its groups nothing can be measured" in found.notes
    assert not found.found


def test_tied_scores_have_an_auroc_of_a_half() -> None:
    found = audit(table([0, 1] * 60, [0.5] * 120, ["x"] * 60 + ["y"] * 60), AuditOptions(by=("group",)))
    assert of(found, "x", "a").metrics["auroc"].value == 0.5
    assert not found.found


def test_missing_attributes_are_left_out_and_counted() -> None:
    group: list[object] = ["x"] * 30 + [None] * 30 + ["y"] * 30
    found = audit(table([0, 1] * 45, [0.2, 0.7] * 45, group), AuditOptions(by=("group",)))
    assert {g.group for g in found.groups} == {"x", "y"}
    assert "group: not known for 30 of 90 images, left out" in found.notes


def test_nothing_known_of_an_attribute_is_no_crash() -> None:
    found = audit(table([0, 1] * 30, [0.2, 0.7] * 30, [None] * 60), AuditOptions(by=("group",)))
    assert found.groups == ()
    assert found.tests == 0


def test_scores_that_are_no_probabilities_are_ranked_only() -> None:
    found = audit(table([0, 1] * 60, [-3.0, 5.0] * 60, ["x"] * 60 + ["y"] * 60), AuditOptions(by=("group",)))
    values = of(found, "x", "a").metrics
    assert values["auroc"].value == 1.0
    assert "no probabilities" in str(values["brier"])
    assert "there are no decisions" in str(values["sensitivity"])


def test_an_unknown_attribute_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'group'"):
        audit(table([0, 1], [0.1, 0.2], ["x", "y"]), AuditOptions(by=("grup",)))


def test_without_targets_nothing_is_audited() -> None:
    predictions = Predictions.from_arrays(
        pd.DataFrame({"image": ["1"], "sex": ["F"]}), ("a",), "binary", score=np.array([[0.3]])
    )
    with pytest.raises(PredictionsError, match="target"):
        audit(predictions, AuditOptions(by=("sex",)))


def test_underdiagnosis_is_the_false_positive_rate_of_no_finding() -> None:
    rng = np.random.default_rng(0)
    well = rng.random(200) < 0.5
    called = rng.random(200) < 0.4
    images = pd.DataFrame({"image": [str(i) for i in range(200)], "sex": ["F", "M"] * 100})
    columns = {"score": called, "decision": called, "target": well}
    both = {name: np.stack([value, ~value], axis=1).astype(float) for name, value in columns.items()}
    predictions = Predictions.from_arrays(images, ("no_finding", "mass"), "multilabel", **both)
    found = audit(predictions, AuditOptions(by=("sex",), bootstrap=0))
    women = (images["sex"] == "F").to_numpy()
    assert of(found, "F", "").metrics["underdiagnosis"].value == pytest.approx(called[women & ~well].mean())
    assert of(found, "F", "").metrics["underdiagnosis"].value == of(found, "F", "no_finding").metrics["fpr"].value


def test_found_is_what_outlasts_holm_and_not_only_the_weaker_correction(draw: Callable[..., Predictions]) -> None:
    found = audit(draw(0, patients=700, fainter=0.5), AuditOptions(by=("sex",), bootstrap=0))
    known = [one for one in found.differences if not math.isnan(one.p)]
    assert any(one.p_bh < found.alpha <= one.p_holm for one in known)
    assert all(one.found == (one.p_holm < found.alpha) for one in found.differences)


def test_a_small_group_without_a_single_swap_is_no_certainty(rng: np.random.Generator) -> None:
    """DeLong's variance is 0 where all pairs are in order; of 12 positives and 12 negatives that says little."""
    small, large = np.repeat([1, 0], 12), np.repeat([1, 0], 300)
    y = np.concatenate([small, large])
    scores = np.concatenate([6.0 * small + np.linspace(0, 1, 24), rng.normal(size=600) + 2.1 * large])
    members, owner = np.arange(len(y)) < 24, np.arange(len(y))
    contrast = auroc_contrast(y, scores, members, owner, 0.95)
    assert contrast.group.value == 1.0
    assert contrast.p > 0.1


def test_images_that_a_patient_has_again_do_not_make_a_cause_surer(draw: Callable[..., Predictions]) -> None:
    once = draw(6, patients=120, per_patient=1, labels=("a",))
    parts = [once.table.assign(image=once.table["image"] + f" {number}") for number in range(8)]
    often = Predictions(pd.concat(parts, ignore_index=True), once.labels, once.task)
    options = AuditOptions(by=("sex", "view"), bootstrap=0)
    for first, second in zip(audit(once, options).causes, audit(often, options).causes, strict=True):
        assert (second.strength, second.p) == (pytest.approx(first.strength), pytest.approx(first.p))


def test_causes_tell_a_difference_in_disease_from_one_in_the_model(draw: Callable[..., Predictions]) -> None:
    predictions = draw(5, patients=600)
    rows = predictions.table
    sicker = (rows["sex"] == "F") & (rows["label"] == "mass") & (np.arange(len(rows)) % 4 < 2)
    rows.loc[sicker, "target"] = 1.0
    rows["alerts"] = np.where((rows["view"] == "AP") & (np.arange(len(rows)) % 9 < 3), "rotated", "")
    found = audit(predictions, AuditOptions(by=("sex", "view"), bootstrap=0))
    told = {(c.attribute, c.what) for c in found.causes if c.p < 0.01}
    assert told == {("sex", "prevalence of mass"), ("view", "images with an alert")}
