"""`resight zeroshot`: labels from their descriptions alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from resight.cli.cohort_arguments import CohortArguments
from resight.cli.console import check_free, deliver, progress_bars, result_table, say
from resight.cli.predict import bundle_folder


def zeroshot(
    bundle: Path,
    cohort: CohortArguments,
    *,
    descriptions: Path | None = None,
    text_embeddings: Path | None = None,
    size_px: int = 224,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    feature_penalty: float = 10.0,
    description_penalty: float = 0.1,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Judge labels by their descriptions alone: every label of a bundle left out in turn (ESZSL), or an image encoder.

    Args:
        bundle: folder of the bundle, or of the run that made it; or an image encoder, a file `.onnx`.
        cohort: which images and labels; fitted on all splits but test, judged on test.
        descriptions: for a bundle: table with `label` and either `text` or columns of numbers.
        text_embeddings: for an image encoder: table with `label` and the numbers of its text side's embedding.
        size_px: side of the encoder's input, where the graph leaves it open.
        mean: the encoder's, per channel; CLIP's where not given.
        std: the encoder's, per channel; CLIP's where not given.
        feature_penalty: ridge penalty of the features, per image.
        description_penalty: ridge penalty of the descriptions.
        out: also write the result there, as JSON.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.errors import CohortError, SettingsError
    from resight.fewshot import ZeroShotOptions, cohort_features, leave_one_label_out, read_descriptions
    from resight.models import Predictor
    from resight.settings import validate

    if bundle.suffix == ".onnx":
        if text_embeddings is None or descriptions is not None:
            expected = "--text-embeddings, made by the text side that belongs to it"
            raise SettingsError("an image encoder", where=str(bundle), expected=expected)
        normalisation = {"mean": mean, "std": std}
        taken = {"size_px": size_px} | {name: values for name, values in normalisation.items() if values}
        return _by_encoder(bundle, cohort, text_embeddings, taken, out=out, force=force, as_json=as_json)
    if descriptions is None or text_embeddings is not None:
        raise SettingsError("a bundle", where=str(bundle), expected="--descriptions, and no --text-embeddings")
    given = {"feature_penalty": feature_penalty, "description_penalty": description_penalty}
    options = validate(ZeroShotOptions, given, where="command line")
    check_free(out, force=force)
    loaded = cohort.load()
    described = read_descriptions(descriptions, loaded.labels)
    predictor = Predictor.load(bundle_folder(bundle))
    with progress_bars() as progress:
        found = cohort_features(predictor, loaded, progress)
    test, targets = found.held_out, found.targets()
    if test.all():
        raise CohortError("no test split", where=loaded.name, fix="Split the cohort first: resight data split.")
    result = leave_one_label_out(
        (found.features[~test], targets[~test]),
        (found.features[test], targets[test]),
        loaded.labels,
        described,
        found.patients[test],
        options,
        taught=predictor.manifest.labels,
    )
    if deliver(result, out=out, force=force, as_json=as_json):
        return 0
    rows = [(one.label, one.auroc, one.taught, "new" if one.new_to_network else "taught") for one in result.labels]
    title = f"mean of unseen labels {result.mean_unseen}, harmonic mean with seen ones {result.harmonic:.3f}"
    result_table(("label", "AUROC while unseen", "AUROC when taught", "to the network"), rows, title=title)
    say(f"mean of the labels that are new to the network as well: {result.mean_new}")
    return 0


def _by_encoder(
    graph: Path,
    cohort: CohortArguments,
    embeddings: Path,
    given: dict[str, Any],
    *,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> int:
    from resight.fewshot import ImageEncoder, ImageEncoderOptions, judge_descriptions, read_embeddings
    from resight.settings import validate

    encoder = ImageEncoder(graph, validate(ImageEncoderOptions, given, where="command line"))
    check_free(out, force=force)
    loaded = cohort.load()
    vectors = read_embeddings(embeddings, loaded.labels)
    with progress_bars() as progress:
        found = encoder.cohort(loaded, progress)
    test = found.held_out
    judged = judge_descriptions(
        found.features[test], found.targets()[test], loaded.labels, vectors, found.patients[test]
    )
    result = {"labels": judged, "images": int(test.sum())}
    if deliver(result, out=out, force=force, as_json=as_json):
        return 0
    rows = [(one.label, one.auroc) for one in judged]
    result_table(("label", "AUROC by its embedding"), rows, title=f"{test.sum()} images")
    return 0
