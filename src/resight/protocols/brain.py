"""Pathological or normal brain: ResNet-18 features and randomised networks with the chaotic bat algorithm.

After Lu, Wang & Zhang 2020, "Detecting pathological brain via ResNet and randomized neural networks" (Heliyon 6:
e05625), on public MR slices: repeated hold-out and cross-validation that keep look-alikes together, and the review's
number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from resight.backbones import build_backbone, load_weights
from resight.backbones.ct_resnet import ct_resnet152_weights, has_ct_resnet152
from resight.errors import SettingsError
from resight.preprocess import Augmentation, Recipe
from resight.protocols.base import PROTOCOLS, Surroundings
from resight.protocols.brain_data import (
    BrainImages,
    Split,
    cross_validations,
    hold_outs,
    in_other_size,
    load_images,
)
from resight.protocols.brain_heads import Fitting, Outcome, judge_split
from resight.protocols.brain_measures import Part
from resight.protocols.brain_networks import (
    Extracted,
    Source,
    ct_features,
    folder_of,
    frozen_features,
    trained_features,
)
from resight.protocols.brain_options import PLAIN_AUGMENTATION, BrainOptions, shortened
from resight.protocols.brain_study import write_up
from resight.protocols.study import Study
from resight.settings import dump_toml, load_toml
from resight.training import TrainingOptions
from resight.training.hidden_search import SearchMode
from resight.types import Progress


@dataclass(frozen=True)
class _Training:
    """How the networks of a source are trained.

    Attributes:
        options: of the training.
        augmentation: of training images.
        start: file of weights they begin with; None for scratch.
        size_px: side of the images.
    """

    options: TrainingOptions
    augmentation: Augmentation
    start: Path | None
    size_px: int


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
        options = shortened(options)
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
    heads, large_heads = _fitting(options, options.search), _fitting(options, options.search_all_images)
    small_heads, unsearched = _fitting(options, options.search_small), _fitting(options, ())
    trainings: dict[Source, _Training] = {
        "plain": _Training(options.plain_script(), PLAIN_AUGMENTATION, None, options.size_px),
        "trained": _Training(options.training, options.augmentation, options.start, options.size_px),
        "folded": _Training(options.in_folds(), options.augmentation, options.start, options.fold_px),
        "tuned": _Training(options.tuning(), options.augmentation, start, options.size_px),
    }

    def trained(source: Source, splits: list[Split], fitting: Fitting) -> Part:
        training = trainings[source]
        shown = images
        if splits and training.size_px != options.size_px:
            shown = in_other_size(images, training.size_px, out / f"store-{source}", progress)

        def features(split: Split) -> Extracted:
            return trained_features(
                shown,
                split,
                training.options,
                training.augmentation,
                folder_of(source, out / "networks"),
                _of(split, progress),
                training.start,
                ct=source == "tuned",
                views=options.head_views,
            )

        return judged(source, splits, features, fitting)

    def judged(source: Source, splits: list[Split], features: Callable[[Split], Extracted], fitting: Fitting) -> Part:
        done: list[Outcome] = []
        for split in splits:
            done.append(judge_split(images, split, features(split), source, fitting, out / "outcomes"))
            progress(f"{split.design}, {source}", len(done), len(splits), "")
        return Part(images, source, done, fitting.modes, options.network(source))

    yield trained("plain", held[: options.plain_hold_outs], heads)
    yield trained("plain", drawn[: options.plain_hold_outs], unsearched)
    yield trained("trained", held, heads)
    yield trained("trained", drawn, unsearched)
    if start is not None:
        yield trained("tuned", held[: options.tuned_hold_outs], heads)
        yield trained("tuned", drawn[: options.tuned_hold_outs], unsearched)
        ct = ct_features(images, start, out / "networks", options.seed)
        yield judged("ct", held, lambda _: ct, heads)
        yield judged("ct", small, lambda _: ct, small_heads)
        yield judged("ct", crossed, lambda _: ct, large_heads)
        yield trained("tuned", [s for s in small if s.round < options.tuned_draws], small_heads)
    if options.frozen:
        frozen = frozen_features(images, options.weights, out / "networks", options.seed)
        yield judged("frozen", small, lambda _: frozen, small_heads)
        yield judged("frozen", crossed, lambda _: frozen, large_heads)
    yield trained("folded", [s for s in small if s.round < options.trained_draws], small_heads)
    yield trained("folded", [s for s in crossed if s.round < options.trained_rounds], large_heads)


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


def _of(split: Split, progress: Progress) -> Progress:
    return lambda stage, done, total, detail: progress(f"{stage} {split.name}", done, total, detail)
