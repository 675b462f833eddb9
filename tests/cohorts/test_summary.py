from __future__ import annotations

import json
import math

import numpy as np

from resight.cohorts import CohortOptions, inspect_cohort, load_cohort
from resight.settings import write_json


def test_counts_by_label_and_part(make_cohort):
    cohort = make_cohort(
        patient_id=["1", "1", "2", ""], split=["train", "train", "test", "test"], X=[1, 0, np.nan, 1], Y=[np.nan] * 4
    )
    summary = inspect_cohort(cohort)
    x, y = summary.whole.labels
    assert (x.positives, x.negatives, x.masked, x.prevalence) == (2, 1, 1, 2 / 3)
    assert (y.masked, math.isnan(y.prevalence)) == (4, True)
    assert (summary.whole.patients, summary.parts["train"].patients) == (2, 1)
    assert summary.parts["test"].labels[0].positives == 1
    assert summary.most_images_of_a_patient == 2
    assert len(summary.missing) == 4
    assert "Y: 0 positive, 0 negative, 4 masked (not known)" in str(summary)


def test_attributes_in_words(make_cohort):
    cohort = make_cohort(
        X=[0, 1] * 15,
        age=[20.0, np.nan, 40.0, 30.0, 30.0] * 6,
        sex=["F", None, "M"] * 10,
        note=[f"n{row}" for row in range(30)],
    )
    words = inspect_cohort(cohort, files=False).attributes
    assert words == {
        "age": "20 to 40, median 30, 6 missing",
        "sex": "F (10), M (10), 10 missing",
        "note": "30 different values",
    }
    assert inspect_cohort(cohort, files=False).whole.patients is None


def test_files_are_described_and_broken_ones_named(pictures, table_of, tmp_path):
    pictures("a.png", "b.png", "c.png")
    (tmp_path / "c.png").write_bytes(b"broken")
    cohort = load_cohort(
        CohortOptions(path=table_of("image,X\na.png,1\nb.png,0\nc.png,0\nd.png,0\n"), missing_images="keep")
    )
    summary = inspect_cohort(cohort)
    assert summary.files["size"] == {"24x24": 2}
    assert (summary.missing, list(summary.unreadable)) == (("d.png",), ["c.png"])
    assert summary.bytes == sum((tmp_path / name).stat().st_size for name in ("a.png", "b.png"))
    write_json(tmp_path / "summary.json", summary.to_dict())
    assert json.loads((tmp_path / "summary.json").read_text())["whole"]["images"] == 4


def test_real_colour_modes(real_data):
    summary = inspect_cohort(load_cohort(CohortOptions(path=real_data("brain_mri_tumour_nickparvar"))))
    assert summary.files["colour_mode"] == {"RGB": 610, "L": 290}
    assert summary.files["size"] == {"224x224": 900}
    assert {one.label: one.positives for one in summary.whole.labels}["notumor"] == 450
