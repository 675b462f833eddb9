"""How a network is trained: every choice of the loop as one typed option."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from resight.models.device import Device
from resight.settings import Options


class LossOptions(Options):
    """Which loss, by its registered name, and its options."""

    name: str = Field(
        default="auto", description="registered loss, or auto: cross-entropy for multiclass, otherwise binary"
    )
    options: dict[str, float | bool | str] = Field(default_factory=dict)


class ObjectiveOptions(Options):
    """What a step of the optimiser makes smaller, by its registered name, and its options."""

    name: str = Field(default="supervised", description="registered objective")
    options: dict[str, float | bool | str] = Field(default_factory=dict)


class TrainingOptions(Options):
    """Optimiser, schedule, precision and bookkeeping of a training run."""

    epochs: int = Field(default=20, gt=0, description="passes over the training images")
    batch_size: int = Field(default=32, gt=0, description="images per optimiser step and process")
    accumulate: int = Field(default=1, gt=0, description="split each batch into this many micro-batches to save memory")
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.05, ge=0, description="on weight matrices only; not on norms and biases")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD (Nesterov)")
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = Field(default=1.0, ge=0, description="linear warm-up before the schedule")
    clip_norm: float = Field(default=1.0, ge=0, description="largest gradient norm; 0 switches clipping off")
    ema_decay: float = Field(
        default=0.99, ge=0, lt=1, description="moving average of the weights per step; 0 switches it off"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="share of each target spread evenly")
    mixup: float = Field(default=0.0, ge=0, description="Beta parameter of mixup (Zhang 2018); 0 switches it off")
    loss: LossOptions = Field(default_factory=LossOptions)
    objective: ObjectiveOptions = Field(default_factory=ObjectiveOptions)
    group: str = Field(
        default="", description="attribute whose groups objective and sampler treat apart; `sex+age` for several"
    )
    imbalance: Literal["none", "positive_weight", "balanced_sampler", "group_sampler"] = Field(
        default="none",
        description="weights and resampling shift the scores; calibration afterwards takes the shift out",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="auto measures both on this machine")
    deterministic: bool = Field(default=False, description="the same bits again on the same machine, somewhat slower")
    device: Device = "auto"
    workers: int = Field(default=0, ge=0, description="processes that read and augment; 0 does it in the main process")
    threads: int = Field(default=0, ge=0, description="CPU threads of torch; 0 measures whether one or all are faster")
    patience: int = Field(
        default=0, ge=0, description="stop after so many epochs without a better validation; 0 never stops"
    )
    checkpoint_every_s: float = Field(default=60.0, gt=0, description="seconds between checkpoints within an epoch")
    seed: int = Field(default=0, ge=0, description="of weights, order, augmentation and dropout")

    @field_validator("epochs")
    @classmethod
    def _bounded(cls, epochs: int) -> int:
        if epochs > 100_000:
            raise ValueError("at most 100000 epochs")
        return epochs
