"""Options of the brain study."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field

from resight.preprocess import Augmentation
from resight.preprocess.augment import Share
from resight.preprocess.intensity import Standardisation
from resight.protocols.brain_data import ImagesWanted
from resight.protocols.brain_networks import CT_DEPTH, HeadViews, Source
from resight.settings import Options
from resight.training import TrainingOptions
from resight.training.bat_search import BatOptions
from resight.training.hidden_search import SearchMode


class BrainTraining(TrainingOptions):
    """As every training, with other defaults: few images, strong augmentation, one thread."""

    epochs: int = Field(default=30, gt=0)
    mixup: float = Field(default=0.2, ge=0, description="Beta parameter of mixup (Zhang 2018); 0 switches it off")
    threads: int = Field(default=1, ge=0, description="CPU threads of torch; 0 measures whether one or all are faster")


class BrainAugmentation(Augmentation):
    """As every augmentation, with other defaults: heads are mirrored, turned, magnified and shaded."""

    flip: Share = Field(default=0.5, description="chance to mirror left and right")
    rotate_deg: float = Field(default=15.0, ge=0, le=180, description="largest turn either way")
    scale: float = Field(default=0.15, ge=0, lt=1, description="largest magnification either way")
    translate: Share = Field(default=0.06, description="largest shift along each axis, as a share of the size")
    shear_deg: float = Field(default=5.0, ge=0, lt=60, description="largest slant either way")
    gain: float = Field(default=0.25, ge=0, lt=1, description="largest relative change of contrast")
    offset: Share = Field(default=0.05, description="largest change of brightness, in units of full scale")
    gamma: float = Field(default=0.3, ge=0, lt=1, description="largest gamma either way")


PLAIN_AUGMENTATION: Final = Augmentation(flip=0.5)
"""What a plain script changes of an image: it mirrors every other one."""


class BrainBats(BatOptions):
    """As every search, with fewer evaluations: each is a fit of the output layer."""

    population: int = Field(default=10, gt=1, description="bats")
    generations: int = Field(default=9, gt=0, description="generations after the first")


class BrainOptions(Options):
    """Brain MRI: randomised heads and the bat search against softmax, SVM, forest and neighbours."""

    images: ImagesWanted = Field(default="all", description="insist on all images of the table, or take those present")
    size_px: int = Field(default=112, gt=0, description="side of the images")
    intensity: Standardisation | None = Field(default="z-score", description="how grey levels are standardised")
    seed: int = Field(default=0, ge=0, description="of splits, networks, heads and searches")
    hold_outs: int = Field(default=5, ge=0, description="hold-outs; a network is trained in each")
    random_hold_outs: int = Field(
        default=0, ge=0, description="hold-outs that draw every image for itself, look-alikes or not, to compare with"
    )
    head_views: HeadViews = Field(
        default="changed", description="heads learn from a randomly changed view of each learning image, or from it"
    )
    test_share: float = Field(default=0.2, gt=0, lt=1, description="share of images a hold-out tests on")
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="share of learning images that choose a network's epoch"
    )
    folds: int = Field(default=5, ge=2, description="folds of a cross-validation")
    rounds: int = Field(default=10, ge=0, description="cross-validations of all images, features frozen")
    trained_rounds: int = Field(default=0, ge=0, description="those where a network is trained in each fold too")
    fold_px: int = Field(default=64, gt=0, description="side of the images of networks trained in each fold")
    fold_epochs: int = Field(default=8, gt=0, description="epochs of those networks")
    per_class: int = Field(default=100, gt=0, description="normal and abnormal images drawn at the review's size")
    ct: bool = Field(default=True, description="also begin with CT weights where the extra `ct152` is installed")
    tuned_hold_outs: int = Field(
        default=5, ge=0, description="hold-outs in which a ResNet-50 from CT weights is trained"
    )
    tuning_epochs: int = Field(default=8, gt=0, description="of that")
    tuning_rate: float = Field(default=3e-4, gt=0, description="peak learning rate of that")
    plain_hold_outs: int = Field(
        default=0, ge=0, description="hold-outs in which a ResNet-18 is trained as a plain script does, to compare with"
    )
    plain_epochs: int = Field(default=20, gt=0, description="of that")
    draws: int = Field(default=10, ge=0, description="cross-validations at the review's size, features frozen")
    trained_draws: int = Field(default=0, ge=0, description="those where a network is trained in each fold too")
    tuned_draws: int = Field(default=0, ge=0, description="those where a ResNet-50 from CT weights is, too")
    frozen: bool = Field(default=True, description="also features of a ResNet-18 that is never trained")
    weights: Path | None = Field(default=None, description="ResNet-18 weights for frozen features; random if not given")
    start: Path | None = Field(
        default=None,
        description="ResNet-18 weights that networks trained in every split begin with; scratch if not given",
    )
    training: BrainTraining = Field(default_factory=BrainTraining, description="how networks are trained")
    augmentation: BrainAugmentation = Field(
        default_factory=BrainAugmentation, description="random changes of training images"
    )
    n_hidden: int = Field(default=200, gt=0, description="hidden nodes of randomised heads")
    bats: BrainBats = Field(default_factory=BrainBats, description="the search")
    search: tuple[SearchMode, ...] = Field(
        default=("all", "scales"),
        description="what the search moves, where a network is trained or begins with weights",
    )
    search_small: tuple[SearchMode, ...] = Field(
        default=("all", "scales"), description="the same in the cross-validations at the review's size"
    )
    search_all_images: tuple[SearchMode, ...] = Field(
        default=("scales",), description="the same in the cross-validations of all images, which are many and large"
    )
    trees: int = Field(default=200, gt=0, description="of the random forest")

    def tuning(self) -> TrainingOptions:
        """How the ResNet-50 that begins with CT weights is trained."""
        changed = {"epochs": self.tuning_epochs, "learning_rate": self.tuning_rate, "mixup": 0.0}
        return self.training.model_copy(update=changed)

    def in_folds(self) -> TrainingOptions:
        """How the networks of all the folds of cross-validations are trained."""
        return self.training.model_copy(update={"epochs": self.fold_epochs})

    def plain_script(self) -> TrainingOptions:
        """How a plain script trains: Adam at one rate, labels alone, no average of the weights."""
        return TrainingOptions(
            epochs=self.plain_epochs,
            weight_decay=0.0,
            schedule="constant",
            warmup_epochs=0.0,
            clip_norm=0.0,
            ema_decay=0.0,
            precision=self.training.precision,
            device=self.training.device,
            threads=self.training.threads,
            seed=self.training.seed,
        )

    def network(self, source: Source) -> str:
        """What features of a source are of, in words."""
        helped = ", with hints of EfficientNet-Lite0" if self.training.objective.name == "hints" else ""
        began = " from given weights" if self.start else ""
        return {
            "plain": f"ResNet-18 trained in every split as a plain script does ({self.plain_epochs} epochs, "
            f"{self.size_px} px)",
            "trained": f"ResNet-18{began} trained in every split ({self.training.epochs} epochs, {self.size_px} px"
            f"{helped})",
            "folded": f"ResNet-18{began} trained in every fold ({self.fold_epochs} epochs, {self.fold_px} px{helped})",
            "tuned": f"ResNet-{CT_DEPTH} from CT weights trained in every split ({self.tuning_epochs} epochs, "
            f"{self.size_px} px{helped})",
            "frozen": f"frozen ResNet-18 with {'given' if self.weights else 'random'} weights",
            "ct": f"frozen ResNet-{CT_DEPTH} with CT weights",
        }[source]


def shortened(options: BrainOptions) -> BrainOptions:
    """The same study on hardly any data: one epoch, one round, few nodes, few bats."""
    return options.model_copy(
        update={
            "size_px": 32,
            "hold_outs": 2,
            "random_hold_outs": min(options.random_hold_outs, 1),
            "tuned_hold_outs": 1,
            "tuning_epochs": 1,
            "plain_hold_outs": min(options.plain_hold_outs, 1),
            "plain_epochs": 1,
            "folds": 2,
            "rounds": 1,
            "fold_px": 24,
            "fold_epochs": 1,
            "per_class": 40,
            "draws": 1,
            "training": options.training.model_copy(update={"epochs": 1}),
            "n_hidden": 20,
            "bats": options.bats.model_copy(update={"population": 3, "generations": 2}),
            "trees": 20,
        }
    )
