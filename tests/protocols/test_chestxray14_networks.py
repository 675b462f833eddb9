"""Networks of the ChestX-ray14 study by name: what does not fit is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from resight.backbones import build_backbone, load_weights
from resight.backbones.ct_resnet import has_ct_resnet152
from resight.errors import SettingsError
from resight.protocols.chestxray14_networks import check_networks, first_weights, side_px, title


@pytest.mark.parametrize(
    ("models", "weights", "words"),
    [
        (("resent-50",), {}, "resent"),
        (("resnet-18-ct",), {}, "no CT weights for 'resnet-18-ct'.*resnet-50-ct"),
        (("densenet-121-ct",), {}, "no CT weights for 'densenet-121-ct'"),
        (("lite0",), {}, "'lite0' is only judged frozen.*probes"),
        (("resnet-50-ct",), {"resnet-50-ct": Path("w")}, "'resnet-50-ct', which has its own.*resnet-50"),
        (("resnet-50",), {"resnet-51": Path("w")}, "'resnet-51', which is not trained.*'resnet-50'"),
    ],
)
def test_networks_that_cannot_be_are_refused(models: tuple[str, ...], weights: dict[str, Path], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_networks(models, (), weights)


def test_known_networks_pass_and_say_where_they_begin() -> None:
    check_networks(("resnet-50-ct", "densenet-121", "alexnet"), ("lite0", "resnet-152-ct"), {})
    assert title("resnet-50-ct") == "resnet-50, CT weights"
    assert title("densenet-121") == "densenet-121, random weights"
    assert title("lite0") == "EfficientNet-Lite0, ImageNet weights"


def test_a_network_that_needs_larger_images_gets_the_least_it_can_take() -> None:
    sides = {name: side_px(name, 64) for name in ("resnet-50-ct", "vgg-16", "inception")}
    assert sides == {"resnet-50-ct": 64, "vgg-16": 64, "inception": 75}
    assert side_px("inception", 224) == 224


def test_given_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    given = {"resnet-50": tmp_path / "w.safetensors"}
    assert first_weights("resnet-50", given, tmp_path) == given["resnet-50"]
    assert first_weights("alexnet", given, tmp_path) is None


@pytest.mark.slow
@pytest.mark.skipif(not has_ct_resnet152(), reason="the extra `ct152` is not installed")
def test_a_network_with_ct_weights_begins_with_a_file_that_fits_it_whole(tmp_path: Path) -> None:
    file = first_weights("resnet-50-ct", {}, tmp_path)
    assert file is not None
    network = build_backbone("resnet", depth=50, in_channels=1)
    assert load_weights(network, file).share == 1
    written = file.stat().st_mtime_ns
    assert first_weights("resnet-50-ct", {}, tmp_path) == file
    assert file.stat().st_mtime_ns == written
    assert all(torch.isfinite(tensor).all() for tensor in load_file(file).values())
