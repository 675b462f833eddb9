"""Episodes teach a network what tells classes apart, on patients outside the test split alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from resight.cohorts import CohortOptions, load_cohort
from resight.errors import CohortError
from resight.fewshot import FinetuneOptions, finetune
from resight.fewshot.finetune import prototypical_loss
from resight.models import ModelOptions, build_classifier
from resight.preprocess import Recipe
from resight.types import Cohort

SIZE_PX = 16
OPTIONS = FinetuneOptions(ways=2, shots=2, queries=3, episodes=60, learning_rate=3e-3)


@pytest.fixture
def cohort(tmp_path: Path, rng: np.random.Generator) -> Cohort:
    """Faint stripes along or across in noise; 24 patients to learn from and 6 held out."""
    rows = []
    for number in range(30):
        stripes = np.tile(np.sin(np.arange(SIZE_PX) * 1.5 + rng.uniform(0, 6)), (SIZE_PX, 1))
        picture = 128 + 25 * (stripes if number % 2 else stripes.T) + rng.normal(0, 25, (SIZE_PX, SIZE_PX))
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.clip(picture, 0, 255).astype(np.uint8))
        split = "test" if number >= 24 else "train"
        rows.append({"image": f"{number}.png", "patient_id": f"p{number}", "along": number % 2, "split": split})
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    return load_cohort(CohortOptions(path=tmp_path / "cohort.csv", labels=("along",), split_column="split"))


def predictor() -> SimpleNamespace:
    """What fine-tuning asks of a predictor, without a bundle on the disk."""
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 10, "width": 8, "stem": "cifar"}
    network = build_classifier(ModelOptions(backbone=backbone), labels=("along",), channels=1, dims=2)
    recipe = Recipe(size_px=(SIZE_PX, SIZE_PX))
    return SimpleNamespace(network=network, device=torch.device("cpu"), manifest=SimpleNamespace(recipe=recipe))


def test_the_loss_is_that_of_the_paper() -> None:
    support, queries = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]]), torch.tensor([[1.0, 1.0]])
    loss, accuracy = prototypical_loss(support, torch.tensor([0, 0, 1]), queries, torch.tensor([0]))
    expected = functional.cross_entropy(torch.tensor([[-1.0, -10.0]]), torch.tensor([0]))
    torch.testing.assert_close(loss, expected)
    assert accuracy == 1


def test_episodes_teach(cohort: Cohort) -> None:
    held = predictor()
    before = {name: tensor.clone() for name, tensor in held.network.state_dict().items()}
    found = finetune(held, cohort, OPTIONS)  # type: ignore[arg-type]
    assert found.patients == 24
    assert found.last > 0.75
    after = held.network.state_dict()
    assert not torch.equal(after["backbone.conv1.weight"], before["backbone.conv1.weight"])
    assert torch.equal(after["backbone.bn1.running_mean"], before["backbone.bn1.running_mean"])
    assert torch.equal(after["head.fc.weight"], before["head.fc.weight"])


def test_held_out_images_are_not_looked_at(cohort: Cohort) -> None:
    weights = []
    for _ in range(2):
        held = predictor()
        finetune(held, cohort, OPTIONS.model_copy(update={"episodes": 3}))  # type: ignore[arg-type]
        weights.append(held.network.state_dict()["backbone.conv1.weight"])
        for number in range(24, 30):
            cv2.imwrite(str(cohort.paths[number]), np.full((SIZE_PX, SIZE_PX), 255, np.uint8))
    assert torch.equal(*weights)


def test_cohorts_that_keep_nobody_apart_are_refused(cohort: Cohort) -> None:
    table = cohort.table.drop(columns="split")
    whole = Cohort(**{**vars(cohort), "table": table})
    with pytest.raises(CohortError, match="no test split, so no patients to fine-tune on"):
        finetune(predictor(), whole, OPTIONS)  # type: ignore[arg-type]
    shared = Cohort(**{**vars(cohort), "table": cohort.table.assign(patient_id="p0")})
    with pytest.raises(CohortError, match="patient p0 is in the test split and outside it"):
        finetune(predictor(), shared, OPTIONS)  # type: ignore[arg-type]
