"""Several labels at once: what cannot be judged of one says so and does not stop the others."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from resight.errors import PredictionsError
from resight.predictions import Predictions
from resight.teaming import Readings, build_policy, evaluate_team, judge_teams, label_cases

Study = tuple[Predictions, Readings]


@pytest.fixture
def two(study: Study) -> Study:
    """A second label whose validation images hold no positive."""
    predictions, readings = study
    table = predictions.table
    rare = table.assign(label="Hernia", target=table["target"].where(table["split"] == "test", 0.0))
    both = pd.concat([table, rare]).sort_values(["image", "label"], ascending=[True, False], kind="stable")
    read = pd.concat([readings.table, readings.table.assign(label="Hernia")])
    return Predictions(both.reset_index(drop=True), ("Nodule", "Hernia"), "multilabel"), Readings.from_table(read)


def test_a_label_that_cannot_teach_is_told_and_others_are_those_of_one_label(two: Study) -> None:
    predictions, readings = two
    found = judge_teams(predictions, readings, "band", {"rule_out_sensitivity": 0.9}, replicates=50)
    assert found.undefined == {"Hernia": "tuning readings: 0 positives among 6000 readings"}
    parts = [readings.with_reference(predictions.part(split=s)) for s in ("validation", "test")]
    alone = evaluate_team(
        build_policy("band", rule_out_sensitivity=0.9),
        "band",
        *(label_cases(part, "Nodule", "unaided") for part in parts),
        "Nodule",
        replicates=50,
    )
    assert [result.to_dict() for result in found.results] == [alone.to_dict()]
    assert [one["label"] for one in found.to_list()] == ["Nodule", "Hernia"]


def test_when_no_label_can_be_judged_the_reason_is_raised(two: Study) -> None:
    predictions, readings = two
    with pytest.raises(PredictionsError, match="0 positives among 6000"):
        judge_teams(predictions, readings, "band", labels=["Hernia"])
    with pytest.raises(PredictionsError, match="750 patients are in tuning and test"):
        judge_teams(predictions, readings, "band", tune="test")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"labels": ["Nodul"]}, "no readings of label 'Nodul'. Did you mean 'Nodule'"),
        ({"arm": "aided"}, "no readings of arm 'aided'"),
    ],
)
def test_what_nobody_read_is_refused(two: Study, given: dict[str, object], told: str) -> None:
    with pytest.raises(PredictionsError, match=told):
        judge_teams(*two, "band", **given)


def test_the_section_has_a_row_a_label_and_a_chart_for_each_of_a_few(two: Study) -> None:
    from resight.evidence import Page, render_page, team_page, team_section, team_words

    found = judge_teams(*two, "band", replicates=50)
    page = render_page(team_page(found))
    assert "Hernia: not estimable (tuning readings: 0 positives among 6000 readings)" in page
    (result,) = found.results
    several = replace(found, results=(result, replace(result, label="Mass")), undefined={})
    page = render_page(Page("test", "test", (team_section(several, "People and model"),)))
    assert page.count(">Mass: together") == 3
    assert page.count("model, readers and both together") >= 2
    many = replace(found, results=tuple(replace(result, label=f"L{i}") for i in range(5)), undefined={})
    assert len(list(team_words(many))) == 5
    assert "<svg" not in render_page(Page("test", "test", (team_section(many, "People and model"),)))
