"""Options of the skin study, and the same study in small."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from pydantic import Field, field_validator

from resight.errors import nearest
from resight.protocols.isic2017_words import COMPARATORS
from resight.settings import Options
from resight.types import Cohort

_SMOKE_IMAGES: Final = {"train": 90, "validation": 45, "test": 15}


class ISIC2017Options(Options):
    """Melanoma, seborrheic keratosis and nevus on ISIC-2017, with the challenge's metric."""

    images: Literal["all", "present"] = Field(
        default="all", description="insist on all images of the tables, or take those present"
    )
    depths: tuple[int, ...] = Field(
        default=(18, 34, 50),
        min_length=1,
        description="ResNets; those that begin with weights answer together, or all where none does",
    )
    seeds: int = Field(default=1, gt=0, description="networks of each depth")
    size_px: int = Field(default=128, gt=0, description="side of the images of ResNets that begin with weights")
    scratch_px: int = Field(default=128, gt=0, description="side of the images of networks that start from scratch")
    epochs: int = Field(default=30, gt=0, description="of networks that start from scratch")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak, from scratch")
    tuning_epochs: int = Field(default=12, gt=0, description="of ResNets that begin with weights")
    frozen_stages: int = Field(default=2, ge=0, le=3, description="first stages of those that stay as they began")
    tuning_rate: float = Field(default=3e-4, gt=0, description="peak, for ResNets that begin with weights")
    ct: bool = Field(default=True, description="begin with CT weights where the extra `ct152` is installed")
    teacher: bool = Field(default=True, description="use EfficientNet-Lite0 where the extra `lite0` is installed")
    hints: float = Field(default=1.0, ge=0, description="weight of the teacher's features beside the labels; 0: none")
    teacher_px: int = Field(default=224, gt=0, description="side of the images of the linear probe on the teacher")
    probe_views: int = Field(default=4, gt=0, le=8, description="mirrored views linear probes see")
    colours: bool = Field(default=True, description="try colour constancy with a linear probe on the teacher")
    teacher_epochs: int = Field(default=6, ge=0, description="of training the teacher itself on the classes; 0: none")
    teacher_training_px: int = Field(default=160, gt=0, description="side of its images then")
    views: int = Field(default=8, gt=0, le=8, description="views that answers are averaged over")
    probe_penalty: float = Field(default=1e-3, gt=0, description="inverse penalty of linear probes")
    ablation_px: int = Field(default=64, gt=0, description="side of the images of short runs")
    ablation_epochs: int = Field(default=3, ge=0, description="of short runs; 0: none")
    comparators: tuple[str, ...] = Field(default=(), description="short runs of: " + ", ".join(COMPARATORS))
    batch_size: int = Field(default=32, gt=0)
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 measures")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(default=0, ge=0)

    @field_validator("comparators")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in COMPARATORS]:
            raise ValueError(f"known architectures. {nearest(unknown[0], COMPARATORS)}")
        return names


def shortened(options: ISIC2017Options) -> ISIC2017Options:
    """One epoch each, small images, the first ResNet alone."""
    short = {"epochs": 1, "tuning_epochs": 1, "teacher_epochs": min(options.teacher_epochs, 1), "ablation_epochs": 1}
    sizes = {"size_px": 48, "scratch_px": 48, "teacher_px": 64, "teacher_training_px": 64, "ablation_px": 48}
    few = {"views": 2, "probe_views": 2, "seeds": 1, "depths": options.depths[:1], "comparators": ()}
    return options.model_copy(update={**short, **sizes, **few})


def few_images(cohort: Cohort, seed: int) -> Cohort:
    """Some images of every split, at least a few of every class that is known."""
    rng = np.random.default_rng(seed)
    classes = np.nan_to_num(cohort.targets()).argmax(axis=1)
    keep = np.zeros(len(cohort), bool)
    for split, count in _SMOKE_IMAGES.items():
        inside = (cohort.table["split"] == split).to_numpy()
        present = np.unique(classes[inside])
        for known in present:
            rows = np.flatnonzero(inside & (classes == known))
            keep[rng.permutation(rows)[: count // len(present)]] = True
    return cohort.rows(keep)
