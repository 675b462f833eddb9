"""Every registered backbone keeps the promises of `resight.backbones.base`."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from resight.backbones import BACKBONES, Backbone, build_backbone
from resight.errors import SettingsError

SIZE_PX = {"inception": 96, "alexnet": 80}
VOLUMES = {"resnet", "slices", "windows"}
VOLUMES_ONLY = {"slices"}


def build(name: str, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(name, in_channels=1, dims=dims_of(name), **options)


def dims_of(name: str) -> int:
    return 3 if name in VOLUMES_ONLY else 2


@cache
def built(name: str) -> Backbone:
    """One for all tests that leave it as it is."""
    return build(name).eval()


def images_for(name: str) -> torch.Tensor:
    size = max(SIZE_PX.get(name, 32), built(name).min_size_px)
    return torch.rand(2, 1, *[5] * (dims_of(name) - 2), size, size)


@pytest.fixture(params=BACKBONES.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_stages_pool_and_features_fit_together(name: str) -> None:
    backbone, images = built(name), images_for(name)
    with torch.no_grad():
        maps = backbone.stages(images)
        features = backbone(images)
        assert tuple(m.shape[1] for m in maps) == backbone.stage_dims
        assert [m.shape[-1] for m in maps] == sorted((m.shape[-1] for m in maps), reverse=True)
        assert features.shape == (2, backbone.feature_dim)
        torch.testing.assert_close(backbone.pool(maps[-1]), features)
        if backbone.pools_by_mean:
            torch.testing.assert_close(maps[-1].mean(dim=tuple(range(2, maps[-1].ndim))), features)


def test_own_last_layer_gives_class_scores(name: str) -> None:
    assert build(name, num_classes=3).eval()(images_for(name)).shape == (2, 3)


def test_every_parameter_gets_a_gradient(name: str) -> None:
    started = {"zero_init": False}
    wrapped = {"network": {"name": "resnet", **started}}
    backbone = build(name, **{"resnet": started, "slices": wrapped, "windows": wrapped}.get(name, {}))
    backbone.train()(images_for(name)).square().sum().backward()
    silent = [key for key, p in backbone.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []


def test_evaluation_is_repeatable_and_changes_no_state(name: str) -> None:
    backbone, images = built(name), images_for(name)
    before = copy.deepcopy(backbone.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), backbone(images), rtol=0, atol=0)
        together, alone = backbone(images)[:1], backbone(images[:1])
        assert (together - alone).abs().max() <= 1e-5 * together.abs().max()
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())


def test_bf16_stays_near_fp32(name: str) -> None:
    backbone, images = built(name), images_for(name)
    with torch.no_grad():
        exact = backbone(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = backbone(images).float()
    assert (exact - rounded).abs().max() <= 0.05 * exact.abs().max()


def test_no_layer_overwrites_its_input(name: str) -> None:
    assert not any(getattr(module, "inplace", False) for module in built(name).modules())


def test_weights_are_a_function_of_the_seed(name: str) -> None:
    one, two = built(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_smallest_image_works_and_smaller_ones_are_named(name: str) -> None:
    backbone = built(name)
    if backbone.min_size_px > 1:
        with pytest.raises(SettingsError, match=f"expected {backbone.min_size_px} pixels or more"):
            backbone(torch.rand(1, 1, backbone.min_size_px - 1, 200))
    backbone(torch.rand(1, 1, *[backbone.min_size_px] * dims_of(name)))


def test_volumes_work_or_are_refused(name: str) -> None:
    if name in VOLUMES:
        backbone = build_backbone(name, in_channels=1, dims=3)
        assert backbone.eval()(torch.rand(1, 1, 32, 32, 32)).shape == (1, backbone.feature_dim)
        assert any(isinstance(module, nn.Conv3d) for module in backbone.modules()) == (name not in VOLUMES_ONLY)
    else:
        with pytest.raises(SettingsError, match="dims = 3"):
            build_backbone(name, dims=3)
