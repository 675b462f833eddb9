"""One network of the degradation study: trained, its gradients watched, its blocks left out one at a time.

Sources: plain and residual networks, He et al. 2016, section 4.2; leaving blocks out at test time, Veit, Wilber and
Belongie, NeurIPS 2016, section 4.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from resight.blocks import ResidualUnit
from resight.errors import OutputError
from resight.evaluation import auroc_with_interval
from resight.experiments import ExperimentSettings
from resight.experiments.members import new_classifier
from resight.experiments.prepare import Prepared
from resight.models import Classifier, ModelOptions, choose_device
from resight.settings import write_json
from resight.training import TrainingOptions, fit, predict_logits
from resight.types import MetricValue, Progress, RowMask

RESULT_FILE = "result.json"
_GRADIENTS_FILE = "gradients.json"


@dataclass(frozen=True)
class Network:
    """One network to train.

    Attributes:
        depth: layers with weights.
        plain: without shortcuts.
        seed: of weights and order.
        width: channels of the first stage.
        checkpointed: activations are computed twice to keep fewer of them.
        images: how many training images; 0 takes all.
    """

    depth: int
    plain: bool
    seed: int
    width: int
    checkpointed: bool = False
    images: int = 0

    @property
    def kind(self) -> str:
        """`plain` or `residual`."""
        return "plain" if self.plain else "residual"

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.kind}-{self.depth}-seed{self.seed}"

    def model(self) -> ModelOptions:
        """The network as He et al. built it for small images: option A shortcuts; units do not start as the identity.

        Networks that need checkpointing are far deeper than the others and do start as the identity.
        """
        return ModelOptions(
            backbone={
                "name": "resnet",
                "depth": self.depth,
                "plain": self.plain,
                "width": self.width,
                "stem": "cifar",
                "shortcut": "pad",
                "zero_init": self.checkpointed,
                "checkpoint_stages": self.checkpointed,
            }
        )


def run_network(
    network: Network,
    settings: ExperimentSettings,
    prepared: Prepared,
    folder: Path,
    *,
    drop_blocks: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Train one network, or read what an earlier call found.

    Args:
        network: which.
        settings: recipe and training options, the same for all.
        prepared: the images.
        folder: of this run; `result.json` in it says that it is finished.
        drop_blocks: also measure the test AUROC without each block.
        progress: told after every step.

    Returns:
        `asked`, `history`, `gradients` (step, and norm of each convolution's gradient in order of depth), `test_auroc`,
        `dropped` (for each block its name and the AUROC without it), `seconds`, `parameters`.

    Raises:
        OutputError: the folder holds a run with other settings.
        TrainingError: the loss is not finite.
    """
    path = folder / RESULT_FILE
    options = settings.training.model_copy(update={"seed": network.seed})
    asked = {"network": asdict(network), "training": options.model_dump(mode="json"), "drop_blocks": drop_blocks}
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["asked"] != asked:
            raise OutputError("holds a run with other settings", where=str(folder), fix="Choose another --out.")
        return found
    folder.mkdir(parents=True, exist_ok=True)
    model = new_classifier(settings.model_copy(update={"model": network.model()}), prepared, network.seed)
    steps_per_epoch = -(-int(_training_rows(prepared, network).sum()) // options.batch_size)
    watched = GradientLog(model, gradient_steps(options.epochs, steps_per_epoch), folder / _GRADIENTS_FILE, progress)
    result = fit(
        model,
        prepared.samples(_training_rows(prepared, network)),
        prepared.samples(prepared.in_split("validation")),
        options,
        task=prepared.cohort.task,
        folder=folder / "checkpoints",
        resume=True,
        progress=watched,
    )
    found = {
        "asked": asked,
        "history": list(result.history),
        "gradients": watched.read(),
        "test_auroc": asdict(_test_auroc(model, prepared, options)),
        "dropped": _without_each_block(model, prepared, options) if drop_blocks else [],
        "seconds": round(result.seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    write_json(path, found)
    return found


def gradient_steps(epochs: int, steps_per_epoch: int) -> tuple[int, ...]:
    """The steps at which gradients are written down: first, end of the first epoch, half-way, last."""
    total = epochs * steps_per_epoch
    return tuple(sorted({1, steps_per_epoch, max(1, total // 2), total}))


class GradientLog:
    """A progress listener that writes down how large the gradient of each convolution is.

    Args:
        model: the network that is trained; its gradients must not be clipped.
        steps: steps to write down, counted from 1.
        path: file that keeps them, also when a run is interrupted.
        progress: the listener behind this one.
    """

    def __init__(self, model: nn.Module, steps: tuple[int, ...], path: Path, progress: Progress) -> None:
        self._filters = [p for name, p in model.named_parameters() if p.ndim >= 4 and "downsample" not in name]
        self._steps, self._path, self._progress = steps, path, progress

    def __call__(self, stage: str, done: int, total: int, detail: str) -> None:
        """Told after every step."""
        self._progress(stage, done, total, detail)
        if stage == "train" and done in self._steps:
            norms = [float(p.grad.norm()) for p in self._filters if p.grad is not None]
            write_json(self._path, {**{str(e["step"]): e["norms"] for e in self.read()}, str(done): norms})

    def read(self) -> list[dict[str, Any]]:
        """What was written down, first step first."""
        if not self._path.is_file():
            return []
        kept: Mapping[str, list[float]] = json.loads(self._path.read_text(encoding="utf-8"))
        return [{"step": step, "norms": kept[str(step)]} for step in sorted(map(int, kept))]


class _Shortcut(nn.Module):
    """What is left of a unit without its branch."""

    def __init__(self, unit: ResidualUnit) -> None:
        super().__init__()
        self.downsample = unit.downsample or nn.Identity()

    def forward(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """The shortcut alone; of a plain unit its input."""
        return self.downsample(images).relu()


@contextmanager
def without_block(stage: nn.Sequential, position: int) -> Iterator[None]:
    """Leave the branch of one unit out; afterwards everything is as it was."""
    unit = stage[position]
    assert isinstance(unit, ResidualUnit)
    stage[position] = _Shortcut(unit)
    try:
        yield
    finally:
        stage[position] = unit


def _without_each_block(model: Classifier, prepared: Prepared, options: TrainingOptions) -> list[dict[str, Any]]:
    """Test AUROC without each block whose input and output have one shape, or that has a shortcut."""
    stages = [stage for stage in model.backbone.children() if isinstance(stage, nn.Sequential)]
    dropped: list[dict[str, Any]] = []
    for number, stage in enumerate(stages):
        for position, unit in enumerate(stage):
            changes_shape = number > 0 and position == 0
            if isinstance(unit, ResidualUnit) and unit.plain and changes_shape:
                continue
            with without_block(stage, position):
                value = _test_auroc(model, prepared, options).value
            dropped.append({"block": f"stage {number + 1}, block {position + 1}", "auroc": value})
    return dropped


def _test_auroc(model: Classifier, prepared: Prepared, options: TrainingOptions) -> MetricValue:
    test = prepared.in_split("test")
    logits = predict_logits(
        model, prepared.samples(test), batch_size=options.batch_size, device=choose_device(options.device)
    )
    part = prepared.cohort.rows(test)
    patients = part.table["patient_id"] if "patient_id" in part.table else part.table["image"]
    owner = np.unique(patients.astype(str).to_numpy(), return_inverse=True)[1]
    return auroc_with_interval(part.targets()[:, 0], logits[:, 0], owner)


def _training_rows(prepared: Prepared, network: Network) -> RowMask:
    rows = prepared.in_split("train")
    if network.images and network.images < rows.sum():
        chosen = np.random.default_rng(network.seed).choice(np.flatnonzero(rows), network.images, replace=False)
        rows = np.zeros_like(rows)
        rows[chosen] = True
    return rows
