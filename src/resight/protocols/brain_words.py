"""What the brain study says, all from its figures: the short answer, every design in one line, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from resight.protocols.brain_data import BrainImages
from resight.protocols.brain_heads import RANDOMISED, reference
from resight.protocols.brain_measures import COMPARED, LEVEL, Compared, Part
from resight.protocols.brain_networks import TRAINED, HeadViews
from resight.protocols.study import Row

QUESTION: Final = "Does a randomised network in the place of the softmax layer help, and does the bat search?"
AT_A_GLANCE: Final = "Every design in one line"
_HEADS_LEARN_FROM: Final[Mapping[HeadViews, str]] = {
    "changed": "Heads learned from features of one randomly changed view of each learning image that the network had "
    "never been shown: features of the images themselves, which it had learned by heart, would be cleaner than those "
    "the heads are tested on.",
    "plain": "Features of a trained network were fitted to the same learning images as the heads, as in the paper, so "
    "heads learn from features that are cleaner than those they are tested on.",
}


def short_answer(parts: Sequence[Part]) -> str:
    """Whether randomised networks and bats help, counted over all repeated splits."""
    repeated = [part for part in parts if part.repeated]
    heads = [c for part in repeated for c in part.against_softmax() if c.randomised]
    bats = [c for part in repeated for c in part.bats_against_plain()]
    return (
        f"Randomised networks: {_verdict(heads)} Bats: {_verdict(bats)} Differences are those of accuracy and AUROC, "
        f"corrected within each line of the first table (Holm, level {LEVEL}); randomised networks and classical "
        "classifiers are compared with the softmax layer of the network whose features they learn from, on frozen "
        "features with a logistic regression, and a head with bats with the same head without."
    )


def _verdict(compared: Sequence[Compared]) -> str:
    """How many differences are significant, and in which direction."""
    if not compared:
        return "not tried."
    better = sum(c.significant and c.test.difference > 0 for c in compared)
    worse = sum(c.significant and c.test.difference < 0 for c in compared)
    answer = {(True, False): "yes", (False, True): "no, they harm", (False, False): "no"}.get(
        (better > 0, worse > 0), "sometimes, and sometimes they harm"
    )
    return f"{answer} ({better} of {len(compared)} differences significantly better, {worse} significantly worse)."


def beside_script(compared: Sequence[Compared]) -> list[str]:
    """How much every network differs from the plain script, one sentence each."""
    return [
        f"{accuracy.first} differs from {accuracy.second}, on the same {accuracy.test.splits} hold-outs, by "
        f"{accuracy.in_words} in accuracy and {auroc.in_words} in AUROC."
        for accuracy, auroc in zip(compared[: len(compared) // 2], compared[len(compared) // 2 :], strict=True)
    ]


def glance(parts: Sequence[Part]) -> list[Row]:
    """One line a design and network: what the network reaches, and what heads, bats and classifiers change."""
    rows: list[Row] = []
    for part in parts:
        softmax, against, bats = reference(part.source), part.against_softmax(), part.bats_against_plain()
        best = max(part.methods, key=lambda name, of=part: of.mean(name, "AUROC").value)
        words = {
            "randomised networks": _spans([c for c in against if c.randomised]),
            "with bats less without": f"{_spans(bats)}; {_slower(part, bats):.0f} times as long"
            if bats
            else "not tried",
            "classical classifiers": _spans([c for c in against if c.classical]),
            "largest AUROC": f"{best} {part.mean(best, 'AUROC')}",
        }
        rows += [Row(part.title, metric, part.mean(softmax, metric), note=softmax) for metric in reversed(COMPARED)]
        rows += [Row(part.title, column, absent=text) for column, text in words.items()]
    return rows


def _slower(part: Part, bats: Sequence[Compared]) -> float:
    """Seconds that a head takes with a search over those without, mean over heads and ways to search."""
    searches, heads = {c.first for c in bats}, {c.second for c in bats}
    without = sum(part.seconds(name) for name in heads) / len(RANDOMISED)
    return sum(part.seconds(name) for name in searches) / len(searches) / max(without, 1e-9)


def _spans(compared: Sequence[Compared]) -> str:
    """From the least to the largest difference in each metric, and how many are significant."""
    spans = []
    for metric in COMPARED:
        values = [c.test.difference for c in compared if c.metric == metric]
        low, high = (round(value, 3) + 0.0 for value in (min(values), max(values)))  # + 0.0: no negative zero
        spans.append(f"{metric} {low:+.3f} to {high:+.3f}")
    if all(c.test.undefined_because for c in compared):
        return f"{', '.join(spans)}; a single split allows no test"
    significant = sum(c.significant for c in compared)
    return f"{', '.join(spans)}; {significant or 'none'} of {len(compared)} significant"


def cautions(images: BrainImages, parts: Sequence[Part], views: HeadViews) -> list[str]:
    """What the figures do not say, and what they rest on."""
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
