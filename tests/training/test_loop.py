"""The loop learns, stops when it should, and comes back from any kill with the same bits."""

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from resight.errors import OutputError, SettingsError, TrainingError
from resight.preprocess import Augmentation
from resight.training import TrainingOptions, fit
from resight.training.checkpoint import load_checkpoint, save_checkpoint
from resight.training.data import Reader, TrainingData

SCRIPT = Path(__file__).with_name("kill_me.py")


@pytest.fixture(scope="module")
def small() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_me", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "best.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def fit_small(small: ModuleType, folder: Path, train: TrainingData | None = None, **options: object):
    torch.manual_seed(7)
    settings = TrainingOptions(**{"epochs": 6, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32", **options})
    data, validation = small.tiny_data(64, 0) if train is None else train, small.tiny_data(32, 1)
    return fit(small.TinyNet(), data, validation, settings, task="binary", folder=folder)


def test_it_learns_and_keeps_the_best_epoch(small: ModuleType, tmp_path: Path) -> None:
    result = fit_small(small, tmp_path)
    assert result.best_value > 0.95
    assert result.selected_by == "auroc"
    assert len(result.history) == 6
    assert result.best_value == max(entry["validation_auroc"] for entry in result.history)
    assert result.history[-1]["loss"] < result.history[0]["loss"]


@pytest.mark.parametrize("kill_after_s", [0.05, 0.3, 0.7])
def test_killed_and_resumed_gives_the_bits_of_an_undisturbed_run(
    small: ModuleType, tmp_path: Path, kill_after_s: float
) -> None:
    small.train(tmp_path / "whole", resume=False)
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder)], stdout=subprocess.PIPE)
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while not (folder / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(kill_after_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    _, state = load_checkpoint(folder / "last.safetensors")
    assert (state["epoch"], state["step"]) < (4, 0), "killed too late to prove anything"
    small.train(folder, resume=True)
    assert same(weights(tmp_path / "whole"), weights(folder))


def test_interrupted_between_two_checkpoints_gives_the_same_bits(small: ModuleType, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int, detail: str) -> None:
        if done == 11:
            raise KeyboardInterrupt

    options = TrainingOptions(epochs=3, batch_size=8, deterministic=True)
    torch.manual_seed(7)
    data, validation = small.tiny_data(64, 0), small.tiny_data(32, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(small.TinyNet(), data, validation, options, task="binary", folder=tmp_path / "a", progress=interrupt)
    fit(small.TinyNet(), data, validation, options, task="binary", folder=tmp_path / "a", resume=True)
    torch.manual_seed(7)
    fit(small.TinyNet(), data, validation, options, task="binary", folder=tmp_path / "b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.slow
def test_reading_processes_change_nothing(small: ModuleType, tmp_path: Path) -> None:
    fit_small(small, tmp_path / "here", epochs=1, deterministic=True)
    fit_small(small, tmp_path / "there", epochs=1, deterministic=True, workers=2)
    assert same(weights(tmp_path / "here"), weights(tmp_path / "there"))


def test_training_turns_volumes_in_millimetres() -> None:
    augmentation = Augmentation(tilt_deg=40.0)
    volume = np.random.default_rng(0).integers(0, 255, (1, 8, 24, 24), dtype=np.uint8)
    seen = {}
    for spacing in (None, (6.0, 2.0, 2.0)):
        data = TrainingData(
            [volume], np.zeros(1, int), np.zeros((1, 1)), np.ones((1, 1), bool), ("a",), spacing_mm=spacing
        )
        reader = Reader(data, batch_size=1, device=torch.device("cpu"), augmentation=augmentation, seed=3)
        (batch,) = reader.batches(np.zeros(1, int))
        seen[spacing] = batch.images[0].numpy()
    drawn = augmentation.sample(np.random.default_rng((3, 0, 0)), volume.shape)
    assert (seen[(6.0, 2.0, 2.0)] == augmentation.apply(volume, drawn, spacing=(3.0, 1.0, 1.0))).all()
    assert (seen[None] != seen[(6.0, 2.0, 2.0)]).any()


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path, small: ModuleType) -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Linear(256, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(images.float().flatten(1) / 255)

    data = small.tiny_data(64, 0)
    some_unknown = data.mask.copy()
    some_unknown[::3] = False
    data = TrainingData(data.store, data.rows, np.where(some_unknown, data.targets, np.nan), some_unknown, data.names)
    result = []
    for accumulate in (1, 4):
        torch.manual_seed(3)
        options = TrainingOptions(epochs=2, batch_size=16, accumulate=accumulate, optimizer="sgd", precision="fp32")
        model = Plain()
        fit(model, data, small.tiny_data(32, 1), options, task="binary", folder=tmp_path / str(accumulate))
        result.append(model.last.weight.detach().clone())
    torch.testing.assert_close(result[0], result[1], rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_batch(small: ModuleType, tmp_path: Path) -> None:
    class Broken(small.TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * float("nan")

    options = TrainingOptions(epochs=1, batch_size=8)
    with pytest.raises(TrainingError, match=r"not finite in epoch 1, step 1 \(images 0-"):
        fit(Broken(), small.tiny_data(16, 0), small.tiny_data(8, 1), options, task="binary", folder=tmp_path)
    assert load_file(tmp_path / "bad_batch.safetensors")["images"].shape == (8, 1, 16, 16)


def test_one_class_in_validation_falls_back_to_the_loss(small: ModuleType, tmp_path: Path) -> None:
    validation = small.tiny_data(16, 1)
    constant = np.ones_like(validation.targets)
    validation = TrainingData(validation.store, validation.rows, constant, constant > 0, validation.names)
    options = TrainingOptions(epochs=2, batch_size=8)
    result = fit(small.TinyNet(), small.tiny_data(32, 0), validation, options, task="binary", folder=tmp_path)
    assert result.selected_by == "loss"
    assert all(entry["validation_auroc"] is None for entry in result.history)


def test_patience_stops_early(small: ModuleType, tmp_path: Path) -> None:
    result = fit_small(small, tmp_path, epochs=200, patience=2)
    assert len(result.history) < 60
    assert len(result.history) - 1 - result.best_epoch == 2


def test_no_images_is_one_clear_line(small: ModuleType, tmp_path: Path) -> None:
    nothing = TrainingData([], np.arange(0), np.empty((0, 1)), np.empty((0, 1), bool), ())
    with pytest.raises(TrainingError, match="there are no training images"):
        fit_small(small, tmp_path, train=nothing)


def test_an_absent_device_is_named(small: ModuleType, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SettingsError, match="'cuda' is not available"):
        fit_small(small, tmp_path, device="cuda")


def test_resuming_another_network_is_refused(small: ModuleType, tmp_path: Path) -> None:
    fit_small(small, tmp_path, epochs=1)
    torch.manual_seed(0)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 1))
    options = TrainingOptions(epochs=2, batch_size=8)
    with pytest.raises(TrainingError, match="belongs to another network"):
        fit(other, small.tiny_data(8, 0), small.tiny_data(8, 1), options, task="binary", folder=tmp_path, resume=True)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"half of a file")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "last.safetensors")


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, {"a": torch.ones(3)}, {"epoch": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resight.training.checkpoint.save_file", full)
    with pytest.raises(OutputError, match="the disk is full"):
        save_checkpoint(path, {"a": torch.zeros(3)}, {"epoch": 2})
    tensors, state = load_checkpoint(path)
    assert state == {"epoch": 1}
    assert torch.equal(tensors["a"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]
