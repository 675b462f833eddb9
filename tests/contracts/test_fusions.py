"""Every registered fusion keeps its promises: in a network, in a bundle and under Grad-CAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from resight.evaluation import OperatingPoint, OperatingRule
from resight.explain import build_explainer
from resight.models import Classifier, Manifest, ModelOptions, Predictor, build_classifier, save_bundle
from resight.multimodal import FUSIONS, ClinicalOptions, TableEncoding
from resight.preprocess import Recipe

TABLE = pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "age": [40.0, 60.0, 75.0], "sex": ["F", "M", "F"]})
CLINICAL = ClinicalOptions(columns=("age", "sex"), table_dropout=0.3, image_dropout=0.3)
ENCODING = TableEncoding.fit(TABLE, CLINICAL, where="cohort")
LABELS = ("a", "b")


@pytest.fixture(params=FUSIONS.names())
def options(request: pytest.FixtureRequest) -> ModelOptions:
    backbone = {"name": "resnet", "depth": 10, "width": 4, "stem": "cifar", "zero_init": False}
    return ModelOptions(backbone=backbone, clinical=CLINICAL, fusion={"name": request.param})


@pytest.fixture
def network(options: ModelOptions) -> Classifier:
    torch.manual_seed(0)
    made = build_classifier(options, labels=LABELS, channels=1, dims=2, encoding=ENCODING)
    with torch.no_grad():  # FiLM and DAFT start as the identity; here they shall do something
        for parameter in made.clinical.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, (3, 1, 24, 24), dtype=np.uint8))


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.from_numpy(ENCODING.encode(TABLE, where="cohort"))


def test_image_and_table_both_matter(network: Classifier, images: torch.Tensor, rows: torch.Tensor) -> None:
    logits = network(images, rows)
    assert logits.shape == (3, 2)
    assert not torch.allclose(network(images, rows.roll(1, 0)), logits)
    assert not torch.allclose(network(images.roll(1, 0), rows), logits)


def test_every_parameter_of_the_fusion_learns(network: Classifier, images: torch.Tensor, rows: torch.Tensor) -> None:
    network(images, rows).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.clinical.parameters())


def test_no_table_is_a_table_of_which_nothing_is_known(network: Classifier, images: torch.Tensor) -> None:
    nothing = torch.from_numpy(ENCODING.nothing()).expand(3, -1)
    torch.testing.assert_close(network(images), network(images, nothing))


def test_a_black_image_leaves_the_table_alone(network: Classifier, images: torch.Tensor, rows: torch.Tensor) -> None:
    black = torch.zeros_like(images)
    logits = network(black, rows)
    assert torch.isfinite(logits).all()
    network.mean.add_(0.3)  # what is normalised must not matter where there is no image
    torch.testing.assert_close(network(black, rows), logits)


def test_inputs_are_hidden_in_training_only(network: Classifier, images: torch.Tensor, rows: torch.Tensor) -> None:
    torch.testing.assert_close(network.answers(images, rows).logits, network(images, rows))
    torch.manual_seed(1)
    many, table = images[:1].expand(400, -1, -1, -1), rows[:1].expand(400, -1)
    shown, told = network.clinical.hidden(many, table)
    without_table = (told == network.clinical.nothing).all(dim=1)
    without_image = (shown == 0).flatten(1).all(dim=1)
    assert 0.2 < without_table.float().mean() < 0.4
    assert 0.2 < without_image.float().mean() < 0.4
    assert not (without_table & without_image).any()


def test_gradcam_explains_what_was_answered_with_the_table(
    network: Classifier, images: torch.Tensor, rows: torch.Tensor
) -> None:
    explained = build_explainer("gradcam").predict_and_explain(network.beside(rows[:1]), images[:1])
    torch.testing.assert_close(explained.logits, network(images[:1], rows[:1]))
    assert explained.maps.shape == (1, 2, 24, 24)
    assert explained.maps.isfinite().all()
    assert network.assumed is None


def test_a_bundle_answers_as_the_network_did(
    options: ModelOptions, network: Classifier, images: torch.Tensor, rows: torch.Tensor, tmp_path: Path
) -> None:
    points = tuple(OperatingPoint(name="p", label=label, threshold=0.5, rule=OperatingRule()) for label in LABELS)
    manifest = Manifest(
        labels=LABELS,
        task="multilabel",
        recipe=Recipe(size_px=(24, 24)),
        model=options,
        encoding=ENCODING,
        operating_points=points,
    )
    save_bundle(tmp_path / "bundle", network, manifest)
    predictor = Predictor.load(tmp_path / "bundle", device="cpu")
    assert predictor.manifest.encoding == ENCODING
    expected = network(images, rows).detach().double().numpy()
    np.testing.assert_allclose(predictor.logits(images.numpy(), rows.numpy()), expected, atol=1e-5)
    arrays = [image.numpy() for image in images]
    named = TABLE.assign(image=[f"array_{i}" for i in range(3)])
    np.testing.assert_allclose(predictor.predict(arrays, table=named).array("logit"), expected, atol=1e-5)
    assert set(predictor.predict(arrays).images()["alerts"]) == {"no clinical data"}
