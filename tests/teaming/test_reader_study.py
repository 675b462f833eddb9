from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from resight.errors import PredictionsError
from resight.evidence import render_page, study_page
from resight.predictions import Predictions
from resight.teaming import (
    Readings,
    SimulatedReaders,
    StudyOptions,
    analyse_study,
    design_study,
    readings_table,
    simulate_ratings,
)

IMAGES = [f"case_{i:03d}" for i in range(120)]


@pytest.fixture(scope="module")
def reference() -> Predictions:
    rng = np.random.default_rng(4)
    target = (rng.random(120) < 0.4).astype(float)
    decision = np.where(rng.random(120) < 0.85, target, 1 - target)
    images = pd.DataFrame({"image": IMAGES, "patient_id": [f"p{i // 2}" for i in range(120)]})
    columns = {"score": decision * 0.8 + 0.1, "decision": decision, "target": target}
    return Predictions.from_arrays(images, ("Mass",), "binary", **{k: v[:, None] for k, v in columns.items()})


def crossed(reference: Predictions, separation: tuple[float, float] = (1.0, 2.2)) -> Readings:
    targets = reference.targets()[:, 0]
    ratings = simulate_ratings(targets, SimulatedReaders(separation=separation, readers=5, seed=2))
    table = readings_table(ratings, IMAGES, "Mass", ("unaided", "aided"), threshold=0.8)
    table["seconds"] = np.where(table["arm"] == "aided", 20.0, 30.0) + np.arange(len(table)) % 3
    return Readings.from_table(table)


def test_the_design_is_balanced_and_every_order_is_its_own() -> None:
    plan = design_study(IMAGES, ["Mass"], StudyOptions(readers=("A", "B", "C", "D")))
    assert len(plan) == 120 * 4 * 2
    assert not plan.duplicated(["reader", "image", "arm"]).any()
    per_case = plan.loc[plan["session"] == 1].groupby("image")["arm"].value_counts().unstack()
    assert (per_case == 2).all().all()  # each case is aided first for half of the readers
    orders = [tuple(plan.loc[(plan["reader"] == r) & (plan["session"] == 1), "image"]) for r in "ABCD"]
    assert len(set(orders)) == 4
    assert set(plan.loc[plan["session"] == 2, "day"]) == {28}
    again = design_study(IMAGES, ["Mass"], StudyOptions(readers=("A", "B", "C", "D")))
    pd.testing.assert_frame_equal(plan, again)


def test_a_sequential_design_shows_the_model_after_the_unaided_reading() -> None:
    plan = design_study(IMAGES[:10], ["Mass"], StudyOptions(readers=("A", "B"), kind="sequential"))
    one = plan.loc[plan["reader"] == "A"]
    assert list(one["arm"]) == ["unaided", "aided"] * 10
    assert list(one["image"].iloc[::2]) == list(one["image"].iloc[1::2])


@pytest.mark.parametrize(
    "options", [{"readers": ("A",)}, {"readers": ("A", "A")}, {"readers": ("A", "B"), "washout_days": 0}]
)
def test_designs_that_cannot_show_anything_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StudyOptions(**options)


def test_cases_named_twice_are_refused() -> None:
    with pytest.raises(PredictionsError, match="2 cases, 1 of them different"):
        design_study(["a", "a"], ["Mass"], StudyOptions(readers=("A", "B")))


def test_help_that_is_there_is_found(reference: Predictions) -> None:
    result = analyse_study(crossed(reference).with_reference(reference), "Mass", replicates=100)
    assert result.arms == ("unaided", "aided")
    assert set(result.figures) == {"auroc", "sensitivity", "specificity"}
    gain = result.figures["auroc"].tests[0].differences[0, 1]
    assert gain.low > 0
    assert result.seconds["aided - unaided"].high < -8
    assert result.automation is not None
    assert result.agreement["aided"].value > result.agreement["unaided"].value
    assert json.dumps(result.to_dict(), allow_nan=False)


def test_images_with_a_missing_read_are_left_out_and_counted(reference: Predictions) -> None:
    readings = crossed(reference)
    gaps = Readings.from_table(readings.table.drop(index=[0, 7, 300]))
    result = analyse_study(gaps.with_reference(reference), "Mass", replicates=0)
    assert result.left_out == 3
    assert result.figures["auroc"].cases == 117


def test_decisions_alone_have_no_auroc(reference: Predictions) -> None:
    table = crossed(reference).table.drop(columns=["rating", "seconds"])
    result = analyse_study(Readings.from_table(table).with_reference(reference), "Mass", replicates=0)
    assert result.undefined == {"auroc": "readings hold no rating"}
    assert result.seconds == {}


def test_one_reader_is_too_few_and_says_so(reference: Predictions) -> None:
    table = crossed(reference).table
    one = Readings.from_table(table.loc[table["reader"] == "reader 1"]).with_reference(reference)
    result = analyse_study(one, "Mass", replicates=0)
    assert "at least 2 are needed" in result.undefined["auroc"]
    assert "120" not in render_page(study_page([result])).split("left out")[0][-80:]


def test_the_page_shows_arms_tests_and_what_is_missing(reference: Predictions) -> None:
    result = analyse_study(crossed(reference).with_reference(reference), "Mass", replicates=50)
    page = render_page(study_page([result]))
    for text in ("aided less unaided, for other readers and cases", "Following the model", "Reading time", "Kappa"):
        assert text in page
