from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from resight.errors import SettingsError
from resight.models import ModelOptions, build_classifier

TINY = {"name": "resnet", "depth": 10, "width": 4, "zero_init": False}


def test_images_are_normalised_inside() -> None:
    options = ModelOptions(backbone=TINY, mean=(0.2, 0.3, 0.4), std=(0.1, 0.2, 0.5))
    model = build_classifier(options, labels=("a", "b"), channels=3, dims=2).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    by_hand = (images.float() / 255 - torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)) / torch.tensor(
        [0.1, 0.2, 0.5]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(model(images), model.head(model.backbone(by_hand)))
    torch.testing.assert_close(model(images), model(images.float()))
    torch.testing.assert_close(model.features(images), model.backbone(by_hand))
    torch.testing.assert_close(model.backbone.pool(model.stages(images)[-1]), model.features(images))
    assert {"mean", "std"} <= set(model.state_dict())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dims", [2, 3])
def test_one_logit_a_label_for_images_and_volumes(channels: int, dims: int) -> None:
    model = build_classifier(ModelOptions(backbone=TINY), labels=("a", "b", "c"), channels=channels, dims=dims)
    logits = model.eval()(torch.zeros(2, channels, *[32] * dims, dtype=torch.uint8))
    assert logits.shape == (2, 3)
    assert model.mean.shape == (channels,)


def test_one_value_is_meant_for_all_channels() -> None:
    options = ModelOptions(backbone=TINY, mean=(0.5,), std=(0.25,))
    assert build_classifier(options, labels=("a",), channels=3, dims=2).std.tolist() == [0.25] * 3


def test_channels_last_input_gives_the_same_logits() -> None:
    model = build_classifier(ModelOptions(backbone=TINY), labels=("a",), channels=3, dims=2).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    swapped = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(swapped), model(images), rtol=1e-4, atol=1e-5)


def test_the_side_branch_answers_in_training() -> None:
    options = ModelOptions(backbone={"name": "inception", "auxiliary_classes": 2})
    model = build_classifier(options, labels=("a", "b"), channels=1, dims=2)
    answers = model.answers(torch.rand(2, 1, 128, 128) * 255)
    ((auxiliary, weight),) = answers.auxiliary
    assert answers.logits.shape == auxiliary.shape == (2, 2)
    assert 0 < weight < 1
    plain = build_classifier(ModelOptions(backbone=TINY), labels=("a",), channels=1, dims=2)
    assert plain.answers(torch.rand(2, 1, 32, 32)).auxiliary == ()


def test_resolved_options_write_every_default_out() -> None:
    resolved = ModelOptions(backbone={"name": "resnet"}).resolved()
    assert resolved.backbone["depth"] == 18
    assert resolved.backbone["norm"] == "batch"
    assert resolved.head == {"name": "linear", "dropout": 0.0}
    assert resolved.resolved() == resolved


def test_training_can_start_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = build_classifier(ModelOptions(backbone=TINY), labels=("a",), channels=3, dims=2)
    save_file(source.backbone.state_dict(), tmp_path / "w.safetensors")
    options = ModelOptions(backbone=TINY, weights=tmp_path / "w.safetensors")
    model = build_classifier(options, labels=("a", "b"), channels=3, dims=2)
    assert torch.equal(model.backbone.state_dict()["conv1.weight"], source.backbone.state_dict()["conv1.weight"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": {"name": "resnet", "num_classes": 3}}, "the head gives the logits"),
        ({"backbone": {"name": "inception", "auxiliary_classes": 3}}, "0 or 2, the number of labels"),
        ({"backbone": TINY | {"dept": 3}}, "Did you mean 'depth'"),
        ({"head": {"name": "lineer"}}, "Did you mean 'linear'"),
        ({"mean": (0.1, 0.2)}, "1 or 3, the channels"),
    ],
)
def test_parts_that_do_not_fit_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        build_classifier(ModelOptions(**options), labels=("a", "b"), channels=3, dims=2)


@pytest.mark.parametrize("wrong", [{"std": (0.0,)}, {"std": ()}])
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ModelOptions(**wrong)
