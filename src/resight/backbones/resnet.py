"""Residual networks (He et al. 2016, tables 1 and 6), 2D and 3D, from 10 to 1202 layers.

Parameter names and shapes are torchvision's, so that its weights load strictly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal

import torch
from jaxtyping import Float
from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from resight.backbones.base import BACKBONES, Backbone, StageMap
from resight.backbones.work import Work, measure_work
from resight.blocks import (
    ATTENTION,
    MAX_POOL,
    ACSConv,
    BasicUnit,
    BottleneckUnit,
    Norm,
    PartPooling,
    Pooling,
    ResidualUnit,
    UnitStyle,
    build_norm,
    run_checkpointed,
)
from resight.errors import SettingsError
from resight.settings import Options

DEPTHS: Final[dict[int, tuple[type[ResidualUnit], tuple[int, ...]]]] = {
    10: (BasicUnit, (1, 1, 1, 1)),
    18: (BasicUnit, (2, 2, 2, 2)),
    34: (BasicUnit, (3, 4, 6, 3)),
    50: (BottleneckUnit, (3, 4, 6, 3)),
    101: (BottleneckUnit, (3, 4, 23, 3)),
    152: (BottleneckUnit, (3, 8, 36, 3)),
    200: (BottleneckUnit, (3, 24, 36, 3)),
    **{6 * n + 2: (BasicUnit, (n, n, n)) for n in (3, 5, 7, 9, 18, 200)},
    **{9 * n + 2: (BottleneckUnit, (n, n, n)) for n in (18, 111)},
}
"""Depth to unit and number of units a stage; three stages are the networks of section 4.2, made for 32x32 pixels."""


class ResNetOptions(Options):
    """Residual network."""

    depth: int = Field(default=18, description="layers with weights: " + ", ".join(map(str, sorted(DEPTHS))))
    stem: Literal["imagenet", "deep", "tiered", "cifar", "strided"] | None = Field(
        default=None,
        description="7x7 stride 2 and max-pooling, three 3x3 for the 7x7 (deep; tiered: fewer channels first), or one "
        "3x3 without pooling (cifar; strided: with stride 2); by default cifar for networks of three stages, imagenet "
        "for others",
    )
    stem_depth_stride: Literal[1, 2] = Field(
        default=2, description="step of the stem along the depth of a volume: 1 where slices are thick"
    )
    filters: Literal["full", "acs"] = Field(
        default="full",
        description="filters of volumes: 3D, or 2D ones over axial, coronal and sagittal planes (acs), which take the "
        "weights of a network for images as they are",
    )
    width: int | None = Field(
        default=None, gt=0, description="channels of the first stage; by default 64, or 16 with 3 stages"
    )
    stride_in: Literal["3x3", "1x1"] = Field(
        default="3x3", description="convolution of a bottleneck that carries the stride"
    )
    norm: Norm = Field(default="batch", description="batch or group normalisation")
    shortcut: Literal["projection", "average", "pad"] = Field(
        default="projection", description="shortcut where the shape changes: 1x1, mean and 1x1, or zero channels"
    )
    plain: bool = Field(default=False, description="no shortcuts at all, for the study of degradation")
    attention: str | tuple[str, ...] = Field(
        default="none", description="attention layer at the end of every unit: one name, or one for each stage"
    )
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="stochastic depth: rate of the last unit, rising from 0"
    )
    gate_target: float | None = Field(
        default=None, gt=0, le=1, description="gates leave units out image by image, down to this share of the FLOPs"
    )
    gate_weight: float = Field(default=4.0, gt=0, description="of the squared distance to that share in the loss")
    pooling: Pooling = Field(
        default="mean",
        description="from the last map to one vector: mean over all places, or max or attention, where a finding is "
        "small against the image",
    )
    zero_init: bool = Field(default=True, description="start every unit as the identity: last scale 0")
    inplace_relu: bool = Field(default=False, description="saves memory; breaks per-sample gradients and hooks")
    checkpoint_stages: bool = Field(default=False, description="compute activations twice to keep fewer of them")
    num_classes: int = Field(default=0, ge=0, description="own last layer `fc`; 0 for features")

    @field_validator("depth")
    @classmethod
    def _known_depth(cls, depth: int) -> int:
        if depth not in DEPTHS:
            raise ValueError("one of " + ", ".join(map(str, sorted(DEPTHS))))
        return depth

    @field_validator("attention")
    @classmethod
    def _known_attention(cls, attention: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        known = ("none", *ATTENTION.names())
        stages = len(DEPTHS[info.data["depth"]][1]) if "depth" in info.data else len(attention)
        names = (attention,) * stages if isinstance(attention, str) else attention
        if len(names) != stages or any(name not in known for name in names):
            raise ValueError(f"one name, or {stages}, one for each stage, of: {', '.join(known)}")
        return attention

    @model_validator(mode="after")
    def _gates_fit(self) -> ResNetOptions:
        if self.gate_target is not None and (self.plain or self.checkpoint_stages):
            raise ValueError("gate_target without plain (nothing is left of a unit) and without checkpoint_stages")
        return self


@BACKBONES.register("resnet", ResNetOptions)
class ResNet(Backbone):
    """Residual network that gives every stage's map.

    Args:
        options: depth and style.
        in_channels: channels of the images.
        dims: 2 for images, 3 for volumes.
    """

    def __init__(self, options: ResNetOptions, *, in_channels: int, dims: int) -> None:
        unit, counts = DEPTHS[options.depth]
        small = len(counts) == 3
        width = options.width or (16 if small else 64)
        widths = [width * 2**i for i in range(len(counts))]
        stage_dims = tuple(w * unit.expansion for w in widths)
        super().__init__(stage_dims=stage_dims, feature_dim=stage_dims[-1])
        self.options = options
        self.pooling = PartPooling(options.pooling, self.feature_dim)
        self.pools_by_mean = options.pooling == "mean"
        self._work: dict[tuple[int, ...], Work] = {}

        if options.filters == "acs" and dims != 3:
            fix = "Leave filters away for images."
            raise SettingsError("filters = 'acs'", where="backbone 'resnet'", expected="volumes", fix=fix)
        style = UnitStyle(
            dims=dims,
            norm=options.norm,
            shortcut="none" if options.plain else options.shortcut,
            stride_in=options.stride_in,
            inplace=options.inplace_relu,
            acs=options.filters == "acs",
            gated=options.gate_target is not None,
        )
        stem, step = options.stem or ("cifar" if small else "imagenet"), (options.stem_depth_stride, 2, 2)[-dims:]
        self.relu = nn.ReLU(inplace=options.inplace_relu)
        if stem in ("deep", "tiered"):
            self.conv1 = self._deep_stem(in_channels, width, style, step, tiered=stem == "tiered")
        else:
            kernel, stride = 7 if stem == "imagenet" else 3, (1,) * dims if stem == "cifar" else step
            self.conv1 = style.conv(in_channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = build_norm(options.norm, width, dims)
        pooled = stem not in ("cifar", "strided")
        self.maxpool = MAX_POOL[dims](3, stride=step, padding=1) if pooled else nn.Identity()

        attention = options.attention
        units, channels = 0, width
        for index, (count, inner) in enumerate(zip(counts, widths, strict=True)):
            own = replace(style, attention=attention if isinstance(attention, str) else attention[index])
            stage = nn.Sequential()
            for position in range(count):
                rate = options.drop_path * units / max(1, sum(counts) - 1)
                halved = 2 if index > 0 and position == 0 else 1
                stage.append(unit(channels, inner, halved, rate, own))
                units, channels = units + 1, inner * unit.expansion
            self.add_module(f"layer{index + 1}", stage)
        self.fc = nn.Linear(self.feature_dim, options.num_classes) if options.num_classes else nn.Identity()
        self._initialise()

    @property
    def layers(self) -> tuple[nn.Sequential, ...]:
        """The stages as modules, finest first."""
        return tuple(getattr(self, f"layer{i + 1}") for i in range(len(self.stage_dims)))

    def stem(self, images: Float[Tensor, "B C *space"]) -> StageMap:
        """The map that the first stage takes."""
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))

    def steps(self) -> tuple[Callable[[StageMap], StageMap], ...]:
        """The stages, the first with the stem before it."""
        first, *others = self.layers
        return (lambda images: first(self.stem(images)), *others)

    def penalty(
        self, gates: Sequence[Float[Tensor, " B"]], images: Float[Tensor, "B C *space"]
    ) -> Float[Tensor, ""] | None:
        """Squared distance of the expected share of the FLOPs from the target, with its weight."""
        if self.options.gate_target is None:
            return None
        size = tuple(images.shape[1:])
        work = self._work[size] = self._work.get(size) or measure_work(self, size)
        whole = sum(work.stages)
        shares = torch.tensor([unit.flops / whole for unit in work.units], device=images.device)
        shut = 1 - torch.stack([gate.mean() for gate in gates])
        return self.options.gate_weight * (1 - (shares * shut).sum() - self.options.gate_target) ** 2

    def _stages(self, images: Float[Tensor, "B C *space"]) -> tuple[StageMap, ...]:
        current, maps = self.stem(images), []
        for layer in self.layers:
            if self.options.checkpoint_stages and self.training and current.requires_grad:
                current = run_checkpointed(layer, current)
            else:
                current = layer(current)
            maps.append(current)
        return tuple(maps)

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """The feature vector of the last stage's map."""
        return super().pool(last) if self.pools_by_mean else self.pooling(last.flatten(2).transpose(1, 2))

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores of `fc` where there is one, otherwise the features."""
        return self.fc(features)

    def _deep_stem(
        self, in_channels: int, width: int, style: UnitStyle, step: tuple[int, ...], *, tiered: bool
    ) -> nn.Sequential:
        """Three 3x3 convolutions for the 7x7 (He et al. 2019, figure 2, network C), named as in timm."""
        second = max(1, width // 2)
        first = max(1, 3 * (second // 4)) if tiered else second
        layers, channels = nn.Sequential(), in_channels
        for after in (first, second):
            stride = 1 if len(layers) else step
            layers.append(style.conv(channels, after, 3, stride=stride, padding=1, bias=False))
            layers.append(build_norm(style.norm, after, style.dims))
            layers.append(nn.ReLU(inplace=style.inplace))
            channels = after
        return layers.append(style.conv(channels, width, 3, padding=1, bias=False))

    def _initialise(self) -> None:
        """Normal weights scaled by the fan-out (He et al. 2015); the last scale of a unit 0 (Goyal et al. 2017)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d | ACSConv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.options.zero_init and not self.options.plain:
            for module in self.modules():
                if isinstance(module, ResidualUnit):
                    nn.init.zeros_(module.last_norm.weight)
