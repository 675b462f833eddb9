"""Realistic content for reports: synthetic predictions of known strength, splits, cases and a course of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from resight.evaluation import EvaluationOptions, OperatingRule, choose_operating_points, evaluate
from resight.evidence import (
    Alert,
    Example,
    Exclusion,
    LabelCount,
    LeakCheck,
    ReportContent,
    SplitSummary,
    SubgroupRow,
    render_report,
)
from resight.predictions import Predictions
from resight.types import MetricValue, Task

FOURTEEN = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
RULES = (
    OperatingRule(name="youden", kind="youden"),
    OperatingRule(name="high sensitivity", kind="sensitivity", value=0.95),
)


@pytest.fixture(scope="session")
def binary() -> ReportContent:
    return content("binary", ("Pneumonia",))


@pytest.fixture(scope="session")
def three() -> ReportContent:
    return content("multiclass", ("glioma", "meningioma", "no tumour"))


@pytest.fixture(scope="session")
def fourteen() -> ReportContent:
    return content("multilabel", FOURTEEN, n=1500, cases=24)


@pytest.fixture(scope="session")
def bare(binary: ReportContent) -> ReportContent:
    """The least a report can be made of."""
    return ReportContent("bare", replace(binary.evaluation, operating=(), baselines=(), notes=()))


@pytest.fixture(scope="session", params=["binary", "three", "fourteen", "bare"])
def page(request: pytest.FixtureRequest) -> str:
    return render_report(request.getfixturevalue(request.param))


@pytest.fixture
def make_example() -> Callable[..., Example]:
    return example


def predictions(task: Task, labels: tuple[str, ...], n: int, seed: int = 7, strength: float = 1.8) -> Predictions:
    """Validation and test rows of patients with one to three images; the last of many labels never occurs."""
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, max(1, int(n * 0.7)), n)
    if task == "multiclass":
        classes = rng.choice(len(labels), n, p=np.array([0.5, 0.3, 0.2]))
        targets = np.eye(len(labels))[classes]
        logits = rng.normal(0, 1, targets.shape) + strength * targets
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    else:
        shares = np.array([0.4]) if len(labels) == 1 else np.geomspace(0.3, 0.02, len(labels))
        targets = (rng.random((n, len(labels))) < shares).astype(float)
        if len(labels) > 3:
            targets[:, -1] = 0.0
            targets[rng.random(targets.shape) < 0.02] = np.nan
        logits = (
            rng.normal(0, 1, targets.shape) + strength * np.nan_to_num(targets) + np.log(shares / (1 - shares)) - 0.6
        )
        probabilities = 1 / (1 + np.exp(-1.15 * logits))
    images = pd.DataFrame(
        {
            "image": [f"study/{i:05d}.png" for i in range(n)],
            "patient_id": [f"p{p}" for p in patients],
            "split": np.where(patients % 3 == 0, "validation", "test"),
            "age": rng.normal(54 + 6 * np.nan_to_num(targets[:, 0]), 15).round(),
            "sex": rng.choice(["F", "M"], n),
        }
    )
    return Predictions.from_arrays(
        images, labels, task, logit=logits, score=probabilities, probability=probabilities, target=targets,
        mask=~np.isnan(targets),
    )  # fmt: skip


def content(task: Task, labels: tuple[str, ...], n: int = 900, cases: int = 6) -> ReportContent:
    """A report with every section."""
    table = predictions(task, labels, n)
    validation = table.part(split="validation")
    points = choose_operating_points(
        validation.probabilities(), validation.targets(), validation.mask(), labels, RULES, chosen_on="validation"
    )
    evaluation = evaluate(table, EvaluationOptions(bootstrap=100), operating_points=points)
    splits = tuple(
        SplitSummary(
            name,
            images,
            int(images * 0.7),
            tuple(LabelCount(label, images // 5, images - images // 5 - 3, 3) for label in labels),
            {"age": "median 54 (43 to 66)", "sex": "F 48%, M 52%", "view": "PA 61%, AP 39%, 4 unknown"},
        )
        for name, images in (("train", 2400), ("validation", n // 3), ("test", evaluation.images))
    )
    excluded = (
        *(Exclusion(f"raw/case_{i:03d}.dcm", "pixel data end before the last row") for i in range(7)),
        Exclusion("raw/lateral/IM-0042-very-long-name-from-a-scanner-0001-0001.dcm", "no decoder for JPEG-LS"),
    )
    sex = tuple(
        SubgroupRow("sex", group, label, 240, 60, {"auroc": MetricValue(0.84, 0.79, 0.89, 240), "sensitivity": worth})
        for label in labels[:2]
        for group, worth in (("F", MetricValue(0.8, 0.7, 0.88, 60)), ("M", MetricValue.undefined("no positives")))
    )
    return ReportContent(
        title="Pneumonia in chest radiographs of children",
        evaluation=evaluation,
        intended_use="Second reading of frontal chest radiographs of children; flagged images are read first.",
        verdict=("The model does better than metadata alone on every label that can be judged.",),
        operating_points=points,
        assessed=sum(split.images for split in splits) + len(excluded),
        splits=splits,
        excluded=excluded,
        leak_check=LeakCheck(True, ("732 patients were compared by identifier; 0 are in two splits.",)),
        histories=(history(),),
        best_epochs=(9,),
        examples=tuple(example(i, labels[i % len(labels)]) for i in range(cases)),
        explained_by="Grad-CAM",
        alerts=(Alert("study/00012.png", "rotated", "looks turned by 90 degrees (score 0.93)"),),
        subgroups=sex,
        sources=1,
        provenance={
            "environment": {"python": "3.11.9", "accelerator": None, "versions": {"torch": "2.13.0"}},
            "data": {"fingerprint": "9f2c" * 16, "notes": ["uncertain labels were left out"]},
        },
        settings_toml='name = "pneumonia"\n\n[training]\nepochs = 12\n',
        created="2026-11-23 12:00 UTC",
    )


def history(epochs: int = 12) -> list[dict[str, float | None]]:
    return [
        {
            "epoch": e,
            "loss": 0.7 * 0.8**e + 0.05,
            "validation_loss": 0.7 * 0.86**e + 0.16 + 0.004 * max(0, e - 8) ** 2,
            "validation_auroc": 0.96 - 0.3 * 0.75**e,
        }
        for e in range(epochs)
    ]


def example(number: int, label: str, name: str = "") -> Example:
    rng = np.random.default_rng(number)
    y, x = np.mgrid[-1:1:224j, -1:1:224j]
    lungs = 150 * np.exp(-((np.abs(x) - 0.45) ** 2) * 9 - y**2 * 1.6) + rng.normal(40, 14, x.shape)
    image = np.clip(220 - lungs, 0, 255).astype(np.uint8)
    heat = np.exp(-((x - 0.4) ** 2 + (y - 0.2) ** 2) * 12)
    colour = np.stack([image + 120 * heat, image * (1 - 0.4 * heat), image * (1 - 0.8 * heat)], axis=-1)
    outcome = ("true positive", "false negative", "false positive", "true negative")[number % 4]
    decided = outcome.endswith("positive")
    return Example(
        image=image,
        overlay=np.clip(colour, 0, 255).astype(np.uint8) if number % 5 else None,
        name=name or f"study/{number:05d}.png",
        label=label,
        probability=0.81 if decided else 0.12,
        decision=decided,
        target=outcome in ("true positive", "false negative"),
        outcome=outcome,
        operating_point="youden, 0.310",
        threshold=0.31,
    )
