"""The residual network against a pass written out with plain functions, and what its options promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resight.backbones import build_backbone
from resight.backbones.resnet import DEPTHS, ResNet
from resight.blocks import BasicUnit, DropPath, ResidualUnit
from resight.errors import SettingsError

State = dict[str, Tensor]


def reference(
    state: State, images: Tensor, counts: tuple[int, ...], *, stem: str, stride_in: str = "3x3", shortcut: str = ""
) -> list[Tensor]:
    """Every stage's map, from torchvision's parameter names alone."""
    conv, pool = (
        (functional.conv2d, functional.max_pool2d) if images.ndim == 4 else (functional.conv3d, functional.max_pool3d)
    )

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.batch_norm(
            x,
            state[f"{name}.running_mean"],
            state[f"{name}.running_var"],
            state[f"{name}.weight"],
            state[f"{name}.bias"],
        )

    def step(name: str, number: int, x: Tensor, stride: int) -> Tensor:
        weight = state[f"{name}.conv{number}.weight"]
        return norm(f"{name}.bn{number}", conv(x, weight, stride=stride, padding=weight.shape[-1] // 2))

    x = conv(
        images, state["conv1.weight"], stride=2 if stem == "imagenet" else 1, padding=3 if stem == "imagenet" else 1
    )
    x = norm("bn1", x).relu()
    x = pool(x, 3, 2, 1) if stem == "imagenet" else x
    maps = []
    for layer, count in enumerate(counts, start=1):
        for block in range(count):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            if f"{name}.conv3.weight" in state:
                first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
                y = step(name, 3, step(name, 2, step(name, 1, x, first).relu(), second).relu(), 1)
            else:
                y = step(name, 2, step(name, 1, x, stride).relu(), 1)
            if f"{name}.downsample.0.weight" in state:
                x = norm(f"{name}.downsample.1", conv(x, state[f"{name}.downsample.0.weight"], stride=stride))
            elif shortcut == "pad" and x.shape != y.shape:
                small = x[(..., *[slice(None, None, stride)] * (images.ndim - 2))]
                x = torch.cat([small, torch.zeros_like(y[:, small.shape[1] :])], dim=1)
            x = (y if shortcut == "none" else x + y).relu()
        maps.append(x)
    return maps


@pytest.mark.parametrize(
    ("options", "stem", "shape"),
    [
        ({"depth": 18}, "imagenet", (2, 3, 64, 64)),
        ({"depth": 18, "width": 8}, "imagenet", (2, 1, 32, 32, 32)),
        ({"depth": 50, "width": 16, "stride_in": "1x1"}, "imagenet", (2, 2, 64, 48)),
        ({"depth": 50, "width": 8, "stem": "cifar"}, "cifar", (1, 3, 32, 32)),
        ({"depth": 20}, "cifar", (2, 3, 32, 32)),
        ({"depth": 20, "shortcut": "pad"}, "cifar", (2, 3, 32, 32)),
        ({"depth": 18, "width": 8, "shortcut": "pad"}, "imagenet", (2, 1, 32, 32, 32)),
        ({"depth": 32, "plain": True}, "cifar", (2, 3, 32, 32)),
        ({"depth": 164}, "cifar", (1, 3, 16, 16)),
    ],
)
def test_stages_are_those_of_the_written_out_network(
    options: dict[str, Any], stem: str, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(7)
    network = build_backbone("resnet", dims=len(shape) - 2, in_channels=shape[1], **options)
    state = network.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
                tensor.uniform_(0.3, 0.8)
        images = torch.randn(shape)
        ours = network.eval().stages(images)
        shortcut = "none" if options.get("plain") else options.get("shortcut", "")
        counts = DEPTHS[options["depth"]][1]
        theirs = reference(
            state, images, counts, stem=stem, stride_in=options.get("stride_in", "3x3"), shortcut=shortcut
        )
        for our, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network(images), theirs[-1].flatten(2).mean(2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_small_networks_have_the_sizes_of_table_6(depth: int, millions: float) -> None:
    network = build_backbone("resnet", depth=depth, shortcut="pad", num_classes=10)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1 if millions > 1 else 2) == millions


@pytest.mark.parametrize("depth", [depth for depth in DEPTHS if depth not in {1001, 1202}])
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    unit, counts = DEPTHS[depth]
    assert depth == sum(counts) * (2 if unit is BasicUnit else 3) + 2


def test_every_unit_starts_as_the_identity_and_a_plain_network_does_not() -> None:
    residual = build_backbone("resnet", depth=20)
    plain = build_backbone("resnet", depth=20, plain=True)
    assert all(not m.last_norm.weight.any() for m in residual.modules() if isinstance(m, ResidualUnit))
    assert all(m.last_norm.weight.all() for m in plain.modules() if isinstance(m, ResidualUnit))
    assert not any("downsample" in name for name in plain.state_dict())


def test_initial_weights_follow_the_seed() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_backbone("resnet", depth=10, width=8).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_drop_path_rises_with_depth_and_only_acts_in_training() -> None:
    network = build_backbone("resnet", depth=20, drop_path=0.5)
    rates = [m.rate for m in network.modules() if isinstance(m, DropPath)]
    assert rates[0] == 0
    assert rates[-1] == 0.5
    assert rates == sorted(rates)
    images = torch.rand(2, 3, 32, 32)
    network.eval()
    assert torch.equal(network(images), network(images))


def test_group_norm_leaves_nothing_between_samples() -> None:
    network = build_backbone("resnet", depth=10, width=8, norm="group").train()
    assert not any("running" in name for name in network.state_dict())
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_checkpointing_changes_neither_gradients_nor_statistics(norm: str) -> None:
    results = []
    for checkpoint_stages in (False, True):
        torch.manual_seed(0)
        network = build_backbone(
            "resnet", depth=32, norm=norm, zero_init=False, drop_path=0.3, checkpoint_stages=checkpoint_stages
        )
        torch.manual_seed(1)
        network(torch.rand(4, 3, 16, 16)).square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        results.append((gradient, network.state_dict()))
    (plain, state), (checkpointed, state_after) = results
    assert plain.abs().max() > 0
    torch.testing.assert_close(plain, checkpointed, rtol=1e-5, atol=1e-8)
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, state_after[name], msg=name)


@pytest.mark.parametrize("options", [{"attention": "se"}, {"attention": "eca"}, {"attention": "cbam"}])
@pytest.mark.parametrize("dims", [2, 3])
def test_attention_has_parameters_that_learn(options: dict[str, Any], dims: int) -> None:
    network = build_backbone("resnet", depth=10, width=8, dims=dims, zero_init=False, **options)
    network(torch.rand(2, 3, *[16] * dims)).square().mean().backward()
    learning = [p for name, p in network.named_parameters() if "attention" in name]
    assert sum(float(p.grad.abs().sum()) for p in learning if p.grad is not None) > 0


def test_relu_does_not_overwrite_unless_asked_to() -> None:
    flags = {m.inplace for m in build_backbone("resnet", depth=10).modules() if isinstance(m, torch.nn.ReLU)}
    asked = {
        m.inplace
        for m in build_backbone("resnet", depth=10, inplace_relu=True).modules()
        if isinstance(m, torch.nn.ReLU)
    }
    assert (flags, asked) == ({False}, {True})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet", {"depth": 51}, "depth = 51"),
        ("resnet", {"dept": 50}, "Did you mean 'depth'"),
        ("resnett", {}, "Did you mean 'resnet'"),
        ("resnet", {"dims": 4}, "2 or 3"),
        ("resnet", {"attention": "sse"}, "one name, or 4, one for each stage, of: none, cbam, eca, se"),
        ("vgg", {"dims": 3}, "Use 'resnet' for volumes"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        build_backbone(name, **options)


def test_stages_halve_in_space() -> None:
    network = build_backbone("resnet", depth=18, width=8)
    maps = network.stages(torch.rand(1, 3, 64, 64))
    assert isinstance(network, ResNet)
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]


def test_a_thousand_layers_learn_in_little_memory() -> None:
    torch.manual_seed(0)
    network = build_backbone("resnet", depth=1001, checkpoint_stages=True, num_classes=10)
    network(torch.rand(2, 3, 32, 32)).logsumexp(1).mean().backward()
    assert sum(name.endswith(("conv1.weight", "conv2.weight", "conv3.weight")) for name in network.state_dict()) == 1000
    assert isinstance(network, ResNet)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert network.conv1.weight.grad is not None
    assert network.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("depth", [18, 50, 20])
def test_attention_is_chosen_stage_by_stage(depth: int, dims: int) -> None:
    stages = ["se", "none", "cbam", "eca"] if depth != 20 else ["se", "none", "cbam"]
    with torch.device("meta"):
        network = build_backbone("resnet", depth=depth, width=16, dims=dims, attention=stages)
    assert isinstance(network, ResNet)
    kinds = {"SqueezeExcitation": "se", "EfficientChannelAttention": "eca", "ConvolutionalBlockAttention": "cbam"}
    for layer, expected in zip(network.layers, stages, strict=True):
        assert {kinds.get(type(unit.attention).__name__, "none") for unit in layer} == {expected}


@pytest.mark.parametrize("attention", [["se"] * 3, [], ["se", "se", "cbamm", "se"]])
def test_a_list_of_attention_that_does_not_fit_is_named(attention: list[str]) -> None:
    with pytest.raises(
        SettingsError, match=r"attention = .*expected one name, or 4, one for each stage, of: none, cbam"
    ):
        build_backbone("resnet", depth=18, attention=attention)


def test_a_deep_stem_and_averaged_shortcuts_keep_the_grid() -> None:
    network = build_backbone("resnet", depth=10, width=8, stem="deep", shortcut="average")
    maps = network.stages(torch.rand(1, 3, 65, 65))
    assert [m.shape[2] for m in maps] == [17, 9, 5, 3]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_largest_place_is_not_diluted_by_the_size_of_the_image(dims: int) -> None:
    def drawn(pooling: str) -> ResNet:
        torch.manual_seed(0)
        made = build_backbone("resnet", dims=dims, depth=10, width=4, in_channels=1, pooling=pooling, stem="cifar")
        return made.eval()

    largest, mean = drawn("max"), drawn("mean")
    assert mean.pools_by_mean
    assert not largest.pools_by_mean
    image = torch.zeros(1, 1, *[32] * dims)
    image[(..., *[slice(14, 18)] * dims)] = 1.0
    with torch.no_grad():
        last = largest.stages(image)[-1]
        torch.testing.assert_close(largest.pool(last), last.flatten(2).amax(dim=2))
        torch.testing.assert_close(mean.pool(last), last.flatten(2).mean(dim=2))
        assert largest.state_dict().keys() == mean.state_dict().keys(), "the same weights fit"
    assert "pooling.score.weight" in drawn("attention").state_dict()


@pytest.mark.parametrize(
    ("stem", "step", "first"),
    [("imagenet", 1, 16), ("imagenet", 2, 4), ("strided", 1, 16), ("strided", 2, 8), ("cifar", 2, 16)],
)
def test_the_stem_may_leave_the_depth_of_a_volume_as_it_is(stem: str, step: int, first: int) -> None:
    network = build_backbone("resnet", dims=3, depth=10, width=4, stem=stem, stem_depth_stride=step, in_channels=1)
    with torch.no_grad():
        maps = network.eval().stages(torch.rand(1, 1, 16, 32, 32))
    assert maps[0].shape[2:] == (first, *[{"imagenet": 8, "strided": 16, "cifar": 32}[stem]] * 2)


def test_flat_filters_over_three_planes_are_for_volumes_and_cost_as_many_weights_as_for_images() -> None:
    def size(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert size(build_backbone("resnet", dims=3, filters="acs")) == size(build_backbone("resnet"))
    with pytest.raises(SettingsError, match="filters = 'acs'; expected volumes"):
        build_backbone("resnet", filters="acs")
