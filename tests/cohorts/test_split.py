from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from resight.cohorts import CohortOptions, SplitOptions, assign_folds, load_cohort, split_cohort, split_counts
from resight.cohorts.split import read_list
from resight.errors import CohortError, LeakError
from resight.types import Cohort


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """Patients with 1 to 9 images each and up to four labels, some of them not known."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=3, max_size=60))
    n_labels = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    patients = np.repeat([f"p{number}" for number in range(len(sizes))], sizes)
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(len(patients))], "patient_id": patients})
    labels = tuple(f"L{number}" for number in range(n_labels))
    for label in labels:
        table[label] = np.where(rng.random(len(table)) < 0.1, np.nan, rng.random(len(table)) < rng.random())
    return Cohort(table, labels, "binary" if n_labels == 1 else "multilabel", Path(), "drawn")


FRACTIONS = st.sampled_from([(0.7, 0.1, 0.2), (0.8, 0.2, 0.0), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0)])


@given(cohorts(), FRACTIONS, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_patient_lies_in_one_part_and_parts_have_their_size(cohort, fractions, seed):
    split = split_cohort(cohort, SplitOptions(fractions=fractions, seed=seed)).table
    assert split["split"].isin(["train", "validation", "test"]).all()
    assert (split.groupby("patient_id")["split"].nunique() == 1).all()
    largest = split["patient_id"].value_counts().max()
    for part, fraction in zip(("train", "validation", "test"), fractions, strict=True):
        count = int((split["split"] == part).sum())
        assert abs(count - fraction * len(split)) <= largest + 1
        assert fraction > 0 or count == 0


@given(cohorts(), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_split_does_not_depend_on_the_order_of_rows(cohort, seed, random):
    order = list(range(len(cohort)))
    random.shuffle(order)
    shuffled = replace(cohort, table=cohort.table.iloc[order].reset_index(drop=True))
    options = SplitOptions(seed=seed)
    first = split_cohort(cohort, options).table.set_index("image")["split"]
    second = split_cohort(shuffled, options).table.set_index("image")["split"]
    pd.testing.assert_series_equal(first.sort_index(), second.sort_index())
    folds = [assign_folds(c, 3, seed).table.set_index("image")["fold"].sort_index() for c in (cohort, shuffled)]
    pd.testing.assert_series_equal(*folds)


@given(cohorts(), st.integers(2, 3))
@settings(max_examples=40, deadline=None)
def test_folds_cover_everything_once_and_keep_patients_together(cohort, k):
    table = assign_folds(cohort, k).table
    assert set(table["fold"]) <= set(range(k))
    assert (table.groupby("patient_id")["fold"].nunique() == 1).all()
    largest = table["patient_id"].value_counts().max()
    assert table["fold"].value_counts().reindex(range(k), fill_value=0).sub(len(table) / k).abs().max() <= largest + 1


def test_labels_are_spread_as_asked_even_when_rare(make_cohort, rng):
    count = 4000
    cohort = make_cohort(
        patient_id=[f"{p}" for p in rng.integers(0, 1500, count)],
        COMMON=rng.random(count) < 0.4,
        SOME=rng.random(count) < 0.05,
        RARE=rng.random(count) < 0.005,
    )
    counts = split_counts(split_cohort(cohort))
    total = counts.sum()
    for label in cohort.labels:
        expected = np.array([0.7, 0.1, 0.2]) * total[f"{label} +"]
        assert np.abs(counts[f"{label} +"].to_numpy() - expected).max() <= 1.5
    assert np.abs(counts["images"].to_numpy() - np.array([0.7, 0.1, 0.2]) * count).max() <= 3


def test_rows_without_any_label_are_spread_too(make_cohort):
    values = [1.0, 0.0, np.nan, np.nan] * 100
    cohort = make_cohort(X=values)
    counts = split_counts(split_cohort(cohort, SplitOptions(group=("none",))))
    assert counts["X ?"].tolist() == [140, 20, 40]


def test_large_patients_are_not_all_drawn_into_training(make_cohort):
    patients = ["big"] * 20 + [f"{number}" for number in range(180)]
    cohort = make_cohort(patient_id=patients, X=[0.0, 1.0] * 100)
    parts = [
        split_cohort(cohort, SplitOptions(fractions=(0.5, 0.25, 0.25), seed=seed)).table["split"].iloc[0]
        for seed in range(100)
    ]
    assert 30 <= parts.count("train") <= 70
    assert 10 <= parts.count("test") <= 40


def test_another_seed_is_another_split_and_the_same_seed_is_the_same(make_cohort):
    cohort = make_cohort(patient_id=[f"{number}" for number in range(60)], X=[0, 1] * 30)
    first, again, other = (split_cohort(cohort, SplitOptions(seed=seed)).table["split"].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_fewer_patients_than_splits_are_refused(make_cohort):
    one = ["P"] * 10
    with pytest.raises(CohortError, match="1 group of images for 3 splits; expected 3 patients or more"):
        split_cohort(make_cohort(patient_id=one, X=[0, 1] * 5))
    two = make_cohort(patient_id=["P", "P", "Q", "Q"], X=[0, 1] * 2)
    assert set(split_cohort(two, SplitOptions(fractions=(0.5, 0, 0.5))).table["split"]) == {"train", "test"}


def test_no_split_without_knowing_the_patients(make_cohort):
    cohort = make_cohort(X=[0, 1] * 10)
    with pytest.raises(LeakError, match="--group none"):
        split_cohort(cohort)
    with pytest.raises(LeakError, match="--group none"):
        assign_folds(cohort, 2)
    with pytest.raises(LeakError, match=r"1 images have no patient_id.*--group none"):
        split_cohort(make_cohort(patient_id=["1", ""], X=[0, 1]))
    with pytest.raises(LeakError, match="Did you mean 'patient_id'"):
        split_cohort(make_cohort(patient_id=["1", "2"], X=[0, 1]), SplitOptions(group=("patientid",)))
    assert set(split_cohort(cohort, SplitOptions(group=("none",))).table["split"]) == {"train", "validation", "test"}


def test_several_group_columns_are_joined_through_third_rows(make_cohort):
    cohort = make_cohort(
        patient_id=["a", "a", "b", "c", "d", "e"], study=["1", "2", "2", "3", "4", "5"], X=[0, 1, 0, 1, 0, 1]
    )
    for seed in range(10):
        options = SplitOptions(group=("patient_id", "study"), fractions=(0.5, 0.0, 0.5), seed=seed)
        split = split_cohort(cohort, options).table["split"]
        assert split.iloc[:3].nunique() == 1


def test_a_clusters_file_keeps_near_duplicates_together(make_cohort, table_of):
    cohort = make_cohort(X=[0, 1] * 20)
    images = cohort.table["image"]
    path = table_of("image,cluster\n" + "\n".join(f"{image},{row // 4}" for row, image in enumerate(images)))
    split = split_cohort(cohort, SplitOptions(group=("none",), clusters=path)).table["split"].to_numpy()
    assert all(len(set(rows)) == 1 for rows in split.reshape(10, 4))
    with pytest.raises(CohortError, match="40 images of made have no cluster"):
        split_cohort(cohort, SplitOptions(group=("none",), clusters=table_of("image,cluster\nx.png,1\n", "b.csv")))
    with pytest.raises(CohortError, match="Did you mean 'clusters'"):
        split_cohort(cohort, SplitOptions(group=("none",), clusters=table_of("image,clusters\nx.png,1\n", "c.csv")))


def test_given_column_is_taken_and_validation_carved_out(make_cohort):
    words = ["Training"] * 80 + ["testing"] * 20
    cohort = make_cohort(patient_id=[f"{n // 2}" for n in range(100)], origin=words, X=[0, 0, 1, 1] * 25)
    done = split_cohort(cohort, SplitOptions(column="origin"))
    assert done.table["split"].value_counts().to_dict() == {"train": 70, "test": 20, "validation": 10}
    assert (done.table["split"] == "test").tolist() == [word == "testing" for word in words]
    untouched = split_cohort(cohort, SplitOptions(column="origin", fractions=(0.8, 0.0, 0.2)))
    assert "validation" not in set(untouched.table["split"])


def test_a_given_split_that_leaks_is_refused_unless_asked_for(make_cohort):
    cohort = make_cohort(patient_id=["1", "1", "2", "3"], origin=["train", "test", "train", "test"], X=[0, 1, 1, 0])
    with pytest.raises(LeakError, match="1 groups of images lie in more than one part"):
        split_cohort(cohort, SplitOptions(column="origin"))
    accepted = split_cohort(cohort, SplitOptions(column="origin", group=("none",), fractions=(0.8, 0.0, 0.2)))
    assert accepted.table["split"].tolist() == ["train", "test", "train", "test"]


def test_lists_of_images(make_cohort, table_of):
    images = [f"images/{row}.png" for row in range(10)]
    cohort = make_cohort(image=images, patient_id=[f"{n}" for n in range(10)], X=[0, 1] * 5)
    train = table_of("\n".join(f"{row}.png" for row in range(6)), "train.txt")
    test = table_of("\n".join(f"images/{row}.png" for row in range(6, 10)), "test.txt")
    done = split_cohort(cohort, SplitOptions(lists={"train_val": train, "test": test}))
    assert (done.table["split"] == "test").tolist() == [False] * 6 + [True] * 4
    assert "validation" in set(done.table["split"])
    with pytest.raises(CohortError, match=r"4 images are in no list \(the first: images/6.png\)"):
        split_cohort(cohort, SplitOptions(lists={"train": train}))
    with pytest.raises(LeakError, match="6 images are in two lists"):
        split_cohort(cohort, SplitOptions(lists={"train": train, "test": train}))
    with pytest.raises(CohortError, match="the list names no image"):
        read_list(table_of("\n", "empty.txt"))
    with pytest.raises(CohortError, match="cannot be read"):
        read_list(Path("nowhere.txt"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.7, 0.2, 0.2)}, "add up to 1"),
        ({"fractions": (0.0, 0.5, 0.5)}, "the first above 0"),
        ({"column": "a", "lists": {"train": "b"}}, "not both"),
        ({"lists": {"valid": "b"}}, "'valid' is not one of"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValidationError, match=message):
        SplitOptions(**options)


@pytest.mark.parametrize("k", [1, 4])
def test_impossible_number_of_folds(make_cohort, k):
    with pytest.raises(CohortError, match="expected 2 to 3 folds"):
        assign_folds(make_cohort(patient_id=["1", "2", "3"], X=[0, 1, 1]), k)


def test_notes_count_parts_and_name_labels_that_cannot_be_estimated(make_cohort):
    cohort = make_cohort(patient_id=["1", "2", "3", "4"], split=["train", "train", "test", "test"], X=[0, 1, 0, 0])
    notes = split_cohort(cohort, SplitOptions(column="split", fractions=(0.8, 0, 0.2))).notes
    assert "train: 2 images of 2 patients." in notes
    assert any(note.startswith("test has no positives of X") for note in notes)
    assert not any(note.startswith("train has") for note in notes)


def test_real_patients(real_data):
    cohort = load_cohort(CohortOptions(path=real_data("cxr_pneumonia_kermany")))
    done = split_cohort(cohort)
    assert (done.table.groupby("patient_id")["split"].nunique() == 1).all()
    counts = split_counts(done)
    np.testing.assert_allclose(counts["images"] / 803, [0.7, 0.1, 0.2], atol=0.003)
    np.testing.assert_allclose(counts["PNEUMONIA +"] / 400, [0.7, 0.1, 0.2], atol=0.005)
    assert counts["patients"].sum() == 732
