"""Rows 11 and 12: augmentation of volumes, and a 3D ResNet-18."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.measure import import_torchvision, one_thread, paired
from benchmarks.speed.networks import with_weights_of
from resight.models import (
    Classifier,
    Manifest,
    ModelOptions,
    Predictor,
    autocast,
    channels_last,
    export_bundle,
    save_bundle,
    with_channels_last,
)
from resight.preprocess import Augmentation, Recipe
from resight.training import TrainingOptions
from resight.training.schedule import build_optimizer

FINE, COARSE = (128, 128, 128), (64, 64, 64)


def main() -> None:
    one_thread()
    import_torchvision()
    _augmentation()
    volumes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, *COARSE), dtype=np.uint8))
    _forward(volumes)
    _training_step(volumes)


def _augmentation() -> None:
    from monai.transforms import Compose, RandAffine, Resize

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (1, 16, 16, 16), dtype=np.uint8)
    volume = coarse.repeat(8, 1).repeat(8, 2).repeat(8, 3)
    turn = np.deg2rad(10)
    moved = RandAffine(
        prob=1.0,
        rotate_range=(turn, turn, turn),
        scale_range=0.1,
        translate_range=6,
        padding_mode="zeros",
        mode="bilinear",
    )
    monai = Compose([moved, Resize(COARSE)])
    at_once = Compose([moved, Resize(COARSE, mode="trilinear")], lazy=True)  # one resampling by both matrices
    floats = torch.from_numpy(volume).float()
    augmentation = Augmentation(rotate_deg=10, tilt_deg=10, scale=0.1, translate=0.05)

    def ours() -> np.ndarray:
        return augmentation.apply(volume, augmentation.sample(rng, volume.shape), COARSE)

    still = Augmentation()
    unmoved = still.apply(volume, still.sample(rng, volume.shape), COARSE)
    plain = np.asarray(Resize(COARSE, mode="trilinear", align_corners=False)(floats))
    paired(
        "11",
        "random affine, 128^3 voxels to 64^3",
        {
            "MONAI RandAffine, Resize": lambda: monai(floats),
            "Resight": ours,
            "MONAI, both in one lazy resampling": lambda: at_once(floats),
        },
        must=10.0,
        difference=float(np.abs(unmoved - plain).mean()),
        tolerance=1.0,
        unit="grey levels on average, without any move",
        libraries=("monai", "opencv-python-headless"),
        note="each draws its own random move of the same size",
    )


def _peer() -> nn.Module:
    from monai.networks.nets import resnet18

    torch.manual_seed(0)
    return resnet18(
        spatial_dims=3, n_input_channels=1, num_classes=1, conv1_t_stride=2, shortcut_type="B", bias_downsample=False
    )


def _forward(volumes: Tensor) -> None:
    peer = _peer().eval()
    ours, options = with_weights_of(peer, 18, ("finding",), channels=1, dims=3)
    served = _exported(ours, options)
    mean, std = (values.view(1, 1, 1, 1, 1) for values in (ours.mean, ours.std))

    def theirs() -> np.ndarray:
        with torch.inference_mode():
            return peer((volumes.float() / 255 - mean) / std).numpy()

    def forward() -> np.ndarray:
        return served.logits(volumes.numpy())

    expected = theirs()
    paired(
        "12",
        "3D ResNet-18, 64^3, batch 2, forward, OpenVINO bf16",
        {"MONAI, fp32": theirs, "Resight": forward},
        must=2.0,
        difference=float(np.abs(forward() - expected).max() / np.abs(expected).max()),
        tolerance=0.05,
        unit="of the largest logit",
        libraries=("torch", "monai", "openvino"),
    )


def _training_step(volumes: Tensor) -> None:
    peer = _peer().train()
    ours, _ = with_weights_of(peer, 18, ("finding",), channels=1, dims=3)
    with_channels_last(ours.train())
    other = copy.deepcopy(peer).to(memory_format=torch.channels_last_3d)
    mean, std = (values.clone().view(1, 1, 1, 1, 1) for values in (ours.mean, ours.std))
    descent = TrainingOptions(optimizer="sgd", learning_rate=1e-3, momentum=0.0, weight_decay=0.0)
    optimizer = build_optimizer(ours, descent)

    def theirs(network: nn.Module, *, bf16: bool) -> Callable[[], float]:
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
        order = torch.channels_last_3d if bf16 else torch.contiguous_format

        def step() -> float:
            optimizer.zero_grad()
            inputs = ((volumes.float() / 255 - mean) / std).contiguous(memory_format=order)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(inputs)
            loss = logits.float().square().mean()
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def our_step() -> float:
        optimizer.zero_grad()
        with autocast("bf16", torch.device("cpu")):
            logits = ours(channels_last(volumes))
        loss = logits.float().square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    def weights_alone() -> None:
        """What a step does to the weights whatever the format: to bf16, a gradient back to fp32, the update."""
        for weight in ours.parameters():
            weight.grad = None
            weight.grad = weight.detach().bfloat16().float()
        optimizer.step()

    their_step = theirs(peer, bf16=False)
    losses = their_step(), our_step()  # the same weights still
    paired(
        "12b",
        "3D ResNet-18, 64^3, batch 2, training step, bf16, channels last",
        {
            "MONAI, fp32": their_step,
            "Resight": our_step,
            "MONAI, bf16, channels last": theirs(other, bf16=True),
            "weights alone: to bf16, back, update": weights_alone,
        },
        must=1.7,
        difference=abs(losses[0] - losses[1]) / losses[0],
        tolerance=0.02,
        unit="of the first loss",
        libraries=("torch", "monai"),
        note="PyTorch's bf16 gradient is wrong for the last maps, which are flatter than their filter, and MONAI's"
        " with it",
    )


def _exported(network: Classifier, options: ModelOptions) -> Predictor:
    """The same network in a bundle, through the engine."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle, recipe = Path(scratch) / "bundle", Recipe(size_px=COARSE)
        save_bundle(bundle, network, Manifest(labels=("finding",), task="binary", recipe=recipe, model=options))
        export_bundle(bundle, "openvino", "bf16")
        return Predictor.load(bundle, engine="openvino", precision="bf16")


if __name__ == "__main__":
    main()
