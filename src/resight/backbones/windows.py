"""Images and volumes in windows: learned from some of them at random, judged from all of them, overlapping and blended.

For volumes whose findings are small against the whole and whose maps do not fit into memory at once; an image's label
is known and that of a window is not, so the windows are pooled before the head (multiple instance learning).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.backbones.base import BACKBONES, Backbone, StageMap
from resight.backbones.wrapped import inner_network
from resight.blocks import PartPooling, Pooling
from resight.errors import SettingsError
from resight.settings import Options

Side = Annotated[int, Field(gt=0)]


class WindowsOptions(Options):
    """Images in windows, each through the same network, pooled before the head."""

    network: dict[str, Any] = Field(default={"name": "resnet"}, description="`name` of a backbone and its options")
    side_px: Side | tuple[Side, ...] = Field(
        default=64, description="side of a window, or one for each axis; longer than the image means all of it"
    )
    overlap: float = Field(default=0.5, ge=0, lt=1, description="least share of a window that the next one repeats")
    pooling: Pooling = Field(default="max", description="how the windows' features become those of the image")
    training_windows: int = Field(
        default=0, ge=0, description="windows at random places that a training step sees of an image; 0: all, in order"
    )
    at_once: int = Field(default=8, gt=0, description="windows that go through the network together in evaluation")
    num_classes: int = Field(default=0, ge=0, description="own last layer `fc`; 0 for features")


@BACKBONES.register("windows", WindowsOptions)
class Windows(Backbone):
    """Windows through one network; a stage's maps are put together where the windows lie, overlaps averaged.

    Args:
        options: network, windows and pooling.
        in_channels: channels of the images.
        dims: 2 for images, 3 for volumes.
    """

    pools_by_mean = False
    stages_are_a_chain = False

    def __init__(self, options: WindowsOptions, *, in_channels: int, dims: int) -> None:
        network = inner_network(options.network, where="windows", in_channels=in_channels, dims=dims)
        super().__init__(stage_dims=network.stage_dims, feature_dim=network.feature_dim)
        given = options.side_px
        self.side_px = given if isinstance(given, tuple) else (given,) * dims
        if len(self.side_px) != dims:
            raise SettingsError(f"side_px = {list(self.side_px)}", where="backbone 'windows'", expected=f"{dims} sides")
        self.min_size_px = network.min_size_px
        self.options = options
        self.network = network
        self.pooling = PartPooling(options.pooling, network.feature_dim)
        self.fc = nn.Linear(self.feature_dim, options.num_classes) if options.num_classes else nn.Identity()
        self._window_cells = _last_cells(network, (in_channels, *self.side_px))

    @property
    def published(self) -> nn.Module:
        """The network that sees the windows."""
        return self.network

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """Features of every window, then of the image."""
        if self._at_random:
            windows = last.unflatten(2, (self.options.training_windows, -1)).transpose(1, 2)
        else:
            cells = tuple(map(min, self._window_cells, last.shape[2:]))
            places = _places(last.shape[2:], cells, self.options.overlap)
            windows = torch.stack([last[(..., *_box(place, cells))] for place in places], dim=1)
        features = self.network.pool(windows.flatten(0, 1))
        return self.pooling(features.unflatten(0, (len(last), -1)))

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores of `fc` where there is one, otherwise the features."""
        return self.fc(features)

    @property
    def _at_random(self) -> bool:
        return self.training and self.options.training_windows > 0

    def _stages(self, images: Float[Tensor, "B C *space"]) -> tuple[StageMap, ...]:
        sides = tuple(map(min, self.side_px, images.shape[2:]))
        if self._at_random:
            return self._random_stages(images, sides)
        steps = self._steps(images.shape[2:], sides)
        whole = [length // step for length, step in zip(images.shape[2:], steps, strict=True)]
        window = [side // step for side, step in zip(sides, steps, strict=True)]
        places = _places(whole, window, self.options.overlap)
        if len(places) == 1:
            return self.network.stages(images)
        sums: list[Tensor] = []
        counts: list[Tensor] = []
        together = len(places) if self.training else max(1, self.options.at_once // len(images))
        for chunk in (places[i : i + together] for i in range(0, len(places), together)):
            starts = [[at * step for at, step in zip(place, steps, strict=True)] for place in chunk]
            windows = torch.cat([images[(..., *_box(start, sides))] for start in starts])
            maps = self.network.stages(windows)
            if not sums:
                shapes = [_whole_shape(one.shape[2:], sides, images.shape[2:]) for one in maps]
                sums = [one.new_zeros(len(images), one.shape[1], *s) for one, s in zip(maps, shapes, strict=True)]
                counts = [one.new_zeros(s) for one, s in zip(maps, shapes, strict=True)]
            for stage, one in enumerate(maps):
                for start, part in zip(starts, one.split(len(images)), strict=True):
                    cells = part.shape[2:]
                    corner = [at * n // side for at, n, side in zip(start, cells, sides, strict=True)]
                    sums[stage][(..., *_box(corner, cells))] += part
                    counts[stage][_box(corner, cells)] += 1
        return tuple(total / count for total, count in zip(sums, counts, strict=True))

    def _random_stages(self, images: Float[Tensor, "B C *space"], sides: Sequence[int]) -> tuple[StageMap, ...]:
        """Maps of random windows, those of one image one behind the other along the first axis."""
        count = self.options.training_windows
        ranges = [length - side + 1 for length, side in zip(images.shape[2:], sides, strict=True)]
        starts = torch.stack([torch.randint(n, (len(images), count)) for n in ranges], dim=-1).tolist()
        windows = [
            image[(slice(None), *_box(start, sides))]
            for image, own in zip(images, starts, strict=True)
            for start in own
        ]
        maps = self.network.stages(torch.stack(windows))
        return tuple(one.unflatten(0, (len(images), count)).transpose(1, 2).flatten(2, 3) for one in maps)

    def _steps(self, space: Sequence[int], sides: Sequence[int]) -> list[int]:
        """Pixels between neighbouring cells of the last map; the whole axis where one window covers it.

        Raises:
            SettingsError: windows or images do not consist of whole cells.
        """
        steps = []
        for length, side, cells in zip(space, sides, self._window_cells, strict=True):
            step = side if length == side else max(1, side // cells)
            if length % step or side % step or (length != side and step * cells != side):
                raise SettingsError(
                    f"windows of {side} in images of {length} pixels",
                    where="backbone 'windows'",
                    expected=f"multiples of {step}, the stride of the network's last map",
                )
            steps.append(step)
        return steps


def _last_cells(network: Backbone, shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of the last map of one window, found without computing it."""
    shadow = copy.deepcopy(network).to("meta").eval()
    return tuple(shadow.stages(torch.empty(1, *shape, device="meta"))[-1].shape[2:])


def _places(whole: Sequence[int], window: Sequence[int], overlap: float) -> list[tuple[int, ...]]:
    """First cell of every window along each axis; the last window ends with the image."""
    axes = []
    for length, side in zip(whole, window, strict=True):
        step = max(1, int(side * (1 - overlap)))
        axes.append(sorted({*range(0, length - side, step), length - side}))
    return list(product(*axes))


def _whole_shape(cells: Sequence[int], sides: Sequence[int], space: Sequence[int]) -> list[int]:
    """Cells of a stage over the whole image, from those over one window."""
    return [n * length // side for n, side, length in zip(cells, sides, space, strict=True)]


def _box(start: Sequence[int], sides: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(at, at + side) for at, side in zip(start, sides, strict=True))
