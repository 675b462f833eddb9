"""What the degradation study says: tables and sentences, all from the numbers of the runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resight.protocols.study import NOT_OURS, Figure, Row
from resight.types import MetricValue

KINDS = ("plain", "residual")
QUESTION = (
    "Does a network get worse when it gets deeper, and do shortcuts prevent it? The review says that residual networks "
    "mitigate the vanishing gradient. He et al. (2016, section 4.1) say otherwise: batch normalisation keeps gradients "
    "from vanishing, and what shortcuts cure is degradation, a training error that grows with depth."
)
_PUBLISHED = (
    ("residual, 110 layers", Figure("6.43 %", "He et al. 2016", "remembered")),
    ("residual, 110 layers", Figure("6.41 %", "README of Stochastic Depth, Huang et al. 2016", "read")),
    ("residual, 110 layers, stochastic depth", Figure("5.25 %", "README of Stochastic Depth", "read")),
)

_VANISHING = 0.1
"""Below a tenth from the last to the first convolution we speak of vanishing."""
_EXPLODING = 1_000
"""Above a thousandfold, of exploding."""
_TINY = 1e-12
"""Stands for a gradient that is 0, of which there is neither a ratio nor a logarithm."""


@dataclass(frozen=True)
class Found:
    """Results of all runs.

    Attributes:
        runs: what `run_network` returned for every plain and residual network.
        deepest: the same for the very deep network; None where it was not asked for.
        memory: what `measure_memory` returned.
    """

    runs: tuple[Mapping[str, Any], ...]
    deepest: Mapping[str, Any] | None
    memory: tuple[Mapping[str, Any], ...]

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that were compared, rising."""
        return tuple(sorted({run["asked"]["network"]["depth"] for run in self.runs}))

    def of(self, kind: str, depth: int) -> list[Mapping[str, Any]]:
        """The runs of one kind and depth, by seed."""
        wanted = (kind == "plain", depth)
        networks = [(run["asked"]["network"], run) for run in self.runs]
        return [run for network, run in networks if (network["plain"], network["depth"]) == wanted]

    @property
    def seeds(self) -> int:
        """How many networks there are of each kind and depth."""
        return len(self.of(KINDS[0], self.depths[0]))

    def over_seeds(self, kind: str, depth: int, value: Callable[[Mapping[str, Any]], float]) -> MetricValue:
        """Mean of a figure over the seeds, with the range as interval."""
        values = [value(run) for run in self.of(kind, depth)]
        return MetricValue(statistics.fmean(values), min(values), max(values), len(values), interval="range over seeds")


def last_loss(run: Mapping[str, Any]) -> float:
    """Training loss of the last epoch."""
    return run["history"][-1]["loss"]


def tables(found: Found) -> dict[str, list[Row]]:
    """Heading -> rows."""
    some = found.runs[0]["asked"]["training"]["epochs"]
    over = "one seed" if found.seeds == 1 else "mean and range over seeds"
    made = {
        f"Training loss of the last of {some} epochs ({over})": _rows(found, "training loss", last_loss),
        f"AUROC on test images ({'95 % by patient' if found.seeds == 1 else over})": _auroc_rows(found),
        f"Gradient of the first convolution over that of the last, decimal logarithm ({over})": [
            *_rows(found, "first step", lambda run: _log_ratio(run, 0)),
            *_rows(found, "last step", lambda run: _log_ratio(run, -1)),
        ],
        "Test AUROC lost when one block is left out": _dropped_rows(found),
        "Peak memory of a training process (GB)": [
            Row(
                f"residual, {entry['depth']} layers",
                "checkpointed" if entry["checkpointed"] else "every activation kept",
                MetricValue(entry["peak_gb"]),
                note=f"{entry['idle_gb']:.2f} GB before the network; batch of {entry['batch_size']}, "
                f"{entry['seconds']:.1f} s a step",
            )
            for entry in found.memory
        ],
    }
    if found.deepest:
        made["The deepest network"] = _deepest_rows(found.deepest)
    made["Published: test error on CIFAR-10 (other images, other metric; not comparable)"] = [
        Row(what, "error, CIFAR-10", published=(figure,), absent=NOT_OURS) for what, figure in _PUBLISHED
    ]
    return {heading: rows for heading, rows in made.items() if rows}


def conclude(found: Found) -> tuple[str, ...]:
    """The sentences that the numbers allow."""
    sentences = [_about_depth(found, kind) for kind in KINDS]
    sentences += [_about_deepest(found), _about_gradients(found), *_about_blocks(found)]
    if found.deepest:
        losses = [epoch["loss"] for epoch in found.deepest["history"]]
        depth, images = (found.deepest["asked"]["network"][key] for key in ("depth", "images"))
        verb = "trains" if losses[-1] < losses[0] else "did not learn in this time"
        sentences.append(
            f"A residual network of {depth} layers {verb}: loss {losses[0]:.3f} in the first epoch, {losses[-1]:.3f} "
            f"in epoch {len(losses)}, on {images} images. That says nothing about whether it is a good choice."
        )
    sentences += _about_memory(found)
    sentences.append(
        "The runs are short and the images few and small: they show what happens within this budget, with equal "
        "settings for both kinds. A network that falls behind here might catch up with more epochs or other settings."
    )
    return tuple(sentences)


def _rows(found: Found, metric: str, value: Callable[[Mapping[str, Any]], float]) -> list[Row]:
    """The figure of every network; that of a single seed has no range."""
    figures = {(k, d): found.over_seeds(k, d, value) for k in KINDS for d in found.depths}
    alone = found.seeds == 1
    return [
        Row(f"{kind}, {depth} layers", metric, MetricValue(figure.value, n=1) if alone else figure)
        for (kind, depth), figure in figures.items()
    ]


def _auroc_rows(found: Found) -> list[Row]:
    """Range over seeds, or the interval over patients where there is one seed."""
    metric = "AUROC, test"
    if found.seeds > 1:
        return _rows(found, metric, lambda run: run["test_auroc"]["value"])
    return [
        Row(f"{kind}, {depth} layers", metric, MetricValue(**found.of(kind, depth)[0]["test_auroc"]))
        for kind in KINDS
        for depth in found.depths
    ]


def _log_ratio(run: Mapping[str, Any], entry: int) -> float:
    """Gradient of the first convolution over that of the last, decimal logarithm."""
    norms = run["gradients"][entry]["norms"]
    return math.log10(max(norms[0], _TINY) / max(norms[-1], _TINY))


def _ratio(found: Found, kind: str, depth: int, entry: int) -> float:
    """The same ratio, its geometric mean over the seeds."""
    return 10 ** found.over_seeds(kind, depth, lambda run: _log_ratio(run, entry)).value


def _dropped_rows(found: Found) -> list[Row]:
    rows: list[Row] = []
    for run in found.runs:
        lost = _lost(run)
        if not lost:
            continue
        network = run["asked"]["network"]
        what = f"{'plain' if network['plain'] else 'residual'}, {network['depth']} layers"
        worst = max(lost, key=lambda block: lost[block])
        note = f"whole network: AUROC {run['test_auroc']['value']:.3f}"
        mean = MetricValue(statistics.fmean(lost.values()), min(lost.values()), max(lost.values()), len(lost))
        rows.append(Row(what, "mean over blocks, with range", mean, note=note))
        rows.append(Row(what, f"worst: {worst}", MetricValue(lost[worst])))
    return rows


def _lost(run: Mapping[str, Any]) -> dict[str, float]:
    whole = run["test_auroc"]["value"]
    return {entry["block"]: whole - entry["auroc"] for entry in run["dropped"]}


def _deepest_rows(run: Mapping[str, Any]) -> list[Row]:
    what = f"residual, {run['asked']['network']['depth']} layers, checkpointed"
    note = f"{run['parameters'] / 1e6:.1f} M parameters, {run['seconds']:.0f} s"
    return [
        Row(what, f"training loss, epoch {number}", MetricValue(epoch["loss"]), note=note)
        for number, epoch in enumerate(run["history"], start=1)
    ] + [Row(what, "AUROC, test", MetricValue(**run["test_auroc"]), note="95 % by patient")]


def _about_depth(found: Found, kind: str) -> str:
    shallow, deep = found.depths[0], found.depths[-1]
    first, last = (found.over_seeds(kind, depth, last_loss) for depth in (shallow, deep))
    sure = f"with each of {first.n} seeds"
    if last.low > first.high:
        verdict = "degrades: its training loss ends higher"
    elif last.high < first.low:
        verdict = "gains from depth: its training loss ends lower"
    else:
        verdict, sure = "shows no difference beyond that between seeds", f"ranges of {first.n} seeds overlap"
    sure = sure if first.n > 1 else "one seed, so chance is not ruled out"
    return (
        f"From {shallow} to {deep} layers the {kind} network {verdict} ({first.value:.3f} against {last.value:.3f} "
        f"after {len(found.runs[0]['history'])} epochs; {sure})."
    )


def _about_deepest(found: Found) -> str:
    deep = found.depths[-1]
    losses = {kind: found.over_seeds(kind, deep, last_loss).value for kind in KINDS}
    return (
        f"At {deep} layers the plain network ends at {losses['plain']:.3f} and the residual one at "
        f"{losses['residual']:.3f}; guessing gives {math.log(2):.3f}."
    )


def _about_gradients(found: Found) -> str:
    deep = found.depths[-1]
    first, last = ({kind: _ratio(found, kind, deep, entry) for kind in KINDS} for entry in (0, -1))
    sentence = (
        f"In the plain network of {deep} layers the gradient of the first convolution is {first['plain']:.3g} times "
        f"that of the last at the first step of training, and {last['plain']:.3g} times at the last step (residual: "
        f"{first['residual']:.3g} and {last['residual']:.3g})."
    )
    if first["plain"] > _EXPLODING:
        sentence += " It begins by exploding with depth, which is not the healthy norm that He et al. report."
    if last["plain"] < _VANISHING:
        sentence += " By the end it has vanished, so for this network the review's word is not wrong."
    if healthy := [str(depth) for depth in found.depths[1:] if _worse_with_gradients(found, depth)]:
        sentence += (
            f" At {' and '.join(healthy)} layers the plain network already ends worse than at {found.depths[0]}, "
            "though its gradients vanish neither at the first nor at the last step: that is degradation."
        )
    return sentence


def _worse_with_gradients(found: Found, depth: int) -> bool:
    shallow, deep = (found.over_seeds("plain", d, last_loss) for d in (found.depths[0], depth))
    return deep.low > shallow.high and min(_ratio(found, "plain", depth, entry) for entry in (0, -1)) >= _VANISHING


def _about_blocks(found: Found) -> list[str]:
    lost = {run["asked"]["network"]["plain"]: list(_lost(run).values()) for run in found.runs if run["dropped"]}
    if len(lost) < len(KINDS):
        return []
    plain, residual = (statistics.fmean(lost[is_plain]) for is_plain in (True, False))
    return [
        f"Leaving one block out costs {residual:.3f} of AUROC on average in the residual network and {plain:.3f} in "
        f"the plain one (worst block {max(lost[False]):.3f} and {max(lost[True]):.3f}): this is how far later blocks "
        "get with the features of earlier ones. A plain network that has learned little has little to lose."
    ]


def _about_memory(found: Found) -> list[str]:
    deep = max((entry["depth"] for entry in found.memory), default=0)
    pair = {e["checkpointed"]: e["peak_gb"] - e["idle_gb"] for e in found.memory if e["depth"] == deep}
    if len(pair) < len(KINDS):
        return []
    return [
        f"At {deep} layers a training step needs {pair[True]:.2f} GB above the idle process with checkpointing and "
        f"{pair[False]:.2f} GB without."
    ]
