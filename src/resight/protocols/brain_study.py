"""The brain study's page: tables, sentences that follow from them, the course of the search, and all predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from resight.experiments.record import environment
from resight.protocols.brain_data import BrainImages
from resight.protocols.brain_heads import RANDOMISED, reference, searched
from resight.protocols.brain_measures import COMPARED, LEVEL, METRICS, Compared, Metric, Part, against_plain_script
from resight.protocols.brain_networks import TRAINED, HeadViews
from resight.protocols.brain_picture import draw_courses, draw_methods, draw_training
from resight.protocols.study import Figure, Row, Study
from resight.types import MetricValue

PREDICTIONS: Final = "predictions.csv.gz"
PICTURES: Final[Mapping[str, str]] = {
    "methods.svg": "AUROC of every method in every design, mean over the splits with its corrected interval",
    "training.svg": "Training loss and AUROC on the validation images over the epochs, one line a hold-out",
    "bats.svg": "Squared error on left-out learning images, the head without search = 1; mean over splits. Generation "
    "0 is the head as it came",
}
_FEATURES: Final[Mapping[str, str]] = {
    "plain": "features of a ResNet-18 trained in the split as a plain script does",
    "trained": "features of a ResNet-18 trained in the split",
    "folded": "features of a ResNet-18 trained in the fold on smaller images",
    "tuned": "features of a ResNet-50 from CT weights trained in the split",
    "frozen": "frozen features of a ResNet-18",
    "ct": "frozen features of a ResNet-50 with CT weights",
}
_REVIEW: Final[Mapping[Metric, str]] = {
    "accuracy": "95.5 %",
    "sensitivity": "94 %",
    "specificity": "97 %",
    "AUROC": "0.98",
}
_HEADS_LEARN_FROM: Final[Mapping[HeadViews, str]] = {
    "changed": "Heads learned from features of one randomly changed view of each learning image that the network had "
    "never been shown: features of the images themselves, which it had learned by heart, would be cleaner than those "
    "the heads are tested on.",
    "plain": "Features of a trained network were fitted to the same learning images as the heads, as in the paper, so "
    "heads learn from features that are cleaner than those they are tested on.",
}
_SIBLINGS: Final[Mapping[str, tuple[Figure, ...]]] = {
    "elm": (
        Figure("98.33 %", "Lu et al. 2017, wavelet entropy and ELM with bats, 132 other images", "read"),
        Figure("99 %", "Zhu et al. 2023, ResNet-18 and ELM with bats, other images", "read"),
    ),
    "snn": (Figure("98.46 %", "Zhu et al. 2022, DenseNet and SNN, other images", "read"),),
}
"""Accuracies in abstracts of the same group; that of Lu, Wang & Zhang 2020 itself names none."""


def write_up(
    images: BrainImages, parts: Sequence[Part], out: Path, remarks: Sequence[str] = (), views: HeadViews = "changed"
) -> Study:
    """Put figures, tests, sentences, picture and predictions together.

    Args:
        images: the cohort.
        parts: what was run.
        out: predictions and picture are written there.
        remarks: further sentences, about what was left out.
        views: what heads on a trained network learned from.
    """
    tables = {f"All methods, all designs: {m}, mean over the splits": _overview(parts, m) for m in COMPARED}
    for part in parts:
        tables[part.title] = _figures(part)
        if part.repeated:
            tables[f"{part.title}: less the softmax layer"] = _differences(part.against_softmax())
        if part.repeated and part.modes:
            tables[f"{part.title}: with bats less without"] = _differences(part.bats_against_plain())
    scripts = against_plain_script(parts)
    if scripts:
        tables["Networks less the plain script, softmax layers on the same splits"] = _differences(scripts)
    wide = tuple(tables)
    tables["Beside the review"] = [row for part in parts if part.design != "cross-validation" for row in _beside(part)]
    _write_predictions(images, parts, out / PREDICTIONS)
    drawn = {
        "methods.svg": draw_methods(parts, out / "methods.svg"),
        "training.svg": draw_training(parts, out / "networks", out / "training.svg"),
        "bats.svg": draw_courses(parts, out / "bats.svg"),
    }
    ran = environment()
    return Study(
        name="brain",
        title="Pathological or normal brain: ResNet-18 with randomised networks and chaotic bats",
        question="Does a randomised network in the place of the softmax layer help, and does the bat search? "
        + _short_answer(parts),
        tables=tables,
        conclusions=(*_beside_script(scripts), *map(_summary, parts), *_cautions(images, parts, views), *remarks),
        command=ran.pop("command"),
        pictures={name: PICTURES[name] for name, there in drawn.items() if there},
        record={
            "images": len(images.cohort),
            "groups of look-alikes": len(np.unique(images.groups)),
            "cohort": images.cohort.fingerprint(),
            "networks trained": sum(len(part.outcomes) for part in parts if part.source in TRAINED),
            "predictions": f"`{PREDICTIONS}`: probability of abnormal, a line an image and split, a column a method",
            "seconds to fit": "wall clock, whatever else this machine did at the time",
            "settings": "`settings.toml`",
            **ran,
        },
        wide=wide,
    )


def _overview(parts: Sequence[Part], metric: Metric) -> list[Row]:
    """One line a method, one column a design."""
    names = list(dict.fromkeys(name for part in parts for name in part.methods))
    return [
        Row(name, part.short, part.mean(name, metric), note=_spread(part, name, metric))
        for name in names
        for part in parts
        if name in part.methods
    ]


def _spread(part: Part, name: str, metric: Metric) -> str:
    deviation = part.deviation(name, metric)
    return "" if np.isnan(deviation) else f"sd {deviation:.3f}"


def _figures(part: Part) -> list[Row]:
    majority = part.majority()
    rows = [Row("larger class, no image looked at", metric, MetricValue(majority[metric])) for metric in METRICS]
    for name in part.methods:
        rows += [Row(name, m, part.mean(name, m), note=_spread(part, name, m)) for m in METRICS]
        rows.append(Row(name, "seconds to fit", MetricValue(part.seconds(name))))
    return rows


def _differences(compared: Sequence[Compared]) -> list[Row]:
    def note(one: Compared) -> str:
        return one.test.undefined_because or f"p {one.test.p:.3f}, Holm {one.p_holm:.3f}"

    return [
        Row(f"{c.first} less {c.second}", f"difference in {c.metric}", c.value, note=note(c), signed=True)
        for c in compared
    ]


def _beside(part: Part) -> list[Row]:
    """The randomised heads with the search that the paper describes, beside the review's figures."""
    if not part.modes:
        return []
    majority = part.majority()
    return [
        Row(
            f"{searched(head, part.modes[0])}; {part.title}",
            metric,
            part.mean(searched(head, part.modes[0]), metric),
            published=_SIBLINGS.get(head, ()) if metric == "accuracy" else (),
            review=Figure(_REVIEW[metric], "review 3.3.3", "not verifiable"),
            baseline=MetricValue(majority[metric]),
        )
        for head in RANDOMISED
        for metric in METRICS
    ]


def _short_answer(parts: Sequence[Part]) -> str:
    found = []
    for source in dict.fromkeys(part.source for part in parts):
        own = [part for part in parts if part.source == source and part.repeated]
        heads = [c for part in own for c in part.against_softmax() if c.randomised]
        bats = [c for part in own for c in part.bats_against_plain()]
        found.append(f"On {_FEATURES[source]}, randomised networks: {_verdict(heads)} Bats: {_verdict(bats)}")
    return " ".join(found)


def _verdict(compared: Sequence[Compared]) -> str:
    """How many differences are significant, and in which direction."""
    if not compared:
        return "not tried."
    better = sum(c.significant and c.test.difference > 0 for c in compared)
    worse = sum(c.significant and c.test.difference < 0 for c in compared)
    answer = {(True, False): "yes", (False, True): "no, they harm", (False, False): "no"}.get(
        (better > 0, worse > 0), "sometimes, and sometimes they harm"
    )
    return (
        f"{answer} ({better} of {len(compared)} differences are significantly better and {worse} significantly worse, "
        "accuracy and AUROC)."
    )


def _beside_script(compared: Sequence[Compared]) -> list[str]:
    """How much every network differs from the plain script, one sentence each."""
    return [
        f"{accuracy.first} differs from {accuracy.second}, on the same {accuracy.test.splits} hold-outs, by "
        f"{accuracy.in_words} in accuracy and {auroc.in_words} in AUROC."
        for accuracy, auroc in zip(compared[: len(compared) // 2], compared[len(compared) // 2 :], strict=True)
    ]


def _summary(part: Part) -> str:
    softmax, against, bats = reference(part.source), part.against_softmax(), part.bats_against_plain()
    heads = [c for c in against if c.randomised]
    found = [
        f"{part.title}: {softmax} reaches AUROC {part.mean(softmax, 'AUROC')} and accuracy "
        f"{part.mean(softmax, 'accuracy')}.",
        f"Randomised heads without search differ from it {_spans(heads)}; {_counted(heads)}.",
    ]
    if bats:
        plain, with_bats = (
            sum(part.seconds(name) for name in names) for names in ({c.second for c in bats}, {c.first for c in bats})
        )
        slower = with_bats / len({c.first for c in bats}) / max(plain / len(RANDOMISED), 1e-9)
        found.append(
            f"Bats change their head {_spans(bats)}; {_counted(bats)}. A search takes {slower:.0f} times as long as "
            "the head without it."
        )
    best = max(part.methods, key=lambda name: part.mean(name, "AUROC").value)
    classical = [c for c in against if c.classical]
    found.append(
        f"Classical classifiers differ from it {_spans(classical)}; {_counted(classical)}. The largest mean AUROC has "
        f"{best} ({part.mean(best, 'AUROC')})."
    )
    return " ".join(found)


def _spans(compared: Sequence[Compared]) -> str:
    spans = []
    for metric in COMPARED:
        values = [c.test.difference for c in compared if c.metric == metric]
        low, high = (round(value, 3) + 0.0 for value in (min(values), max(values)))  # + 0.0: no negative zero
        spans.append(f"by {low:+.3f} to {high:+.3f} in {metric}")
    return " and ".join(spans)


def _counted(compared: Sequence[Compared]) -> str:
    if all(c.test.undefined_because for c in compared):
        return "a single split allows no test"
    significant = sum(c.significant for c in compared)
    return f"{significant or 'none'} of {len(compared)} differences significant (Holm, level {LEVEL})"


def _cautions(images: BrainImages, parts: Sequence[Part], views: HeadViews) -> list[str]:
    sentences = [
        "The review's figures (accuracy 95.5 %, sensitivity 94 %, specificity 97 %, AUROC 0.98) cannot be verified: "
        "the abstract of the paper names none of them, and its images are others than these.",
        "No patient is known: look-alikes are kept together, but slices of one patient that differ more may lie on "
        "both sides of a split. Normal and abnormal slices come from different collections, and a network can learn "
        "that. All figures say how well these images are told apart, not how well disease is found.",
    ]
    if not np.isnan(images.colour_mode.value):
        sentences.append(
            f"The colour mode of the files alone has AUROC {images.colour_mode}; every image is made grey before "
            "anything looks at it."
        )
    if any(part.source in TRAINED for part in parts):
        sentences.append(_HEADS_LEARN_FROM[views])
    for parted in (part for part in parts if part.design == "random hold-out"):
        together = next((p for p in parts if p.source == parted.source and p.design == "hold-out"), None)
        if together:
            name = reference(parted.source)
            sentences.append(
                f"With look-alikes on both sides, as a random split leaves them, {parted.network} reaches AUROC "
                f"{parted.mean(name, 'AUROC')} and accuracy {parted.mean(name, 'accuracy')} "
                f"({len(parted.outcomes)} hold-out{'s' if len(parted.outcomes) > 1 else ''}); with look-alikes kept "
                f"together {together.mean(name, 'AUROC')} and {together.mean(name, 'accuracy')}."
            )
    if any(part.source == "ct" for part in parts):
        sentences.append(
            "The CT network's batch normalisation took its statistics from all images, those tested on among them; no "
            "label took part in that."
        )
    return sentences


def _write_predictions(images: BrainImages, parts: Sequence[Part], path: Path) -> None:
    names = images.cohort.table["image"].astype(str).to_numpy()
    tables = []
    for part in parts:
        for outcome in part.outcomes:
            table = outcome.probabilities.round(4)
            rows = table.index.to_numpy()
            given = {
                "design": part.design,
                "features": part.source,
                "round": outcome.split.round,
                "fold": outcome.split.fold,
                "image": names[rows],
                "target": images.targets[rows],
            }
            tables.append(pd.concat([pd.DataFrame(given, index=table.index), table], axis=1))
    everything = pd.concat(tables)
    everything.to_csv(path, index=False, lineterminator="\n", compression={"method": "gzip", "mtime": 0})
