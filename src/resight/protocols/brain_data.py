"""The images of the brain study, prepared and grouped, and the ways they are divided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped

from resight.cohorts import CohortOptions, LeakOptions, SplitOptions, assign_folds, leakcheck, load_cohort, split_cohort
from resight.errors import CohortError
from resight.preprocess import Recipe, Store
from resight.tables import read_table
from resight.training.data import TrainingData
from resight.types import Cohort, MetricValue, Progress

Design = Literal["hold-out", "random hold-out", "cross-validation", "small"]
"""`random hold-out` lets look-alikes lie on both sides, as plain scripts do; everything else keeps them together."""
ImagesWanted = Literal["all", "present"]
LABEL = "abnormal"
_FREE = ("none",)  # no patient is known: the clusters of look-alikes are all that keeps slices together
_LOOK_ALIKE = LeakOptions(near_bits=20, near_residual=0.7, workers=1)
"""Wider than for copies: neighbouring slices of a patient differ more, and joining strangers does a split no harm."""
_FIX = (
    "Give --data the folder with index.csv (columns file and abnormal) and the images it lists, "
    "for example from the public brain tumour MRI collection of Nickparvar."
)
Rows = Int[np.ndarray, " n"]


@dataclass(frozen=True)
class BrainImages:
    """The cohort with its prepared images.

    Attributes:
        cohort: one row an image.
        store: prepared images, row by row.
        clusters: file with the cluster of near-duplicates of every image.
        groups: the same as an array `(N,)`.
        colour_mode: AUROC of the files' colour mode alone; undefined where all files have the same.
    """

    cohort: Cohort
    store: Store
    clusters: Path
    groups: Shaped[np.ndarray, " N"]
    colour_mode: MetricValue

    @property
    def targets(self) -> Int[np.ndarray, " N"]:
        """1 for abnormal, 0 for normal."""
        return self.cohort.targets()[:, 0].astype(np.int64)

    def samples(self, rows: Rows) -> TrainingData:
        """Some rows as training data."""
        table = self.cohort.table.iloc[rows]
        targets = self.cohort.targets()[rows]
        return TrainingData(self.store, rows, targets, ~np.isnan(targets), tuple(table["image"].astype(str)))


@dataclass(frozen=True)
class Split:
    """One division of the images; whole clusters lie in one part, except in a random hold-out.

    Attributes:
        design: which way of dividing it belongs to.
        round: repetition.
        fold: fold of the repetition; 0 for a hold-out.
        train: rows a network is trained on.
        validation: rows that choose its epoch; heads and classifiers are fitted on these too.
        test: rows that judge.
    """

    design: Design
    round: int
    fold: int
    train: Rows
    validation: Rows
    test: Rows

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.design.replace(' ', '-')}-{self.round}-{self.fold}"

    @property
    def learn(self) -> Rows:
        """Everything that is not for testing, in order."""
        return np.sort(np.concatenate([self.train, self.validation]))


def load_images(data: Path, recipe: Recipe, out: Path, progress: Progress, wanted: ImagesWanted = "all") -> BrainImages:
    """Read the table, find near-duplicates and prepare the images.

    Args:
        data: folder with `index.csv` and the images.
        recipe: how to prepare them.
        out: where clusters and prepared images are kept.
        progress: told while images are read.
        wanted: insist on all images of the table, or take those present.

    Raises:
        CohortError: the folder does not hold the study's table and images.
    """
    cohort = _load_cohort(data, wanted)
    cohort = replace(cohort, table=cohort.table.drop(columns="split", errors="ignore"))
    report = leakcheck(cohort, _LOOK_ALIKE, progress=lambda done, n: progress("look-alikes", done, n, ""))
    out.mkdir(parents=True, exist_ok=True)
    clusters = out / "clusters.csv"
    report.clusters.to_csv(clusters, index=False, lineterminator="\n")
    found = [column.auroc for column in report.columns if column.column == "file colour_mode"]
    return BrainImages(
        cohort,
        _store(cohort, recipe, out / "store", progress),
        clusters,
        report.clusters["cluster"].to_numpy(),
        found[0] if found else MetricValue.undefined("all files have the same colour mode"),
    )


def in_other_size(images: BrainImages, size_px: int, folder: Path, progress: Progress) -> BrainImages:
    """The same images prepared at another size.

    Args:
        images: the cohort.
        size_px: side of the prepared images.
        folder: they are kept there.
        progress: told while images are read.
    """
    recipe = images.store.recipe.model_copy(update={"size_px": (size_px, size_px)})
    return replace(images, store=_store(images.cohort, recipe, folder, progress))


def _store(cohort: Cohort, recipe: Recipe, folder: Path, progress: Progress) -> Store:
    store = Store.build(
        cohort.paths, recipe, folder, workers=1, progress=lambda done, n: progress("prepare", done, n, "")
    )
    if store.errors:
        first = next(iter(store.errors.values()))
        raise CohortError(f"{len(store.errors)} images cannot be read: {first}", where=str(cohort.root))
    return store


def _load_cohort(data: Path, wanted: ImagesWanted) -> Cohort:
    index = data / "index.csv"
    if not index.is_file():
        raise CohortError("no index.csv here", where=str(data), expected="the images of the brain study", fix=_FIX)
    columns = read_table(index, error=CohortError).columns
    if absent := [name for name in ("file", LABEL) if name not in columns]:
        raise CohortError(f"no column {absent[0]!r}", where=str(index), expected="file and abnormal", fix=_FIX)
    options = CohortOptions(path=data, labels=(LABEL,), missing_images="keep")
    cohort = load_cohort(options)
    there = np.array([path.is_file() for path in cohort.paths])
    if there.all():
        return cohort
    absent = f"{int((~there).sum())} of {len(there)} images are not there ({cohort.table['image'][~there].iloc[0]})"
    if wanted == "all" or len(np.unique(cohort.targets()[there])) < 2:
        fix = f"{_FIX} --option images=present goes on with those that are there, if they are of both classes."
        raise CohortError(absent, where=str(data), expected="all of them", fix=fix)
    return replace(cohort.rows(there), notes=(*cohort.notes, f"{absent}; their rows were dropped."))


def hold_outs(
    images: BrainImages, *, times: int, test: float, validation: float, seed: int, together: bool = True
) -> Iterator[Split]:
    """Repeated stratified hold-outs.

    Args:
        images: the cohort.
        times: how many.
        test: share of images that judge.
        validation: share of the others that choose the epoch.
        seed: of the first; each repetition has the next.
        together: keep look-alikes in one part. Without, every image is drawn for itself.
    """
    design: Design = "hold-out" if together else "random hold-out"
    clusters = images.clusters if together else None
    fractions = ((1 - test) * (1 - validation), (1 - test) * validation, test)
    for number in range(times):
        options = SplitOptions(fractions=fractions, group=_FREE, clusters=clusters, seed=seed + number)
        part = split_cohort(images.cohort, options).table["split"].to_numpy()
        train, validate, judge = (np.flatnonzero(part == name) for name in ("train", "validation", "test"))
        yield Split(design, number, 0, train, validate, judge)


def cross_validations(
    images: BrainImages, *, rounds: int, folds: int, validation: float, seed: int, per_class: int | None = None
) -> Iterator[Split]:
    """Repeated stratified k-fold cross-validation.

    Args:
        images: the cohort.
        rounds: repetitions.
        folds: k.
        validation: share of the learning images that choose the epoch.
        seed: of the first round; each has the next.
        per_class: draw so many normal and abnormal images anew in every round; None takes all.
    """
    for number in range(rounds):
        rng = np.random.default_rng((seed, number))
        drawn = np.arange(len(images.cohort)) if per_class is None else _draw(images.targets, per_class, rng)
        part = images.cohort.rows(np.isin(np.arange(len(images.cohort)), drawn))
        folded = assign_folds(part, folds, seed + number, group=_FREE, clusters=images.clusters)
        fold = folded.table["fold"].to_numpy()
        for k in range(folds):
            learn = part.rows(fold != k)
            options = SplitOptions(
                fractions=(1 - validation, validation, 0.0), group=_FREE, clusters=images.clusters, seed=seed + number
            )
            inner = split_cohort(learn, options).table["split"].to_numpy()
            rows = drawn[fold != k]
            design: Design = "cross-validation" if per_class is None else "small"
            yield Split(design, number, k, rows[inner == "train"], rows[inner == "validation"], drawn[fold == k])


def _draw(targets: Int[np.ndarray, " N"], per_class: int, rng: np.random.Generator) -> Rows:
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(targets == c), per_class, replace=False) for c in (0, 1)]))
