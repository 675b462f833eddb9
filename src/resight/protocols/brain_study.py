"""The brain study's page: tables of every method and difference, pictures, and all predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from resight.experiments.record import environment
from resight.protocols.brain_data import BrainImages
from resight.protocols.brain_heads import RANDOMISED, searched
from resight.protocols.brain_measures import COMPARED, METRICS, Compared, Metric, Part, against_plain_script
from resight.protocols.brain_networks import TRAINED, HeadViews
from resight.protocols.brain_picture import draw_courses, draw_methods, draw_training
from resight.protocols.brain_words import AT_A_GLANCE, QUESTION, beside_script, cautions, glance, short_answer
from resight.protocols.study import Figure, Row, Study
from resight.types import MetricValue

PREDICTIONS: Final = "predictions.csv.gz"
PICTURES: Final[Mapping[str, str]] = {
    "methods.svg": "AUROC of every method in every design, mean over the splits with its corrected interval",
    "training.svg": "Training loss and AUROC on the validation images over the epochs, one line a hold-out",
    "bats.svg": "Squared error on left-out learning images, the head without search = 1; mean over splits. Generation "
    "0 is the head as it came",
}
_REVIEW: Final[Mapping[Metric, str]] = {
    "accuracy": "95.5 %",
    "sensitivity": "94 %",
    "specificity": "97 %",
    "AUROC": "0.98",
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
    tables = {AT_A_GLANCE: glance(parts)}
    tables |= {f"All methods, all designs: {m}, mean over the splits": _overview(parts, m) for m in COMPARED}
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
        question=f"{QUESTION} {short_answer(parts)}",
        tables=tables,
        conclusions=(*beside_script(scripts), *cautions(images, parts, views), *remarks),
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
