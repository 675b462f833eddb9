"""Coverage is what was promised, over many calibration sets: planted worlds whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax

from resight.errors import SettingsError
from resight.evaluation import Conformal, ConformalOptions, fit_conformal, judge_sets

REPEATS = 200


def binary(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Miscalibrated on purpose: coverage must not rest on calibration."""
    y = (rng.random((count, 1)) < 0.3).astype(float)
    return expit(3 * (rng.normal(0, 1, (count, 1)) + 1.5 * y) - 1), y


def classes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    y = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    return softmax(rng.normal(0, 1, (count, 3)) + 1.2 * np.eye(3)[y], axis=1), np.eye(3)[y]


def by_sex(rng: np.random.Generator, count: int, task: str) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """One in four is a woman, and of women the scores know nothing, though they are as sure."""
    sex = np.where(rng.random(count) < 0.25, "F", "M")
    p, y = (binary if task == "binary" else classes)(rng, count)
    guess = expit(rng.normal(0, 3, (count, 1))) if task == "binary" else rng.dirichlet(np.full(3, 0.5), count)
    return np.where((sex == "F")[:, None], guess, p), y, pd.DataFrame({"sex": sex})


def held(conformal: Conformal, p: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    members = conformal.members(p, groups)
    if conformal.task == "multiclass":
        return members[np.arange(len(y)), y.argmax(axis=1), 0]
    return members[np.arange(len(y)), 0, y[:, 0].astype(int)]


@pytest.mark.parametrize("method", ["marginal", "class_conditional"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_coverage_is_within_a_point_of_the_promise(method: str, task: str) -> None:
    draw = binary if task == "binary" else classes
    options = ConformalOptions(method=method, coverage=0.9)
    overall, by_class, by_group = [], [], []
    for repeat in range(REPEATS):
        rng = np.random.default_rng((5, repeat))
        p, y = draw(rng, 2000)
        known = np.ones_like(y, dtype=bool)
        conformal = fit_conformal(p, y, known, task, options)
        p, y = draw(rng, 2000)
        right = held(conformal, p, y)
        overall.append(right.mean())
        kind = y.argmax(axis=1) if task == "multiclass" else y[:, 0]
        by_class.append([right[kind == k].mean() for k in np.unique(kind)])
        sex = np.where(rng.random(2000) < 0.2, "F", "M")
        quality = judge_sets(conformal, p, y, known, tuple("abc"[: y.shape[1]]), groups={"sex": sex})
        by_group.append([quality.by_group[f"sex {name}"].value for name in "FM"])
    assert np.mean(overall) == pytest.approx(0.9, abs=0.01)
    assert np.mean(by_group, axis=0) == pytest.approx(0.9, abs=0.01)
    if method == "class_conditional":
        assert np.mean(by_class, axis=0) == pytest.approx(0.9, abs=0.01)


def test_a_group_that_is_harder_shows_a_broken_promise(rng: np.random.Generator) -> None:
    p, y = binary(rng, 4000)
    women = rng.random(4000) < 0.5
    p[women] = expit(rng.normal(0, 3, (int(women.sum()), 1)))  # scores that know nothing of them
    known = np.ones_like(y, dtype=bool)
    half = slice(0, 2000), slice(2000, 4000)
    conformal = fit_conformal(p[half[0]], y[half[0]], known[half[0]], "binary", ConformalOptions(coverage=0.9))
    sex = np.where(women, "F", "M")[half[1]]
    quality = judge_sets(conformal, p[half[1]], y[half[1]], known[half[1]], ("a",), groups={"sex": sex})
    assert quality.by_group["sex F"].high < 0.9 < quality.by_group["sex M"].low
    right = held(conformal, p[half[1]], y[half[1]])
    assert quality.by_group["sex F"].value == pytest.approx(right[sex == "F"].mean())


@pytest.mark.parametrize("method", ["marginal", "class_conditional"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_thresholds_of_their_own_keep_the_promise_within_a_group(method: str, task: str) -> None:
    """Thresholds for everybody together break the promise for the planted group."""
    common = ConformalOptions(method=method, coverage=0.9)
    covered: dict[str, list[list[float]]] = {"": [], "sex": []}
    within = []
    for repeat in range(REPEATS):
        rng = np.random.default_rng((8, repeat))
        p, y, images = by_sex(rng, 1500, task)
        new_p, new_y, new = by_sex(rng, 1500, task)
        for group, found in covered.items():
            options = common.model_copy(update={"group": group})
            conformal = fit_conformal(p, y, np.ones_like(y, dtype=bool), task, options, images=images)
            right = held(conformal, new_p, new_y, conformal.groups_of(new))
            found.append([right[new["sex"] == sex].mean() for sex in "FM"])
        if method == "class_conditional" and task == "binary":
            within.append([right[(new["sex"] == sex) & (new_y[:, 0] == k)].mean() for sex in "FM" for k in (0, 1)])
    assert np.mean(covered["sex"], axis=0) == pytest.approx(0.9, abs=0.01)
    assert np.mean(covered[""], axis=0)[0] < 0.85
    if within:
        assert np.mean(within, axis=0) == pytest.approx(0.9, abs=0.01)


def test_the_share_of_missed_findings_is_bounded_within_a_group() -> None:
    found = []
    for repeat in range(REPEATS):
        rng = np.random.default_rng((9, repeat))
        sex = np.where(rng.random(1600) < 0.25, "F", "M")
        y = (rng.random((1600, 3)) < 0.3).astype(float)
        p = expit(rng.normal(0, 1, y.shape) + np.where(sex == "F", 0.5, 2.5)[:, None] * y - 1)
        options = ConformalOptions(method="risk_control", coverage=0.9, group="sex")
        images, known = pd.DataFrame({"sex": sex}), np.ones_like(y, dtype=bool)
        first, second = slice(800), slice(800, 1600)
        conformal = fit_conformal(p[first], y[first], known[first], "multilabel", options, images=images[first])
        own = conformal.groups_of(images[second])
        recalls = []
        for name in "FM":
            rows = own == name
            quality = judge_sets(
                conformal, p[second][rows], y[second][rows], known[second][rows], tuple("abc"), own=own[rows]
            )
            recalls.append(quality.recall.value)
        found.append(recalls)
    assert np.mean(found, axis=0) == pytest.approx(0.9, abs=0.01)


def test_whoever_has_no_threshold_of_a_group_gets_the_largest_set_of_any(rng: np.random.Generator) -> None:
    """Too few cases, a value never seen, no value, and no column at all."""
    p, y, images = by_sex(rng, 1500, "binary")
    images.loc[:4, "sex"] = "other"
    images.loc[5:9, "sex"] = None
    everything = np.ones_like(y, dtype=bool)
    conformal = fit_conformal(p, y, everything, "binary", ConformalOptions(group="sex"), images=images)
    few, low = conformal.groups["other"][0], conformal.labels[0]
    assert (few.present, few.absent) == (low.present, low.absent)
    assert low.present == min(one[0].present for one in conformal.groups.values())
    assert conformal.labels[0].absent < fit_conformal(p, y, everything, "binary", ConformalOptions()).labels[0].absent
    (note,) = conformal.notes(["nodule"])
    assert note.startswith("other, nodule: ")
    assert "9 are needed" in note
    assert note.endswith("so the lowest threshold of any group stands in.")
    new = pd.DataFrame({"sex": ["F", "M", "other", "X", None]})
    assert conformal.groups_of(new).tolist() == ["F", "M", "other", "", ""]
    assert conformal.groups_of(new[[]]).tolist() == [""] * 5
    trial = np.linspace(0, 1, 101)[:, None]
    sizes = {name: conformal.members(trial, np.full(101, name)).sum() for name in (*conformal.groups, "")}
    assert sizes[""] == sizes["other"] == conformal.members(trial).sum()
    assert sizes[""] >= max(sizes["F"], sizes["M"]) > min(sizes["F"], sizes["M"])


def test_groups_of_numbers_are_bins_that_later_images_fall_into(rng: np.random.Generator) -> None:
    p, y = binary(rng, 600)
    images = pd.DataFrame({"age": rng.integers(20, 80, 600), "sex": rng.choice(["F", "M"], 600)})
    options = ConformalOptions(group="sex+age", edges={"age": (50,)})
    conformal = fit_conformal(p, y, np.ones_like(y, dtype=bool), "binary", options, images=images)
    kept = Conformal.model_validate_json(conformal.model_dump_json())
    one = pd.DataFrame({"age": ["49.5", "50", "not told"], "sex": ["F", "M", "M"]})
    assert kept.groups_of(one).tolist() == ["F, below 50", "M, 50 and above", ""]
    assert (
        kept.words(p[:9], kept.groups_of(images[:9])) == conformal.words(p[:9], conformal.groups_of(images[:9]))
    ).all()


def test_groups_of_nothing_are_refused() -> None:
    p, y = np.full((5, 1), 0.5), np.ones((5, 1))
    for images in (None, pd.DataFrame({"sexe": list("FFMMM")})):
        with pytest.raises(SettingsError, match="no attribute 'sex' to group by"):
            fit_conformal(p, y, y > 0, "binary", ConformalOptions(group="sex"), images=images)
    with pytest.raises(ValueError, match="edges only with the group"):
        ConformalOptions(edges={"age": (50,)})
    with pytest.raises(ValueError, match="thresholds of 1 labels for every group"):
        Conformal(task="binary", method="marginal", coverage=0.9, labels=[{}], groups={"F": [{}, {}]})


def test_the_share_of_missed_findings_is_bounded() -> None:
    found = []
    for repeat in range(REPEATS):
        rng = np.random.default_rng((6, repeat))
        y = (rng.random((1200, 4)) < 0.3).astype(float)
        p = expit(rng.normal(0, 1, y.shape) + 2 * y - 1)
        options = ConformalOptions(method="risk_control", coverage=0.9)
        conformal = fit_conformal(p[:200], y[:200], np.ones((200, 4), dtype=bool), "multilabel", options)
        quality = judge_sets(conformal, p[200:], y[200:], np.ones((1000, 4), dtype=bool), tuple("abcd"))
        found.append(quality.recall.value)
    assert np.mean(found) == pytest.approx(0.9, abs=0.01)


def test_images_of_one_patient_do_not_count_as_many() -> None:
    """A patient with 50 equal images would drown 20 others: by patient the promise holds for a new patient."""
    covered = []
    for repeat in range(REPEATS):
        rng = np.random.default_rng((7, repeat))
        p, y = binary(rng, 101)
        repeats = np.concatenate([[50], np.ones(99, dtype=int)])
        patients = np.repeat(np.arange(100), repeats)
        many = np.repeat(np.arange(100), repeats)
        conformal = fit_conformal(
            p[many],
            y[many],
            np.ones((len(many), 1), dtype=bool),
            "binary",
            ConformalOptions(method="marginal", coverage=0.8),
            patients=patients,
        )
        fresh_p, fresh_y = binary(rng, 500)
        covered.append(held(conformal, fresh_p, fresh_y).mean())
    assert np.mean(covered) == pytest.approx(0.8, abs=0.012)


def test_too_few_cases_leave_nothing_out_and_say_so() -> None:
    p, y = np.full((5, 1), 0.5), np.array([[0.0], [1.0], [0.0], [1.0], [0.0]])
    conformal = fit_conformal(p, y, np.ones((5, 1), dtype=bool), "binary", ConformalOptions(coverage=0.9))
    assert conformal.members(p).all()
    assert list(conformal.words(p)[:, 0]) == ["either"] * 5
    assert "9 are needed" in conformal.labels[0].note


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.8, 4), (0.95, 19), (0.7, 3)])
@pytest.mark.parametrize("method", ["marginal", "class_conditional", "risk_control"])
def test_as_many_cases_as_are_needed_are_enough(method: str, coverage: float, needed: int) -> None:
    options = ConformalOptions(method=method, coverage=coverage)
    for count, enough in ((needed, True), (needed - 1, False)):
        p, y = np.linspace(0.3, 0.9, count)[:, None].repeat(2, axis=1), np.ones((count, 2))
        (first, _) = fit_conformal(p, y, y > 0, "multilabel", options).labels
        assert first.present == (pytest.approx(0.3) if enough else None)
        assert f"{needed} are needed" in first.note or (enough and method != "class_conditional")


def test_words_say_what_the_set_holds() -> None:
    label = {"present": 0.4, "absent": 0.3}
    conformal = Conformal(task="binary", method="marginal", coverage=0.9, labels=[label])
    assert list(conformal.words(np.array([[0.1], [0.5], [0.9]]))[:, 0]) == ["absent", "either", "present"]
    assert conformal.words(np.empty((0, 1))).shape == (0, 1)
    narrow = Conformal(task="binary", method="marginal", coverage=0.1, labels=[{"present": 0.9, "absent": 0.9}])
    assert list(narrow.words(np.array([[0.5], [np.nan]]))[:, 0]) == ["neither", None]


def test_risk_control_needs_several_labels() -> None:
    one = np.ones((20, 1))
    with pytest.raises(SettingsError, match="risk control for a binary task"):
        fit_conformal(one / 2, one, one > 0, "binary", ConformalOptions(method="risk_control"))


def test_shapes_must_agree() -> None:
    with pytest.raises(SettingsError, match="the same"):
        fit_conformal(np.ones((3, 1)), np.ones((3, 2)), np.ones((3, 2), dtype=bool), "binary", ConformalOptions())
    conformal = Conformal(task="binary", method="marginal", coverage=0.9, labels=[{}])
    with pytest.raises(SettingsError, match=r"expected \(N, 1\)"):
        conformal.members(np.ones((3, 2)))


def test_groups_show_their_coverage_or_that_they_are_too_small(rng: np.random.Generator) -> None:
    p, y = binary(rng, 400)
    everything = np.ones_like(y, dtype=bool)
    conformal = fit_conformal(p, y, everything, "binary", ConformalOptions(method="marginal"))
    sex = np.array(["F"] * 392 + ["M"] * 8)
    quality = judge_sets(conformal, p, y, everything, ("x",), groups={"sex": sex})
    assert quality.by_group["sex F"].low < 0.9 < quality.by_group["sex F"].high
    assert "8 images; 10 are needed" in quality.by_group["sex M"].undefined_because
    assert 1 <= quality.size["x"] <= 2
    assert set(quality.by_class) == {"x, present", "x, absent"}
