"""Audit and mitigation on real images, cross-validated by patient: which gaps are there, and what closes them?

    python benchmarks/fairness.py nih ../shared/data/cxr_nih14_1000 --out benchmarks/results/fairness
    python benchmarks/fairness.py isic ../shared/data/derm_isic2017 --out benchmarks/results/fairness

Features come from the third stage of a ResNet-50 that begins with CT weights (extra `ct152`), its batch normalisation
adapted to the images at hand without labels, and stay as they are. On them a network with one hidden layer is trained
by `resight.training.fit`, once as usual and once with each mitigation and attribute. Of five folds of whole patients
one is judged, the next chooses epoch, calibration and thresholds, and three are learned from; all in turn, so that
every image is judged once by a network that has not seen its patient. Finished fits are kept in `--work`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from resight.backbones import Backbone
from resight.backbones.ct_resnet import begin_with_ct, ct_resnet152_weights
from resight.evaluation import OperatingRule, choose_operating_points, decide, fit_calibration
from resight.evaluation.groups import make_groupings
from resight.fairness import Audit, AuditOptions, Effect, audit, effects, mitigate
from resight.models import Classifier, ModelOptions, build_classifier
from resight.predictions import Predictions
from resight.preprocess import Recipe
from resight.settings import write_json
from resight.training import TrainingOptions, fit, predict_logits
from resight.training.data import TrainingData
from resight.training.norms import adapt_norms
from resight.training.validate import view_features
from resight.types import MetricValue

FOLDS, SIDE_PX, STAGE, HIDDEN = 5, 128, -2, 64
TRAINED: dict[str, dict[str, Any]] = {
    "group_reweighted": {"objective": {"name": "group_reweighted"}},
    "group_sampler": {"imbalance": "group_sampler"},
    "group_dro": {"objective": {"name": "group_dro", "options": {"step_size": 0.1}}},
    "adversarial": {"objective": {"name": "adversarial"}},
}
KEPT = ("equalised_odds_gap", "calibration_gap", "balanced_accuracy")
AFTERWARDS = ("equal_sensitivity", "equalised_odds", "recalibrate")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Study:
    """One data set: `images` has a row an image with `image`, `patient_id` and the attributes."""

    name: str
    labels: tuple[str, ...]
    images: pd.DataFrame
    targets: np.ndarray
    by: tuple[str, ...]
    edges: dict[str, tuple[float, ...]]
    folder: Path


def nih(folder: Path) -> Study:
    table = pd.read_csv(folder / "index.csv")
    table["No Finding"] = (table["finding_labels"] == "No Finding").astype(int)
    labels = ("No Finding", "Atelectasis", "Effusion", "Infiltration")  # 48 patients or more have each
    images = table[["file", "patient_id", "sex", "age", "view"]].rename(columns={"file": "image"})
    images["age"] = pd.to_numeric(images["age"].astype(str).str.extract(r"(\d+)")[0])
    return Study(
        "nih", labels, images, table[list(labels)].to_numpy(float), ("sex", "age", "view"), {"age": (60.0,)}, folder
    )


def isic(folder: Path) -> Study:
    table = pd.read_csv(folder / "index.csv")
    table = table.loc[table["split"] != "test"].reset_index(drop=True)  # those labels are withheld
    labels = ("melanoma", "seborrheic_keratosis")
    images = pd.DataFrame({"image": table["file"], "sex": table["sex"].replace("unknown", np.nan)})
    images["age"] = pd.to_numeric(table["age_approximate"], errors="coerce")
    # no patients are published; copies of one image stay together
    images["patient_id"] = table["sha256_16"]
    return Study(
        "isic", labels, images, table[list(labels)].to_numpy(float), ("sex", "age"), {"age": (40.0, 60.0)}, folder
    )


class Hidden(Backbone):
    """One hidden layer on features that lie in the channels of images of one pixel."""

    def __init__(self, features: int) -> None:
        super().__init__(stage_dims=(HIDDEN,), feature_dim=HIDDEN)
        self.layer = nn.Sequential(nn.Conv2d(features, HIDDEN, 1), nn.ReLU(), nn.Dropout(0.5))

    def top(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def _stages(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.layer(images),)


def features_of(study: Study, work: Path) -> np.ndarray:
    """Features of every image, kept in a file."""
    path = work / "features.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    model = build_classifier(ModelOptions(backbone={"name": "resnet", "depth": 50}), labels=("a",), channels=3, dims=2)
    with tempfile.TemporaryDirectory() as folder:
        begin_with_ct(model.backbone, ct_resnet152_weights(Path(folder)))
    recipe = Recipe(size_px=(SIDE_PX, SIDE_PX), channels=3, resize="stretch")
    pixels = [recipe.prepare(study.folder / name) for name in study.images["image"]]
    count = len(pixels)
    nothing = np.zeros((count, 1))
    data = TrainingData(pixels, np.arange(count), nothing, nothing > 0, tuple(study.images["image"]))  # type: ignore[arg-type]
    reading = {"batch_size": 50, "device": CPU, "precision": "bf16"}
    adapt_norms(model, data, **reading)
    found = view_features(model, data, n_views=1, stage=STAGE, **reading)[:, 0]
    np.save(path, found)
    return found


def fold_of(study: Study, seed: int) -> np.ndarray:
    """Number of the fold of each image; whole patients, the first label as common in each."""
    folds = np.empty(len(study.images), dtype=int)
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(split.split(study.images, study.targets[:, 0], study.images["patient_id"])):
        folds[rows] = number
    return folds


def answers(
    study: Study,
    features: np.ndarray,
    folds: np.ndarray,
    judged: int,
    training: dict[str, Any],
    attribute: str,
    seed: int,
    work: Path,
) -> np.ndarray:
    """Logits of all images by a network that has not seen the judged fold and the one after it."""
    name = hashlib.sha256(json.dumps([judged, training, attribute, seed], sort_keys=True).encode()).hexdigest()[:16]
    kept = work / f"{name}.npy"
    if kept.exists():
        return np.load(kept, allow_pickle=False)
    choosing = folds == (judged + 1) % FOLDS
    learning = ~choosing & (folds != judged)
    scaled = 255 * (features - features[learning].mean(axis=0)) / (features[learning].std(axis=0) + 1e-6)
    pixels = list(scaled.astype(np.float32)[:, :, None, None])
    groups = None
    if attribute:
        grouping = make_groupings(study.images, (attribute,), {k: v for k, v in study.edges.items() if k == attribute})[
            0
        ]
        groups = np.where(grouping.index < 0, len(grouping.groups), grouping.index)  # not known: a group of its own

    def part(rows: np.ndarray) -> TrainingData:
        at = np.flatnonzero(rows)
        known = ~np.isnan(study.targets[at])
        names = tuple(study.images["image"].iloc[at])
        return TrainingData(pixels, at, study.targets[at], known, names, None if groups is None else groups[at])  # type: ignore[arg-type]

    torch.manual_seed(seed)
    width = features.shape[1]
    model = Classifier(Hidden(width), nn.Linear(HIDDEN, len(study.labels)), [0.0] * width, [1.0] * width)
    options = TrainingOptions(
        epochs=20, batch_size=64, precision="fp32", threads=1, seed=seed, device="cpu", **training
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(model, part(learning), part(choosing), options, task="multilabel", folder=Path(folder))
    found = predict_logits(model, part(np.ones(len(folds), bool)), batch_size=500, device=CPU)
    np.save(kept, found)
    return found


def fold_table(study: Study, logits: np.ndarray, folds: np.ndarray, judged: int) -> Predictions:
    """Validation and test rows of one fold, calibrated and decided (Youden) on the validation rows."""
    choosing = folds == (judged + 1) % FOLDS
    known = ~np.isnan(study.targets)
    calibration = fit_calibration(logits[choosing], study.targets[choosing], known[choosing], "multilabel", "platt")
    probabilities = calibration.apply(logits)
    rule = OperatingRule(name="youden", kind="youden")
    points = choose_operating_points(
        probabilities[choosing], study.targets[choosing], known[choosing], study.labels, (rule,)
    )
    rows = choosing | (folds == judged)
    images = study.images.loc[rows].assign(split=np.where(folds[rows] == judged, "test", "validation"))
    columns = {"score": probabilities, "probability": probabilities, "target": study.targets}
    columns["decision"] = decide(probabilities, study.labels, points, "youden").astype(float)
    return Predictions.from_arrays(
        images.reset_index(drop=True),
        study.labels,
        "multilabel",
        **{name: values[rows] for name, values in columns.items()},
    )


def judged_rows(tables: list[Predictions]) -> Predictions:
    """The test rows of all folds, one table in which every image stands once."""
    parts = [table.part(split="test").table for table in tables]
    together = pd.concat(parts, ignore_index=True).drop(columns=["split"])
    return Predictions(together, tables[0].labels, "multilabel")


def page(study: Study, found: Audit, changes: dict[str, dict[str, tuple[Effect, ...]]]) -> tuple[str, dict[str, Any]]:
    """Tables for the documentation, and the figures behind them."""
    lines = [
        f"{found.images} images, {found.patients} patients. {len(found.found)} of {found.tests} tests find a difference"
        " after Holm's correction.",
        "",
    ]
    differences = found.found
    if differences:
        lines += [
            "| group | label | metric | in the group | in the others | p (Holm) |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {d.attribute} {d.group} | {d.label or 'any'} | {d.metric.replace('_', ' ')} | {d.value} | {d.rest} "
            f"| {d.p_holm:.2g} |"
            for d in differences
        ]
        lines.append("")
    for attribute, methods in changes.items():
        lines.append(f"By {attribute}: equalised-odds gap, and in brackets the change of balanced accuracy.")
        lines.append("")
        lines.append("| training or thresholds | " + " | ".join(study.labels) + " |")
        lines.append("| --- |" + " --- |" * len(study.labels))
        usual = {e.label: e for e in next(iter(methods.values())) if e.metric == "equalised_odds_gap"}
        lines.append("| usual | " + " | ".join(_cell(usual[label].before) for label in study.labels) + " |")
        for method, effect in methods.items():
            by = {(e.label, e.metric): e for e in effect}
            kind = "calibration_gap" if method == "recalibrate" else "equalised_odds_gap"
            name = f"`{method}` (calibration gap)" if method == "recalibrate" else f"`{method}`"
            cells = [_after(by[label, kind], by[label, "balanced_accuracy"]) for label in study.labels]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    facts = {
        "images": found.images,
        "patients": found.patients,
        "tests": found.tests,
        "differences": found.found,
        "notes": found.notes,
        "changes": {
            attribute: {method: [e for e in effect if e.metric in KEPT] for method, effect in methods.items()}
            for attribute, methods in changes.items()
        },
    }
    return "\n".join(lines), facts


def _cell(value: MetricValue) -> str:
    return "not estimable" if np.isnan(value.value) else f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def _after(gap: Effect, accuracy: Effect) -> str:
    """Bold where the interval of the change is below 0; a star where balanced accuracy is lower beyond chance."""
    if np.isnan(gap.after.value):
        return "not estimable"
    change = f"{gap.change.value:+.2f}, {gap.change.low:+.2f} to {gap.change.high:+.2f}"
    text = f"{gap.before.value:.2f} to {gap.after.value:.2f} ({change})"
    star = "\\*" if accuracy.change.high < 0 else ""
    return (f"**{text}**" if gap.change.high < 0 else text) + f" [{accuracy.change.value:+.2f}{star}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=("nih", "isic"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=None, help="where features and finished fits are kept")
    parser.add_argument("--seeds", type=int, default=3, help="networks whose logits are averaged")
    parser.add_argument("--bootstrap", type=int, default=1000)
    given = parser.parse_args()
    began = time.process_time()
    study = {"nih": nih, "isic": isic}[given.study](given.data)
    work = (given.work or Path(tempfile.gettempdir()) / "resight-fairness") / study.name
    work.mkdir(parents=True, exist_ok=True)
    features, folds = features_of(study, work), fold_of(study, 0)

    def tables(training: dict[str, Any], attribute: str) -> list[Predictions]:
        found = []
        for judged in range(FOLDS):
            logits = [
                answers(study, features, folds, judged, training, attribute, seed, work) for seed in range(given.seeds)
            ]
            found.append(fold_table(study, np.mean(logits, axis=0), folds, judged))
        return found

    usual = tables({}, "")
    before = judged_rows(usual)
    options = {
        attribute: AuditOptions(
            by=(attribute,),
            edges={k: v for k, v in study.edges.items() if k == attribute},
            bootstrap=given.bootstrap,
        )
        for attribute in study.by
    }
    found = audit(before, AuditOptions(by=study.by, edges=study.edges, bootstrap=given.bootstrap))
    changes: dict[str, dict[str, tuple[Effect, ...]]] = {}
    for attribute in study.by:
        after = {name: judged_rows(tables(training, attribute)) for name, training in TRAINED.items()}
        for method in AFTERWARDS:
            quick = options[attribute].model_copy(update={"bootstrap": 0})
            after[method] = judged_rows([mitigate(table, method, quick).predictions for table in usual])
        changes[attribute] = {name: effects(before, table, options[attribute]) for name, table in after.items()}
        print(attribute, round(time.process_time() - began), "s", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    before.write(given.out / f"{study.name}_predictions.csv.gz")
    text, facts = page(study, found, changes)
    (given.out / f"{study.name}.md").write_text(text, encoding="utf-8")
    write_json(given.out / f"{study.name}.json", {"folds": FOLDS, "networks_averaged": given.seeds, **facts})
    print(text)
    print(round(time.process_time() - began), "s of one core")


if __name__ == "__main__":
    main()
