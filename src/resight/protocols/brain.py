"""Pathological or normal brain: ResNet-18 features and randomised networks with the chaotic bat algorithm.

After Lu, Wang & Zhang 2020, "Detecting pathological brain via ResNet and randomized neural networks" (Heliyon 6:
e05625), on public MR slices: repeated hold-out and cross-validation that keep look-alikes together, and the review's
number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import Field

from resight.backbones import build_backbone, load_weights
from resight.backbones.ct_resnet import ct_resnet152_weights, has_ct_resnet152
from resight.errors import SettingsError
from resight.preprocess import Augmentation, Recipe
from resight.preprocess.augment import Share
from resight.preprocess.intensity import Standardisation
from resight.protocols.base import PROTOCOLS, Surroundings
from resight.protocols.brain_data import BrainImages, ImagesWanted, Split, cross_validations, hold_outs, load_images
from resight.protocols.brain_heads import Fitting, Outcome, judge_split
from resight.protocols.brain_measures import Part
from resight.protocols.brain_networks import (
    CT_DEPTH,
    Extracted,
    HeadViews,
    Source,
    ct_features,
    frozen_features,
    trained_features,
)
from resight.protocols.brain_study import write_up
from resight.protocols.study import Study
from resight.settings import Options, dump_toml, load_toml
from resight.training import TrainingOptions
from resight.training.bat_search import BatOptions
from resight.training.hidden_search import SearchMode
from resight.types import Progress


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
    per_class: int = Field(default=100, gt=0, description="normal and abnormal images drawn at the review's size")
    ct: bool = Field(default=True, description="also begin with CT weights where the extra `ct152` is installed")
    tuned_hold_outs: int = Field(
        default=5, ge=0, description="hold-outs in which a ResNet-50 from CT weights is trained"
    )
    tuning_epochs: int = Field(default=8, gt=0, description="of that")
    tuning_rate: float = Field(default=3e-4, gt=0, description="peak learning rate of that")
    draws: int = Field(default=10, ge=0, description="cross-validations at the review's size, features frozen")
    trained_draws: int = Field(default=0, ge=0, description="those where a network is trained in each fold too")
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


@PROTOCOLS.register("brain", BrainOptions)
def reproduce_brain(options: BrainOptions, *, surroundings: Surroundings) -> Study:
    """Run the study.

    Args:
        options: what to run.
        surroundings: `data` holds `index.csv` and the images.

    Raises:
        BundleError: a file of weights cannot be read, holds more than tensors, or is of another network.
        CohortError: the table or images are missing.
        SettingsError: the study in `out` began with other options.
    """
    if surroundings.smoke:
        options = _smoke(options)
    for file in filter(None, (options.weights, options.start)):  # refused now rather than after an hour
        load_weights(build_backbone("resnet", in_channels=1), file)
    out = surroundings.out
    _keep_settings(options, out)
    recipe = Recipe(size_px=(options.size_px, options.size_px), intensity=options.intensity)
    images = load_images(surroundings.data, recipe, out, surroundings.progress, options.images)
    start, remarks = None, ()
    if options.ct and has_ct_resnet152():
        start = ct_resnet152_weights(out / "weights")
    else:
        why = "the extra `ct152` is not installed" if options.ct else "it was switched off"
        remarks = (f"No network began with CT weights ({why}).",)
    parts = [part for part in _parts(options, images, start, out, surroundings.progress) if part.outcomes]
    return write_up(images, parts, out, remarks, options.head_views)


def _parts(
    options: BrainOptions, images: BrainImages, start: Path | None, out: Path, progress: Progress
) -> Iterable[Part]:
    shared = {"folds": options.folds, "validation": options.validation_share, "seed": options.seed}
    sizes = {"test": options.test_share, "validation": options.validation_share, "seed": options.seed}
    held = list(hold_outs(images, times=options.hold_outs, **sizes))
    drawn = list(hold_outs(images, times=options.random_hold_outs, together=False, **sizes))
    crossed = list(cross_validations(images, rounds=options.rounds, **shared))
    small = list(cross_validations(images, rounds=options.draws, per_class=options.per_class, **shared))
    tuning = options.training.model_copy(
        update={"epochs": options.tuning_epochs, "learning_rate": options.tuning_rate, "mixup": 0.0}
    )
    helped = ", with hints of EfficientNet-Lite0" if options.training.objective.name == "hints" else ""
    began = " from given weights" if options.start else ""
    network: dict[Source, str] = {
        "trained": f"ResNet-18{began} trained in every split ({options.training.epochs} epochs, {options.size_px} px"
        f"{helped})",
        "tuned": f"ResNet-{CT_DEPTH} from CT weights trained in every split ({tuning.epochs} epochs, "
        f"{options.size_px} px{helped})",
        "frozen": f"frozen ResNet-18 with {'given' if options.weights else 'random'} weights",
        "ct": f"frozen ResNet-{CT_DEPTH} with CT weights",
    }
    heads, large_heads = _fitting(options, options.search), _fitting(options, options.search_all_images)
    small_heads, unsearched = _fitting(options, options.search_small), _fitting(options, ())

    def train(split: Split) -> Extracted:
        told = _of(split, progress)
        return trained_features(
            images,
            split,
            options.training,
            options.augmentation,
            out / "networks",
            told,
            options.start,
            views=options.head_views,
        )

    def tune(split: Split) -> Extracted:
        folder = out / "networks" / "tuned"
        told = _of(split, progress)
        return trained_features(
            images, split, tuning, options.augmentation, folder, told, start, ct=True, views=options.head_views
        )

    def judged(source: Source, splits: list[Split], features: Callable[[Split], Extracted], how: Fitting) -> Part:
        done: list[Outcome] = []
        for split in splits:
            done.append(judge_split(images, split, features(split), source, how, out / "outcomes"))
            progress(f"{split.design}, {source}", len(done), len(splits), "")
        return Part(images, source, done, how.modes, network[source])

    yield judged("trained", held, train, heads)
    yield judged("trained", drawn, train, unsearched)
    if start is not None:
        yield judged("tuned", held[: options.tuned_hold_outs], tune, heads)
        ct = ct_features(images, start, out / "networks", options.seed)
        yield judged("ct", held, lambda _: ct, heads)
        yield judged("ct", small, lambda _: ct, small_heads)
        yield judged("ct", crossed, lambda _: ct, large_heads)
    if options.frozen:
        frozen = frozen_features(images, options.weights, out / "networks", options.seed)
        yield judged("frozen", small, lambda _: frozen, small_heads)
        yield judged("frozen", crossed, lambda _: frozen, large_heads)
    yield judged("trained", [s for s in small if s.round < options.trained_draws], train, small_heads)
    yield judged("trained", [s for s in crossed if s.round < options.trained_rounds], train, large_heads)


def _fitting(options: BrainOptions, modes: tuple[SearchMode, ...]) -> Fitting:
    return Fitting(options.n_hidden, options.bats, modes, options.trees, options.seed)


def _keep_settings(options: BrainOptions, out: Path) -> None:
    """Write the settings beside the results, or see that those there are of the same settings."""
    path = out / "settings.toml"
    if path.exists():
        if load_toml(path, BrainOptions) != options:
            fix = "Resume with the options it began with, or choose another folder."
            raise SettingsError("the options are not those the study began with", where=str(path), fix=fix)
        return
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_toml(options), encoding="utf-8")


def _smoke(options: BrainOptions) -> BrainOptions:
    """The same study on hardly any data: one epoch, one round, few nodes, few bats."""
    return options.model_copy(
        update={
            "size_px": 32,
            "hold_outs": 2,
            "random_hold_outs": min(options.random_hold_outs, 1),
            "tuned_hold_outs": 1,
            "tuning_epochs": 1,
            "folds": 2,
            "rounds": 1,
            "per_class": 40,
            "draws": 1,
            "training": options.training.model_copy(update={"epochs": 1}),
            "n_hidden": 20,
            "bats": options.bats.model_copy(update={"population": 3, "generations": 2}),
            "trees": 20,
        }
    )


def _of(split: Split, progress: Progress) -> Progress:
    return lambda stage, done, total, detail: progress(f"{stage} {split.name}", done, total, detail)
