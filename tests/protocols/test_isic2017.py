"""The skin study: figures against scikit-learn, nothing learned from what is judged, and the whole once in small."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from resight.cli.main import main
from resight.cohorts import ISIC_LABELS
from resight.errors import SettingsError
from resight.evaluation import OperatingRule
from resight.protocols import PROTOCOLS
from resight.protocols.isic2017_decisions import KEPT_SPECIFICITY, cross_fitted
from resight.protocols.isic2017_networks import Answers, build_network, ensemble, freeze_first_blocks
from resight.protocols.isic2017_options import ISIC2017Options
from resight.protocols.isic2017_output import draw, write_all_predictions, write_test_predictions
from resight.protocols.isic2017_probe import clinical_evidence, fused, fusion_weight, linear_probe
from resight.protocols.isic2017_run import SkinRun
from resight.protocols.isic2017_words import MEAN, OFFICIAL, WIDE, Found, conclude, official_metric, tables
from resight.types import Cohort

N = 400


@pytest.fixture
def cohort(rng: np.random.Generator, tmp_path: Path) -> Cohort:
    """Lesions whose class depends on age a little; the last hundred are validation and test images."""
    classes = rng.choice(3, N, p=[0.2, 0.2, 0.6])
    table = pd.DataFrame(np.eye(3)[classes], columns=list(ISIC_LABELS))
    table["split"] = np.repeat(["train", "validation", "test"], [300, 60, 40])
    table.loc[table["split"] == "test", list(ISIC_LABELS)] = np.nan
    table["image"] = [f"images/ISIC_{number:07d}.jpg" for number in range(N)]
    table["age"] = 50.0 + 10 * (classes == 1) - 10 * (classes == 2) + rng.normal(0, 12, N)
    table.loc[rng.random(N) < 0.1, "age"] = np.nan
    table["sex"] = rng.choice(["male", "female", ""], N)
    table["sex"] = table["sex"].where(table["sex"] != "", np.nan)
    return Cohort(table, ISIC_LABELS, "multiclass", tmp_path, "drawn")


def noisy(cohort: Cohort, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    return strength * np.nan_to_num(cohort.targets()) + rng.normal(0, 1, (N, 3))


def test_the_official_metric_is_scikit_learns(cohort: Cohort, rng: np.random.Generator) -> None:
    answers = Answers("noisy", noisy(cohort, rng))
    found = official_metric(answers, cohort, "validation")
    rows = (cohort.table["split"] == "validation").to_numpy()
    probability = np.exp(answers.logits) / np.exp(answers.logits).sum(axis=1, keepdims=True)
    expected = [roc_auc_score(cohort.targets()[rows, k], probability[rows, k]) for k in (0, 1)]
    assert [found[name].value for name in OFFICIAL[1:]] == pytest.approx(expected)
    assert found[MEAN].value == pytest.approx(np.mean(expected))
    assert found[MEAN].low < found[MEAN].value < found[MEAN].high
    assert found[MEAN].n == 60


def test_a_class_that_is_absent_leaves_the_metric_undefined(cohort: Cohort, rng: np.random.Generator) -> None:
    found = official_metric(Answers("noisy", noisy(cohort, rng)), cohort, "test")
    assert np.isnan(found[MEAN].value)
    assert found[MEAN].undefined_because


def test_a_probe_answers_for_training_images_out_of_fold(cohort: Cohort, rng: np.random.Generator) -> None:
    """Features of nothing but noise, more of them than images: in the fold they would separate perfectly."""
    features = rng.normal(size=(N, 2, 500)).astype(np.float32)
    probe = linear_probe("noise", features, cohort, inverse_penalty=1.0, seed=0)
    assert probe.out_of_fold
    assert official_metric(probe, cohort, "train")[MEAN].value < 0.6
    features[:, :, :20] += 2 * np.nan_to_num(cohort.targets())[:, None, :1]
    told = linear_probe("planted", features, cohort, inverse_penalty=1e-3, seed=0)
    assert official_metric(told, cohort, "train")[OFFICIAL[1]].value > 0.8
    np.testing.assert_allclose(np.exp(told.logits[300:, :]).sum(axis=1), 1.0, atol=0.05)


def test_labels_of_other_splits_change_nothing(cohort: Cohort, rng: np.random.Generator) -> None:
    features = rng.normal(size=(N, 1, 5)).astype(np.float32)
    table = cohort.table.copy()
    rows = table["split"] == "validation"
    table.loc[rows, list(ISIC_LABELS)] = np.eye(3)[rng.choice(3, rows.sum())]
    other = Cohort(table, ISIC_LABELS, "multiclass", cohort.root, "other labels")
    for answer in (
        lambda c: linear_probe("probe", features, c, inverse_penalty=1.0, seed=0).logits,
        lambda c: clinical_evidence(c, seed=0),
    ):
        assert np.array_equal(answer(cohort), answer(other))


def test_age_and_sex_get_the_weight_they_deserve(cohort: Cohort, rng: np.random.Generator) -> None:
    evidence = clinical_evidence(cohort, seed=0)
    assert official_metric(Answers("age and sex", evidence), cohort, "train")[OFFICIAL[2]].value > 0.6
    answers = Answers("noisy", noisy(cohort, rng), out_of_fold=True)
    weight = fusion_weight(answers, evidence, cohort)
    assert weight > 0.2
    together = fused("both", answers, evidence, weight)
    better, alone = (official_metric(a, cohort, "train")[MEAN].value for a in (together, answers))
    assert better > alone
    assert fusion_weight(answers, rng.normal(0, 5, (N, 3)), cohort) <= 0.1
    with pytest.raises(ValueError, match="out of fold"):
        fusion_weight(Answers("fitted", answers.logits), evidence, cohort)


def test_an_ensemble_keeps_unknown_answers_unknown() -> None:
    first = Answers("a", np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), out_of_fold=True)
    second = Answers("b", np.array([[np.nan] * 3, [5.0, 5.0, 5.0]]))
    both = ensemble("both", [first, second])
    assert np.isnan(both.logits[0]).all()
    np.testing.assert_allclose(both.logits[1], -np.log(3))
    assert not both.out_of_fold
    assert ensemble("one", [first]).out_of_fold


def test_only_the_last_blocks_are_trained() -> None:
    model = build_network({"name": "efficientnet_lite"}, seed=0)
    freeze_first_blocks(model, blocks=9)
    free = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"backbone._blocks.9._bn0.weight", "backbone._bn1.weight", "head.fc.weight"} <= free
    assert not any(name.startswith(("backbone._blocks.8.", "backbone._conv_stem", "backbone._bn0.")) for name in free)


def test_answers_for_the_test_images_have_the_names_of_the_challenge(
    cohort: Cohort, rng: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "test_predictions.csv"
    write_test_predictions(path, Answers("noisy", noisy(cohort, rng)), cohort)
    table = pd.read_csv(path)
    assert table.columns.tolist() == ["image_id", "melanoma", "seborrheic_keratosis"]
    assert len(table) == 40
    assert table["image_id"][0] == "ISIC_0000360"
    assert table.iloc[:, 1:].to_numpy().min() >= 0
    assert (table["melanoma"] + table["seborrheic_keratosis"]).max() <= 1 + 1e-6


def test_the_page_puts_baselines_beside_accuracies(cohort: Cohort, rng: np.random.Generator) -> None:
    answers = [Answers("ResNet", noisy(cohort, rng)), Answers("probe, age and sex", noisy(cohort, rng), True)]
    page = tables(Found(cohort, answers, "ResNet", "probe, age and sex", []))
    calls = next(rows for heading, rows in page.items() if heading.startswith(WIDE[1]) and "60" in heading)
    first, second, *ours = [row for row in calls if row.metric == "accuracy"]
    assert [figure.text for figure in (*first.published, second.review) if figure] == ["77 %", "77 %"]
    assert len(ours) == 2 * (1 + 2 * 3)  # two groupings; the larger class, and two models at three thresholds
    rate = float((cohort.part("validation").targets()[:, 0] == 0).mean())
    assert "larger class" in ours[0].what
    assert ours[0].ours is not None
    assert ours[0].ours.value == pytest.approx(rate)
    by_folds = [rows for heading, rows in page.items() if "five folds" in heading]
    assert {row.what for row in by_folds[0]} == {"probe, age and sex"}
    assert not any("ResNet" in row.what for row in by_folds[1])
    assert any("no melanoma" in sentence for sentence in conclude(Found(cohort, answers, "ResNet", "ResNet", [])))


def test_a_threshold_is_chosen_on_other_images_than_those_it_judges(rng: np.random.Generator) -> None:
    """Where nothing is to be learned, a threshold that saw the images it judges would look better than chance."""
    rule = OperatingRule()
    rates = []
    for _ in range(40):
        targets, probabilities = np.repeat([0.0, 1.0], 20), rng.random(40)
        called = cross_fitted(targets, probabilities, rule)
        rates.append(called[targets == 1].mean() - called[targets == 0].mean())
    assert abs(np.mean(rates)) < 0.06
    apart = np.repeat([0.2, 0.8], 20) + rng.normal(0, 0.05, 40)
    assert cross_fitted(targets, apart, rule).tolist() == (targets == 1).tolist()
    kept = cross_fitted(np.repeat([0.0, 1.0], 500), rng.random(1000), KEPT_SPECIFICITY)
    assert kept[:500].mean() == pytest.approx(0.1, abs=0.03)


def test_test_figures_of_others_say_that_labels_are_withheld(cohort: Cohort, rng: np.random.Generator) -> None:
    short = Answers("ResNet-18 with augmentation", noisy(cohort, rng), details={"epochs": 3})
    found = Found(
        cohort, [Answers("ResNet", noisy(cohort, rng))], "ResNet", "ResNet", [], {"ResNet-18": short}, "short"
    )
    page = tables(found)
    published = next(rows for heading, rows in page.items() if "withheld" in heading)
    assert {(row.ours, row.absent) for row in published} == {(None, "labels withheld")}
    assert all(row.published for row in published)
    others = next(rows for heading, rows in page.items() if heading.startswith("Architectures"))
    assert [row.what for row in others] == ["ResNet-18", "AlexNet", "VGG-16", "DenseNet-121", "Inception-v3"]
    assert [row.ours is None for row in others] == [False, True, True, True, True]
    assert others[0].note == "epochs 3"


def test_every_model_s_predictions_and_pictures_are_kept(
    cohort: Cohort, rng: np.random.Generator, tmp_path: Path
) -> None:
    history = [{"epoch": e, "validation_auroc": 0.5 + 0.1 * e} for e in range(3)]
    trained = Answers("trained & tested", noisy(cohort, rng), history=history)
    found = Found(cohort, [trained, Answers("probe", noisy(cohort, rng), out_of_fold=True)], "probe", "probe", [])
    write_all_predictions(tmp_path / "all.csv.gz", found)
    table = pd.read_csv(tmp_path / "all.csv.gz")
    assert table.groupby(["model", "split"]).size().to_dict() == {
        (model, split): count
        for model in ("trained & tested", "probe")
        for split, count in (("test", 40), ("validation", 60))
    }
    mine = table[(table["model"] == "trained & tested") & (table["split"] == "validation")]
    melanoma = cohort.part("validation").targets()[:, 0]
    value = official_metric(trained, cohort, "validation")[OFFICIAL[1]].value
    assert roc_auc_score(melanoma, mine["melanoma"]) == pytest.approx(value)
    assert set(draw(found, tmp_path)) == {"models.svg", "training.svg"}
    models, training = ((tmp_path / name).read_text(encoding="utf-8") for name in ("models.svg", "training.svg"))
    assert models.count("trained &amp; tested") == 1  # it has no answers out of fold
    assert models.count(">probe<") == 2
    assert training.count("<circle") == 3
    assert set(draw(Found(cohort, found.answers[1:], "probe", "probe", []), tmp_path)) == {"models.svg"}


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(SettingsError, match="AlexNet"):
        PROTOCOLS.options("isic2017", {"comparators": ["AlexNett"]})
    assert isinstance(PROTOCOLS.options("isic2017"), ISIC2017Options)


class _Told(SkinRun):
    """The study with answers that are drawn instead of learned."""

    def __init__(self, cohort: Cohort, *, ct: bool, taught: bool) -> None:
        self.options, self.cohort = ISIC2017Options(depths=(18, 50), colours=False, ablation_epochs=0), cohort
        self.ct, self.taught, self.given = Path("ct") if ct else None, taught, {}

    def _answer(self, name: str, *, out_of_fold: bool = False) -> Answers:
        rng = np.random.default_rng(len(self.given))
        self.given[name] = Answers(name, noisy(self.cohort, rng), out_of_fold=out_of_fold)
        return self.given[name]

    def _teacher_features(self) -> np.ndarray:
        return np.zeros((N, 1, 1), np.float32)

    def _probe(self, name: str, features: np.ndarray) -> Answers:
        return self._answer("teacher probe", out_of_fold=True)

    def _ct_probe(self, depth: int) -> Answers:
        return self._answer(f"ct probe {depth}", out_of_fold=True)

    def _resnet(self, depth: int, seed: int) -> Answers:
        return self._answer(f"resnet {depth}")

    def _trained_teacher(self) -> Answers:
        return self._answer("trained teacher")


@pytest.mark.parametrize(
    ("ct", "taught", "resnets", "others"),
    [
        (True, True, ["ct probe 50", "resnet 50"], ["teacher probe", "trained teacher"]),
        (True, False, ["ct probe 50", "resnet 50"], []),
        (False, True, ["resnet 18", "resnet 50"], ["teacher probe", "trained teacher"]),
        (False, False, ["resnet 18", "resnet 50"], []),
    ],
)
def test_who_enters_the_ensembles(
    cohort: Cohort, ct: bool, taught: bool, resnets: list[str], others: list[str]
) -> None:
    """Where some ResNets begin with weights, those that learned from nothing stay out; what is handed in has all."""
    run = _Told(cohort, ct=ct, taught=taught)
    found = run.everything()

    def together(names: list[str]) -> np.ndarray:
        return ensemble("expected", [run.given[name] for name in names]).logits

    np.testing.assert_allclose(found.named("ResNets together").logits, together(resnets))
    if taught:
        np.testing.assert_allclose(found.named("all models together").logits, together(resnets + others))
    evidence = clinical_evidence(cohort, seed=0)
    folds = [answers for answers in run.given.values() if answers.out_of_fold]
    weight = fusion_weight(ensemble("folds", folds), evidence, cohort) if folds else 1.0
    final = found.named(found.final)
    np.testing.assert_allclose(final.logits, together(resnets + others) + weight * evidence)
    assert final.details == {"clinical_weight": weight}
    np.testing.assert_allclose(found.named(found.resnet).logits, together(resnets) + weight * evidence)
    assert {"resnet 18", "resnet 50"} <= {answers.name for answers in found.answers}


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Drawn lesions in the layout of the challenge: dark ones are melanomas, pale ones keratoses."""
    folder, rng, number = tmp_path / "data", np.random.default_rng(0), 0
    for part, count in (("Training", 45), ("Validation", 24), ("Test_v2", 6)):
        name = f"ISIC-2017_{part}"
        (folder / f"{name}_Data").mkdir(parents=True)
        labels, described = ["image_id,melanoma,seborrheic_keratosis"], ["image_id,age_approximate,sex"]
        for kind in range(count):
            image_id, melanoma, keratosis = f"ISIC_{number:07d}", kind % 3 == 0, kind % 3 == 1
            pixels = rng.normal(150 - 80 * melanoma + 60 * keratosis, 15, (48, 64, 3)).clip(0, 255)
            cv2.imwrite(str(folder / f"{name}_Data" / f"{image_id}.jpg"), pixels.astype(np.uint8))
            labels.append(f"{image_id},{int(melanoma)}.0,{int(keratosis)}.0")
            described.append(f"{image_id},{40 + kind % 30},{'male' if kind % 2 else 'female'}")
            number += 1
        if part != "Test_v2":
            (folder / f"{name}_Part3_GroundTruth.csv").write_text("\n".join(labels))
        (folder / f"{name}_Data" / f"{name}_Data_metadata.csv").write_text("\n".join(described))
    return folder


@pytest.mark.slow
def test_smoke_runs_from_the_command_line_and_resumes(challenge: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["reproduce", "isic2017", "--data", str(challenge), "--out", str(out), "--smoke"]
    command += ["--option", "threads=1", "--option", "precision=fp32", "--option", "ct=false"]
    assert main(command) == 0
    first = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert len(pd.read_csv(out / "test_predictions.csv")) == 6
    assert set(first["pictures"]) == {"models.svg", "training.svg"}
    described = {row["what"]: row for rows in first["tables"].values() for row in rows}
    assert any(what.startswith("short run of ResNet-18 without augmentation") for what in described)
    assert main([*command, "--resume"]) == 0
    assert json.loads((out / "study.json").read_text(encoding="utf-8"))["tables"] == first["tables"]
