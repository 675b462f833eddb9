"""Backbone and head as one module that takes images as they are stored: 0 to 255, normalised inside."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from resight.backbones import Backbone
from resight.backbones.base import StageMap
from resight.blocks import watching_gates
from resight.errors import SettingsError, nearest
from resight.models.exits import Exit, Shortened
from resight.multimodal import ClinicalInput, seen

Images = Shaped[Tensor, "B C *space"]
Table = Float[Tensor, "B T"]

_AUXILIARY_WEIGHT: Final = 0.4
"""Of the side branch's loss, as in the reference implementation of Inception-v3."""


@dataclass(frozen=True)
class Answers:
    """What a network says of a batch while it is trained.

    Attributes:
        logits: `(B, L)`.
        auxiliary: logits of side branches that are trained along, each with the weight of its loss.
        penalty: scalar that the network itself adds to the loss, for example for work that it did not skip.
        features: the pooled map of the last stage, before any table.
    """

    logits: Float[Tensor, "B L"]
    auxiliary: tuple[tuple[Float[Tensor, "B L"], float], ...] = ()
    penalty: Float[Tensor, ""] | None = None
    features: Float[Tensor, "B F"] | None = None


class Classifier(nn.Module):
    """Images on the scale 0 to 255 in, logits out.

    An image, or one of several modalities, that is black everywhere counts as missing in a network that reads more than
    one input; a table that is not given counts as one of which nothing is known.

    Args:
        backbone: images to features.
        head: features to logits.
        mean: per channel, in [0, 1]; kept as a buffer, so that it travels with the weights.
        std: per channel, in [0, 1].
        exits: `Exit` by name of the stage it comes after, in order of work.
        exit_weight: of each exit's loss.
        exit_matching: of the squared distance of each exit's logits from those of the last classifier.
        clinical: where columns of a table come in; None for a network of images alone.
        stem: stands before the backbone.
        modalities: images of one patient that the channels hold side by side.
        modality_dropout: chance that one of them is hidden in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        exits: nn.ModuleDict | None = None,
        exit_weight: float = 1.0,
        *,
        exit_matching: float = 0.0,
        clinical: ClinicalInput | None = None,
        stem: nn.Module | None = None,
        modalities: int = 1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.exits = nn.ModuleDict() if exits is None else exits
        self.exit_weight, self.exit_matching = exit_weight, exit_matching
        self.clinical = clinical
        self.stem = nn.Identity() if stem is None else stem
        self.modalities, self.modality_dropout = modalities, modality_dropout
        self.assumed: Table | None = None
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    @property
    def pools_by_mean(self) -> bool:
        """Whether features are the mean of the last stage's map, with nothing between."""
        return self.backbone.pools_by_mean and not (self.clinical and self.clinical.fusion.acts_on_map)

    def beside(self, table: Table) -> Classifier:
        """The same network, parameters shared, for images of one patient: explainers ask about images alone.

        Args:
            table: the patient's row `(1, T)`.
        """
        fixed = copy.copy(self)
        fixed.assumed = table
        return fixed

    def normalise(self, images: Images) -> Float[Tensor, "B C *space"]:
        """Images 0 to 255, of any type, to what the backbone takes; `float32` before autocast."""
        shape = (1, -1, *[1] * (images.ndim - 2))
        scale, shift = 1.0 / (255.0 * self.std), self.mean / self.std
        normal = images.to(scale.dtype) * scale.view(shape) - shift.view(shape)
        if self.modalities == 1:
            return normal
        there = self._present(images).repeat_interleave(images.shape[1] // self.modalities, dim=1)
        return normal * there.view(*there.shape, *[1] * (images.ndim - 2))

    def stages(self, images: Images) -> tuple[StageMap, ...]:
        """Feature maps of all stages of the backbone, finest first."""
        return self._with_missing(self.backbone.stages(self.stem(self.normalise(images))), images)

    def features(self, images: Images) -> Float[Tensor, "B F"]:
        """The pooled map of the last stage, before any table."""
        return self.backbone.pool(self.stages(images)[-1])

    def forward(self, images: Images, table: Table | None = None) -> Float[Tensor, "B L"]:
        """Logits, one per label.

        Args:
            images: `(B, C, *space)`, `uint8` or floats, 0 to 255.
            table: encoded clinical columns `(B, T)`; nothing is known of the patients when not given.
        """
        return self.conclude(self.stages(images)[-1], table)

    def conclude(self, last: StageMap, table: Table | None = None) -> Float[Tensor, "B L"]:
        """From the map of the last stage to the logits; `table` as for `forward`."""
        if self.clinical is not None:
            last = self.clinical.fusion.modulate(last, self._rows(self.clinical, table, len(last)))
        return self.answer(self.backbone.pool(last), table)

    def answer(self, features: Float[Tensor, "B F"], table: Table | None = None) -> Float[Tensor, "B L"]:
        """From pooled features to the logits; `table` as for `forward`."""
        if self.clinical is None:
            return self.head(features)
        rows, fusion = self._rows(self.clinical, table, len(features)), self.clinical.fusion
        return fusion.add(self.head(fusion.join(features, rows)), rows)

    def answers(self, images: Images, table: Table | None = None) -> Answers:
        """Logits, and whatever else of the network is trained along: for the training loss."""
        images, table = self._hidden(images, table)
        taken = self.stem(self.normalise(images))
        with watching_gates() as gates:
            stages = self._with_missing(self.backbone.stages(taken), images)
        side = self.backbone.auxiliary(stages)
        auxiliary = () if side is None else ((side, _AUXILIARY_WEIGHT),)
        exits = tuple((found(stages[stage]), self.exit_weight) for stage, found in self.exits_by_stage().items())
        logits, penalty = self.conclude(stages[-1], table), self.backbone.penalty(gates, taken)
        if self.exit_matching and exits:
            taught = torch.stack([found for found, _ in exits]).float() - logits.detach().float()
            matching = self.exit_matching * taught.square().mean(dim=(1, 2)).sum()
            penalty = matching if penalty is None else penalty + matching
        return Answers(logits, (*auxiliary, *exits), penalty, self.backbone.pool(stages[-1]))

    def exits_by_stage(self) -> dict[int, Exit]:
        """Exits by the index of the stage that each comes after, in order of work."""
        return {
            int(name.removeprefix("stage")) - 1: part for name, part in self.exits.items() if isinstance(part, Exit)
        }

    def until(self, name: str) -> Classifier:
        """The classifier that an early answer is the answer of, with the same weights: for explaining it.

        Args:
            name: of the exit, for example `stage2`.

        Raises:
            SettingsError: there is no such exit.
        """
        if name not in self.exits:
            raise SettingsError(f"no exit {name!r}", where="classifier", fix=nearest(name, self.exits))
        part = self.exits[name]
        assert isinstance(part, Exit)
        shortened = Shortened(self.backbone, int(name.removeprefix("stage")), part)
        return (
            Classifier(shortened, part.fc, self.mean.tolist(), self.std.tolist())
            .to(self.mean.device)
            .train(self.training)
        )

    def _with_missing(self, maps: tuple[StageMap, ...], images: Images) -> tuple[StageMap, ...]:
        """The last map is 0 where there is a table to answer and the image is missing."""
        if self.clinical is None:
            return maps
        return (*maps[:-1], maps[-1] * seen(images).view(-1, *[1] * (maps[-1].ndim - 1)))

    def _rows(self, clinical: ClinicalInput, table: Table | None, count: int) -> Table:
        return clinical.rows(self.assumed if table is None else table, count)

    def _present(self, images: Images) -> Bool[Tensor, "B M"]:
        return (images.unflatten(1, (self.modalities, -1)).flatten(2) != 0).any(dim=2)

    def _hidden(self, images: Images, table: Table | None) -> tuple[Images, Table | None]:
        """A training batch in which some inputs of some rows are missing, so that the network learns to do without."""
        if self.training and self.modalities > 1 and self.modality_dropout:
            there = self._present(images)
            kept = there & (torch.rand(there.shape, device=images.device) >= self.modality_dropout)
            kept = torch.where(kept.any(dim=1, keepdim=True), kept, there)
            parts = images.unflatten(1, (self.modalities, -1))
            images = (parts * kept.view(*kept.shape, *[1] * (parts.ndim - 2))).flatten(1, 2)
        if self.training and self.clinical is not None:
            return self.clinical.hidden(images, table)
        return images, table
