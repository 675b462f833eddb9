"""`resight fewshot`: how far a bundle's features go with a handful of labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.cohort_arguments import CohortArguments
from resight.cli.console import check_free, deliver, fresh, progress_bars, result_table, say
from resight.cli.predict import bundle_folder


def fewshot(
    bundle: Path,
    cohort: CohortArguments,
    *,
    ways: int = 2,
    shots: int = 5,
    queries: int = 15,
    episodes: int = 600,
    rare: Annotated[bool, Parameter(negative="")] = False,
    draws: int = 100,
    finetune: int = 0,
    weights: Path | None = None,
    method: Annotated[list[str] | None, Parameter(name="--method", negative="")] = None,
    seed: int = 0,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Judge a bundle's features by episodes, patients of support and query apart.

    Images come from the cohort's test split where it has one; the others serve for centring alone.

    Args:
        bundle: folder of the bundle, or of the run that made it.
        cohort: which images and labels.
        ways: classes of an episode.
        shots: labelled images of each class.
        queries: images of each class to judge.
        episodes: how many; 600 or more for a publication.
        rare: instead show each label by a few positives and negatives, and judge on all other patients.
        draws: how often those few are drawn.
        finetune: first fine-tune the network on so many episodes of the other patients (prototypical networks).
        weights: also write the fine-tuned backbone there, for `model.weights`.
        method: only this one; may be given more than once; see `resight list "few-shot classifier"`.
        seed: of the episodes.
        out: also write the result there, as JSON.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.backbones import save_weights
    from resight.errors import SettingsError
    from resight.fewshot import (
        FEWSHOT,
        EpisodeOptions,
        FinetuneOptions,
        cohort_features,
        rare_labels,
        run_episodes,
    )
    from resight.fewshot import finetune as finetune_network
    from resight.models import Predictor
    from resight.settings import validate

    given = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes, "seed": seed}
    options = validate(EpisodeOptions, given, where="command line")
    names = method or list(FEWSHOT.names())
    for name in names:
        FEWSHOT.member(name)
    learning = validate(FinetuneOptions, given | {"episodes": finetune}, where="command line") if finetune else None
    if weights is not None and learning is None:
        raise SettingsError("--weights without --finetune", where="command line", fix="Give --finetune=200.")
    check_free(weights, out, force=force)
    loaded = cohort.load()
    predictor = Predictor.load(bundle_folder(bundle))
    with progress_bars() as progress:
        tuned = finetune_network(predictor, loaded, learning, progress) if learning else None
        found = cohort_features(predictor, loaded, progress)
    if weights is not None:
        save_weights(predictor.network.backbone, fresh(weights, force=force))
        say(f"written: {weights}")
    if tuned is not None:
        say(f"fine-tuned on {tuned.patients} patients: accuracy there from {tuned.first:.3f} to {tuned.last:.3f}")
    held_out = found.held_out
    base = found.features[~held_out] if (~held_out).any() else found.features
    features, patients = found.features[held_out], found.patients[held_out]
    if rare:
        targets = found.targets()[held_out]
        results: dict[str, object] = {
            name: rare_labels(
                name, features, targets, loaded.labels, patients, shots=shots, draws=draws, base=base, seed=seed
            )
            for name in names
        }
        rows = [
            (name, one.label, one.positives, one.auroc)
            for name, labels in results.items()
            for one in labels  # type: ignore[union-attr]
        ]
        columns = ("method", "label", "positives", f"AUROC with {shots} + {shots}")
    else:
        classes = found.classes()[held_out]
        episodes_of = [run_episodes(name, features, classes, patients, options, base=base) for name in names]
        results = {one.method: one for one in episodes_of}
        rows = [(one.method, one.accuracy, one.auroc, f"{one.chance:.3f}") for one in episodes_of]
        columns = ("method", "balanced accuracy", "AUROC", "chance")
    if deliver(results, out=out, force=force, as_json=as_json):
        return 0
    result_table(columns, rows, title=f"{len(features)} images of {len(set(patients))} patients")
    if found.failed:
        say(f"{found.failed} images could not be read")
    return 0
