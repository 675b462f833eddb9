"""Sentences say what the numbers say, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resight.evaluation import Baseline, Counts, Evaluation
from resight.evidence import LeakCheck, ReportContent
from resight.evidence.summary import frequencies, interval_note, key_figures, limits, summary, warnings
from resight.evidence.tables import facts, flow_of_images
from resight.evidence.wording import cell, in_words, listed, metric_name, number
from resight.types import MetricValue


def _with(content: ReportContent, **metrics: MetricValue) -> ReportContent:
    evaluation = content.evaluation
    result = replace(evaluation.labels[0], metrics={**evaluation.labels[0].metrics, **metrics})
    return replace(content, evaluation=replace(evaluation, labels=(result,)))


def _metadata(value: float, low: float, high: float) -> tuple[Baseline, ...]:
    return (Baseline("metadata", "Pneumonia", {"auroc": MetricValue(value, low, high, 100)}),)


def test_the_summary_names_figure_interval_size_baseline_and_calibration(binary: ReportContent) -> None:
    content = _with(
        binary, auroc=MetricValue(0.914, 0.881, 0.937), ece=MetricValue(0.042, 0.031, 0.06),
        calibration_slope=MetricValue(0.7, 0.6, 0.8),
    )  # fmt: skip
    evaluation = replace(content.evaluation, baselines=_metadata(0.61, 0.55, 0.67), images=240, patients=198)
    text = summary(replace(content, evaluation=evaluation))
    assert "On 240 test images of 198 patients" in text
    assert "in 91 of 100 such pairs (AUROC 0.91, 95% interval 0.88 to 0.94)" in text
    assert "metadata alone reach 0.61 (0.55 to 0.67)" in text
    assert "off by 4 percentage points on average (ECE 0.04, interval 0.03 to 0.06) and too extreme" in text
    assert "overlap" not in text
    assert "coin toss" not in text


@pytest.mark.parametrize(
    ("auroc", "metadata", "expected"),
    [
        (MetricValue(0.60, 0.48, 0.71), None, "not clearly better than a coin toss"),
        (MetricValue(0.60, 0.55, 0.65), (0.70, 0.6, 0.8), "does not beat what is known without the image"),
        (MetricValue(0.80, 0.72, 0.86), (0.70, 0.6, 0.8), "intervals overlap"),
        (MetricValue(0.45), None, "not clearly better than a coin toss"),
    ],
)
def test_a_model_that_is_not_clearly_better_is_called_so(
    binary: ReportContent, auroc: MetricValue, metadata: tuple[float, float, float] | None, expected: str
) -> None:
    content = _with(binary, auroc=auroc)
    baselines = _metadata(*metadata) if metadata else ()
    assert expected in summary(replace(content, evaluation=replace(content.evaluation, baselines=baselines)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.998, "in more than 99 of 100"), (1.0, "in 100 of 100"), (0.001, "in fewer than 1 of 100")],
)
def test_rounding_never_makes_a_model_perfect(binary: ReportContent, value: float, expected: str) -> None:
    assert expected in summary(_with(binary, auroc=MetricValue(value)))


def test_a_slope_whose_interval_holds_1_is_no_verdict(binary: ReportContent) -> None:
    assert "neither clearly too extreme nor too timid" in summary(
        _with(binary, calibration_slope=MetricValue(0.8, 0.4, 1.2))
    )
    assert "too timid (slope 1.50" in summary(_with(binary, calibration_slope=MetricValue(1.5, 1.2, 1.8)))


def test_without_probabilities_calibration_is_not_known(binary: ReportContent) -> None:
    assert "is not known" in summary(_with(binary, ece=MetricValue.undefined("no probabilities")))


def test_the_mean_says_over_how_many_labels(fourteen: ReportContent) -> None:
    assert "averaged over the 13 of 14 labels that allow it" in summary(fourteen)
    assert key_figures(fourteen)[0].name == "Mean AUROC of 13 labels"


def test_a_multiclass_summary_compares_accuracy_with_the_commonest_class(three: ReportContent) -> None:
    accuracy = three.evaluation.overall["accuracy"].value
    assert f"right for {round(100 * accuracy)} (" in summary(three)
    assert "Always answering the commonest class" in summary(three)


def test_frequencies_turn_specificity_into_false_alarms(binary: ReportContent) -> None:
    point = binary.evaluation.operating[0]
    metrics = {"sensitivity": MetricValue(0.9, 0.8, 0.95), "specificity": MetricValue(0.88, 0.84, 0.91)}
    evaluation = replace(binary.evaluation, operating=(replace(point, metrics=metrics),))
    (sentence,) = frequencies(evaluation)
    assert "about 90 (80 to 95) are flagged" in sentence
    assert "about 12 (9 to 16) are flagged wrongly" in sentence
    undefined = {**metrics, "specificity": MetricValue.undefined("no negatives")}
    assert frequencies(replace(evaluation, operating=(replace(point, metrics=undefined),))) == []


def _limits_of(content: ReportContent) -> str:
    return " ".join(limits(content))


def test_limits_follow_from_the_content(binary: ReportContent) -> None:
    result = replace(binary.evaluation.labels[0], counts=Counts(23, 500, 7, 400))
    small: Evaluation = replace(binary.evaluation, labels=(result,), notes=("A note",))
    text = _limits_of(replace(binary, evaluation=small, evaluated_on="validation", subgroups=(), sources=None))
    assert "There is no test split" in text
    assert "fewer than 100 images with or without Pneumonia" in text
    assert "A note." in text
    assert "neither as right nor as wrong: 7 label values" in text
    assert "not broken down by group" in text
    assert "was not recorded; assume one" in text


def test_what_is_fine_is_not_listed_as_a_limit(binary: ReportContent) -> None:
    text = _limits_of(replace(binary, excluded=(), sources=3, histories=()))
    for phrase in ("no test split", "Few cases", "not established", "could not be used", "one source", "trained once"):
        assert phrase not in text
    assert "not for clinical use" in text


@pytest.mark.parametrize("check", [None, LeakCheck(None, ())])
def test_independence_that_is_not_shown_is_a_limit(binary: ReportContent, check: LeakCheck | None) -> None:
    assert "not established" in _limits_of(replace(binary, leak_check=check))


def test_what_makes_results_too_good_is_said_first(binary: ReportContent) -> None:
    assert warnings(binary) == []
    leaky = replace(binary, leak_check=LeakCheck(False, ()), evaluated_on="validation")
    assert [sentence.split(",")[0][:27] for sentence in warnings(leaky)] == [
        "Training and test images ar",
        "There is no test split. The",
    ]
    assert limits(leaky)[:2] == warnings(leaky)


def test_the_interval_note_names_each_method(binary: ReportContent) -> None:
    text = interval_note(binary.evaluation)
    assert "95%" in text
    for method in {value.interval for value in binary.evaluation.labels[0].metrics.values() if value.interval}:
        assert method in text


def test_the_flow_adds_up(binary: ReportContent) -> None:
    flow = flow_of_images(binary)
    assert flow is not None
    assert binary.assessed is not None
    assert flow.reasons == (("pixel data end before the last row", "7"), ("no decoder for JPEG-LS", "1"))
    more = flow_of_images(replace(binary, assessed=binary.assessed + 5))
    assert more is not None
    assert more.n_excluded == "13 images"
    assert more.reasons[-1] == ("in no split", "5")
    assert flow.used == more.used
    assert flow_of_images(replace(binary, assessed=None)) is None


def test_patients_are_only_summed_where_splits_do_not_share_them(binary: ReportContent) -> None:
    shared = flow_of_images(replace(binary, leak_check=LeakCheck(False, ())))
    assert shared is not None
    assert shared.patients == ""


def test_facts_are_flat_text() -> None:
    record = {"a_b": {"c": None, "d": [1, 2]}, "e": True, "f": [{"loss": 1}]}
    assert facts(record) == [("a b, c", "unknown"), ("a b, d", "1, 2"), ("e", "yes")]


def test_values_in_words() -> None:
    assert in_words(MetricValue(0.874, 0.81, 0.9149)) == "0.87 (0.81 to 0.91)"
    assert in_words(MetricValue(np.float64(0.5).item())) == "0.50"
    assert in_words(MetricValue.undefined("no positives")) == "not estimable (no positives)"
    assert in_words(MetricValue(float("nan"))) == "not estimable (no reason was recorded)"
    assert number(-0.0004) == "0.000"
    assert number(-0.31, 2) == "−0.31"
    assert "not computed" in cell(None)
    assert "&lt;b&gt;" in cell(MetricValue.undefined("<b>"))


def test_names_of_metrics_and_lists() -> None:
    assert metric_name("sensitivity_at_specificity_0.9") == "Sensitivity at 90% specificity"
    assert metric_name("cohen_kappa") == "Cohen’s kappa"
    assert metric_name("something_new") == "Something new"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed("abcdefgh", most=3) == "a, b and 6 more"
    assert listed([]) == ""
