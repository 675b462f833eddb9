from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.cli.main import main
from resight.errors import CohortError, SettingsError
from resight.evaluation.resampled import corrected_resampled_t_test
from resight.preprocess import Recipe
from resight.protocols import PROTOCOLS, Surroundings
from resight.protocols.brain_data import (
    BrainImages,
    Split,
    cross_validations,
    hold_outs,
    in_other_size,
    load_images,
)
from resight.protocols.brain_heads import Outcome, methods, reference, searched
from resight.protocols.brain_measures import Part, against_plain_script
from resight.protocols.brain_networks import Extracted, trained_features
from resight.protocols.brain_options import BrainAugmentation, BrainOptions, BrainTraining
from resight.protocols.brain_picture import draw_courses
from resight.protocols.brain_study import write_up
from resight.protocols.brain_words import AT_A_GLANCE
from resight.types import silent

_PAIRS = 60
_MODES = ("all",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of 60 heads, each with its neighbouring slice; every other head has a bright lesion."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("brains")
    (folder / "images").mkdir()
    y, x = np.mgrid[:64, :64] - 31.5
    rows = []
    for head in range(_PAIRS):
        texture = cv2.resize(rng.normal(0, 45, (6, 6)), (64, 64), interpolation=cv2.INTER_CUBIC)
        plane = np.where(np.hypot(x, y) < 28, 110 + texture, 4.0)
        if head % 2:
            plane[np.hypot(x - rng.uniform(-14, 14), y - rng.uniform(-14, 14)) < 6] = 250
        for neighbour in "ab":
            name = f"images/{head:02d}{neighbour}.png"
            noisy = np.clip(plane + rng.normal(0, 2, plane.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name), noisy)
            rows.append((name, head % 2))
    pd.DataFrame(rows, columns=["file", "abnormal"]).to_csv(folder / "index.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def images(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BrainImages:
    recipe = Recipe(size_px=(32, 32), intensity="z-score")
    return load_images(folder, recipe, tmp_path_factory.mktemp("out"), silent)


def _heads(images: BrainImages, rows: np.ndarray) -> set[str]:
    return {name[7:9] for name in images.cohort.table["image"].iloc[rows]}


def _check(images: BrainImages, split: Split) -> None:
    parts = [_heads(images, rows) for rows in (split.train, split.validation, split.test)]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    for rows in (split.train, split.test):
        assert images.targets[rows].mean() == pytest.approx(0.5, abs=0.1)


def test_hold_outs_keep_neighbouring_slices_together_and_differ(images: BrainImages) -> None:
    splits = list(hold_outs(images, times=3, test=0.2, validation=0.2, seed=0))
    for split in splits:
        _check(images, split)
        assert len(split.test) == pytest.approx(24, abs=2)
    assert len({tuple(split.test) for split in splits}) == 3


def test_random_hold_outs_part_neighbouring_slices(images: BrainImages) -> None:
    sizes = {"test": 0.3, "validation": 0.2, "seed": 0}
    (apart,) = hold_outs(images, times=1, together=False, **sizes)
    (together,) = hold_outs(images, times=1, **sizes)
    assert len(_heads(images, apart.learn) & _heads(images, apart.test)) > 10
    assert apart.name != together.name
    assert sorted([*apart.learn, *apart.test]) == list(range(2 * _PAIRS))
    assert images.targets[apart.test].mean() == pytest.approx(0.5, abs=0.1)


def test_every_image_is_tested_once_a_round(images: BrainImages) -> None:
    splits = list(cross_validations(images, rounds=2, folds=4, validation=0.2, seed=0))
    for split in splits:
        _check(images, split)
    for number in range(2):
        tested = np.concatenate([split.test for split in splits if split.round == number])
        assert sorted(tested) == list(range(2 * _PAIRS))


def test_small_cohorts_are_drawn_anew_and_balanced(images: BrainImages) -> None:
    splits = list(cross_validations(images, rounds=2, folds=2, validation=0.2, seed=0, per_class=20))
    drawn = [np.sort(np.concatenate([s.test for s in splits if s.round == number])) for number in range(2)]
    assert all(images.targets[rows].sum() == 20 and len(rows) == 40 for rows in drawn)
    assert drawn[0].tolist() != drawn[1].tolist()
    assert not any(_heads(images, s.learn) & _heads(images, s.test) for s in splits)


def _part(images: BrainImages, skill: dict[str, float]) -> Part:
    """A part whose methods are as good as planted: target times skill, plus noise common to all and of each."""
    rng = np.random.default_rng(0)
    outcomes = []
    for split in hold_outs(images, times=8, test=0.4, validation=0.2, seed=0):
        targets, common = images.targets[split.test], rng.normal(0, 1, len(split.test))
        columns = {
            name: 1 / (1 + np.exp(-(skill.get(name, 0.3) * (2 * targets - 1) + common + rng.normal(0, 0.05))))
            for name in methods("trained", _MODES)
        }
        table = pd.DataFrame(columns, index=pd.Index(split.test, name="row"))
        course = {searched(head, "all"): [1.0, 0.9, 0.8] for head in ("elm", "rvfl", "snn")}
        outcomes.append(Outcome(split, table, dict.fromkeys(columns, 0.5), course))
    return Part(images, "trained", outcomes, _MODES, "ResNet-18 trained in every split")


def test_study_says_that_a_planted_gain_is_one(images: BrainImages, tmp_path: Path) -> None:
    found = {"elm": 4.0, "rvfl": 4.0, "snn": 4.0} | {searched(head, "all"): 4.0 for head in ("elm", "rvfl", "snn")}
    study = write_up(images, [_part(images, found)], tmp_path)
    assert "Randomised networks: yes (6 of 6 differences significantly better, 0 " in study.question
    assert "Bats: no (0 of 6" in study.question


def test_study_says_no_where_all_are_equal(images: BrainImages, tmp_path: Path) -> None:
    study = write_up(images, [_part(images, {})], tmp_path)
    assert "Randomised networks: no (0 of 6" in study.question
    assert "Bats: no (0 of 6" in study.question
    kept = pd.read_csv(tmp_path / "predictions.csv.gz")
    assert len(kept) == sum(len(o.split.test) for o in _part(images, {}).outcomes)
    assert set(methods("trained", _MODES)) < set(kept.columns)
    assert "<svg" in (tmp_path / "bats.svg").read_text(encoding="utf-8")


def test_one_table_and_one_picture_hold_all_methods_in_all_designs(images: BrainImages, tmp_path: Path) -> None:
    part = _part(images, {"elm": 4.0})
    apart = [replace(outcome, split=replace(outcome.split, design="random hold-out")) for outcome in part.outcomes[:2]]
    parts = [part, replace(part, outcomes=apart)]
    study = write_up(images, parts, tmp_path)
    heading = "All methods, all designs: AUROC, mean over the splits"
    rows = {(row.what, row.metric): row for row in study.tables[heading]}
    assert set(rows) == {
        (m, d) for m in methods("trained", _MODES) for d in ("hold-out, ResNet-18", "random hold-out, ResNet-18")
    }
    assert rows["elm", "hold-out, ResNet-18"].ours == part.mean("elm", "AUROC")
    assert rows["elm", "hold-out, ResNet-18"].note == f"sd {part.deviation('elm', 'AUROC'):.3f}"
    assert heading in study.wide
    picture = (tmp_path / "methods.svg").read_text(encoding="utf-8")
    assert picture.count(">elm<") == 2
    assert "training.svg" not in study.pictures
    network = reference("trained")
    (sentence,) = (s for s in study.conclusions if s.startswith("With look-alikes on both sides"))
    assert f"{parts[1].mean(network, 'AUROC')}" in sentence
    assert "2 hold-outs" in sentence
    assert f"{part.mean(network, 'AUROC')}" in sentence
    assert parts[1].sizes[0] == len(apart[0].split.learn)
    assert part.sizes[0] < len(part.outcomes[0].split.learn)


def test_networks_are_compared_with_the_plain_script_on_the_splits_they_share(
    images: BrainImages, tmp_path: Path
) -> None:
    better = _part(images, {reference("trained"): 4.0})
    script = _part(images, {reference("plain"): 0.0})
    script = replace(script, source="plain", modes=(), network="the script", outcomes=script.outcomes[:5])
    accuracy, auroc = against_plain_script([script, better])
    assert (accuracy.metric, auroc.metric, accuracy.test.splits) == ("accuracy", "AUROC", 5)
    values = [p.measured[reference("trained")]["AUROC"].to_numpy()[:5] for p in (better, script)]
    assert auroc.test.difference == pytest.approx(float(np.mean(values[0] - values[1])))
    assert auroc.significant
    study = write_up(images, [script, better], tmp_path)
    assert study.conclusions[0].startswith(f"{better.network} differs from the script, on the same 5 hold-outs, by +")
    assert "Networks less the plain script, softmax layers on the same splits" in study.wide
    always = replace(accuracy, test=corrected_resampled_t_test(np.full(3, 0.75), np.full(3, 0.5), n_train=8, n_test=2))
    assert always.in_words == "+0.250 (no interval: the difference is the same on every split)"
    assert accuracy.in_words in study.conclusions[0]
    alone = replace(script, outcomes=script.outcomes[:1])
    assert against_plain_script([alone, better]) == []
    assert against_plain_script([better]) == []


def test_many_searches_are_drawn_three_abreast(images: BrainImages, tmp_path: Path) -> None:
    part = _part(images, {})

    def size_in(count: int) -> tuple[float, float]:
        assert draw_courses([part] * count, tmp_path / "bats.svg")
        root = ET.parse(tmp_path / "bats.svg").getroot()
        return float(root.attrib["width"].removesuffix("pt")), float(root.attrib["height"].removesuffix("pt"))

    (one, low), three, five = map(size_in, (1, 3, 5))
    assert three == pytest.approx((3 * one, low))
    assert five == pytest.approx((3 * one, 2 * low))


def test_networks_of_all_folds_are_smaller_and_shorter() -> None:
    options = BrainOptions.model_validate({"fold_px": 48, "fold_epochs": 3, "training": {"learning_rate": 0.01}})
    training = options.in_folds()
    assert (training.epochs, training.learning_rate) == (3, 0.01)
    assert "trained in every fold (3 epochs, 48 px)" in options.network("folded")


def test_images_of_another_size_are_those_of_the_same_rows(images: BrainImages, tmp_path: Path) -> None:
    smaller = in_other_size(images, 16, tmp_path, silent)
    assert smaller.store.recipe == images.store.recipe.model_copy(update={"size_px": (16, 16)})
    assert smaller.groups is images.groups
    for row in (0, 50, 100):
        shrunk = cv2.resize(np.asarray(images.store[row][0], np.float32), (16, 16), interpolation=cv2.INTER_AREA)
        alike = [np.corrcoef(shrunk.ravel(), smaller.store[other][0].ravel())[0, 1] for other in (0, 50, 100)]
        assert np.argmax(alike) == (0, 50, 100).index(row)
        assert max(alike) > 0.95


def test_a_plain_script_learns_from_labels_alone_at_one_rate() -> None:
    options = BrainOptions.model_validate({"plain_epochs": 7, "training": {"objective": {"name": "hints"}}})
    script = options.plain_script()
    assert (script.epochs, script.objective.name, script.schedule) == (7, "supervised", "constant")
    assert (script.ema_decay, script.mixup, script.weight_decay) == (0, 0, 0)
    assert "hints" in options.network("trained")
    assert "hints" not in options.network("plain")


def test_a_single_split_is_shown_without_any_test(images: BrainImages, tmp_path: Path) -> None:
    part = _part(images, {"elm": 4.0})
    alone = replace(part, outcomes=part.outcomes[:1], modes=())
    study = write_up(images, [part, alone], tmp_path)
    assert alone.title in study.tables
    assert not any(heading.startswith(f"{alone.title}: less") for heading in study.tables)
    assert f"{part.title}: less the softmax layer" in study.tables
    line = {row.metric: row for row in study.tables[AT_A_GLANCE] if row.what == alone.title}
    assert line["AUROC"].ours == alone.mean(reference("trained"), "AUROC")
    assert all(
        line[column].absent.endswith("a single split allows no test")
        for column in ("randomised networks", "classical classifiers")
    )
    assert line["with bats less without"].absent == "not tried"
    assert line["largest AUROC"].absent.startswith("elm ")
    assert "Randomised networks: sometimes" in study.question or "Randomised networks: yes" in study.question
    assert "of 6 differences" in study.question  # those of the repeated hold-outs alone


def test_a_line_says_between_what_differences_lie_and_what_a_search_costs(images: BrainImages, tmp_path: Path) -> None:
    skill = {"elm": 4.0} | {searched(head, "all"): 4.0 for head in ("elm", "rvfl", "snn")}
    part = _part(images, skill)
    for outcome in part.outcomes:
        outcome.seconds.update({searched(head, "all"): 10.0 for head in ("elm", "rvfl", "snn")})
    line = {row.metric: row.absent for row in write_up(images, [part], tmp_path).tables[AT_A_GLANCE]}
    bats = {c.first: c for c in part.bats_against_plain() if c.metric == "AUROC"}
    low, high = min(c.test.difference for c in bats.values()), max(c.test.difference for c in bats.values())
    assert f"AUROC {low:+.3f} to {high:+.3f}" in line["with bats less without"]
    assert line["with bats less without"].endswith("4 of 6 significant; 20 times as long")


def test_the_course_of_training_is_drawn_for_every_hold_out(images: BrainImages, tmp_path: Path) -> None:
    part = _part(images, {})
    (tmp_path / "networks").mkdir()
    for number, outcome in enumerate(part.outcomes):
        history = [{"loss": 0.7 - 0.1 * e, "validation_auroc": 0.8 + 0.01 * number} for e in range(4)]
        (tmp_path / "networks" / f"{outcome.split.name}.json").write_text(json.dumps({"history": history}))
    study = write_up(images, [part], tmp_path)
    assert set(study.pictures) == {"methods.svg", "training.svg", "bats.svg"}
    assert (tmp_path / "training.svg").read_text(encoding="utf-8").count('class="line model" d="M') >= 2 * len(
        part.outcomes
    )


def test_heads_learn_from_views_that_the_network_was_not_shown(images: BrainImages, tmp_path: Path) -> None:
    (split,) = hold_outs(images, times=1, test=0.2, validation=0.2, seed=0)
    training = BrainTraining(epochs=1, precision="fp32", batch_size=48)
    found = trained_features(images, split, training, BrainAugmentation(), tmp_path, silent)
    learning = found.learned_from(split)
    assert learning.shape == (len(split.learn), found.features.shape[1])
    assert not np.isclose(learning, found.features[split.learn]).all(axis=1).any()
    kept = trained_features(images, split, training, BrainAugmentation(), tmp_path, silent)
    np.testing.assert_array_equal(kept.learned_from(split), learning)
    plain = replace(found, learning=None)
    plain.write(tmp_path / "plain.npz")
    np.testing.assert_array_equal(
        Extracted.read(tmp_path / "plain.npz").learned_from(split), found.features[split.learn]
    )


def test_means_and_intervals_are_those_of_the_splits(images: BrainImages) -> None:
    part = _part(images, {})
    name = reference("trained")
    accuracy = []
    for outcome in part.outcomes:
        called = outcome.probabilities[name].to_numpy() >= 0.5
        accuracy.append(np.mean(called == (images.targets[outcome.split.test] == 1)))
    value = part.mean(name, "accuracy")
    assert value.value == pytest.approx(np.mean(accuracy))
    assert value.low < value.value < value.high <= 1
    assert part.deviation(name, "accuracy") == pytest.approx(np.std(accuracy, ddof=1))
    assert part.majority()["accuracy"] == pytest.approx(0.5, abs=0.05)
    assert part.sizes == (36, 24)


def test_missing_data_say_what_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"index\.csv.*Nickparvar"):
        PROTOCOLS.build("brain", {}, surroundings=Surroundings(tmp_path / "none", tmp_path / "out"))


def test_other_options_are_not_mixed_into_a_study(folder: Path, tmp_path: Path) -> None:
    surroundings = Surroundings(folder, tmp_path, smoke=True)
    (tmp_path / "settings.toml").write_text("seed = 3\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="not those the study began with"):
        PROTOCOLS.build("brain", {}, surroundings=surroundings)


@pytest.mark.slow
def test_smoke_runs_from_the_command_line_and_resumes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    command = ["reproduce", "brain", "--data", str(folder), "--out", str(out), "--smoke"]
    command += ["--option", "trained_rounds=1", "--option", "plain_hold_outs=1"]
    assert main([*command, "--option", "per_class=20", "--option", "training.precision=fp32"]) == 0
    first = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert {row["review"]["certainty"] for row in first["tables"]["Beside the review"]} == {"not verifiable"}
    designs = {row["metric"] for row in first["tables"]["All methods, all designs: AUROC, mean over the splits"]}
    assert {"cross-validation of 120, ResNet-18 of every fold", "hold-out, plain script"} <= designs
    assert (out / "store-folded" / "index.json").is_file()  # smaller images than those of the hold-outs
    assert any("trained in every fold (1 epochs, 24 px)" in heading for heading in first["tables"])
    folds = pd.read_csv(out / "predictions.csv.gz").query("features == 'folded'")
    assert sorted(folds["fold"].unique()) == [0, 1]
    assert folds["image"].nunique() == len(folds) == 2 * _PAIRS
    assert folds["elm + bats on scales"].notna().all()
    kept = out / "outcomes" / "trained-hold-out-1-0.json"
    before = pd.read_csv(kept.with_suffix(".csv"))
    kept.unlink()
    shutil.rmtree(out / "store")
    assert main([*command, "--option", "per_class=20", "--option", "training.precision=fp32", "--resume"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(kept.with_suffix(".csv")), before)


@pytest.mark.slow
def test_real_slices_have_look_alikes_and_a_telling_colour_mode(real_data, tmp_path: Path) -> None:
    images = load_images(
        real_data("brain_mri_tumour_nickparvar"), Recipe(size_px=(32, 32), intensity="z-score"), tmp_path, silent
    )
    assert len(images.cohort) == 900
    assert images.targets.sum() == 450
    assert len(np.unique(images.groups)) < 750
    assert images.colour_mode.low > 0.7
    for split in hold_outs(images, times=2, test=0.2, validation=0.15, seed=0):
        assert not set(images.groups[split.learn]) & set(images.groups[split.test])
