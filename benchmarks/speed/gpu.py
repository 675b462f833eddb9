"""Row 18: training on a GPU, fed from the store, against data that lie on the card already.

    python -m benchmarks.speed.gpu

Needs a CUDA device, and says so where there is none; torchvision and MONAI are measured where they are installed.
Writes results/speed/gpu/CARD.json and .md. With `--device cpu` and small sizes the same code can be tried anywhere.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed import inputs
from benchmarks.speed.measure import RESULTS, import_torchvision, versions
from benchmarks.speed.training import our_step
from resight.models import ModelOptions, build_classifier
from resight.preprocess import Augmentation
from resight.training.data import Reader, TrainingData

FLOP_OF_AN_IMAGE = {18: 3.63e9, 50: 8.18e9}
"""Forward, at 224 px; a training step takes three times as many."""
MUST = 0.95
AUGMENTATION = Augmentation(flip=0.5, rotate_deg=10, scale=0.1, translate=0.05, gain=0.1, gamma=0.1)
Pairs = Iterator[tuple[Tensor, Tensor]]


def main(words: list[str] | None = None) -> int:
    chosen = _options(words)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: row 18 is not measured")
        return 0
    device = torch.device(chosen.device)
    torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        data = inputs.store(Path(scratch), chosen.images, (3, chosen.size, chosen.size))
        found = _planar(chosen, device, data)
    found |= _volumes(chosen, device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    _write(chosen, card, found)
    return 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--volume", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40, help="of each turn")
    parser.add_argument("--turns", type=int, default=5, help="of every candidate, one after the other")
    parser.add_argument("--images", type=int, default=20_000, help="in the store")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices that show the card's peak")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--scratch", type=Path, default=None, help="folder of the store; a fast disk")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu")
    return parser.parse_args(words)


def _planar(chosen: argparse.Namespace, device: torch.device, data: TrainingData) -> dict[str, Any]:
    steps = {name: our_step(_network(chosen.depth), device) for name in ("synthetic", "store", "store, augmented")}
    if find_spec("torchvision"):
        torchvision: Any = import_torchvision() if "+cpu" in torch.__version__ else import_module("torchvision")
        peer = getattr(torchvision.models, f"resnet{chosen.depth}")(num_classes=1).train()
        steps["torchvision, synthetic"] = our_step(_Normalised(peer), device)
    if chosen.compile:
        steps["synthetic, compiled"] = our_step(torch.compile(_network(chosen.depth)), device)
    feeds = {name: _resident(chosen, device) for name in steps if "synthetic" in name}
    feeds["store"] = _fed(chosen, device, data, None)
    feeds["store, augmented"] = _fed(chosen, device, data, AUGMENTATION)
    speeds = _in_turns(chosen, device, steps, feeds)
    peak = _peak_flops(chosen, device)
    best = np.array(speeds["synthetic"])
    shares = {name: float(np.median(np.array(each) / best)) for name, each in speeds.items()}
    work = 3 * FLOP_OF_AN_IMAGE.get(chosen.depth, float("nan")) * (chosen.size / 224) ** 2
    return {
        "images_per_s": {name: float(np.median(each)) for name, each in speeds.items()},
        "share_of_synthetic": shares,
        "matrix_tflops": peak / 1e12,
        "share_of_matrix_peak": {name: float(np.median(each)) * work / peak for name, each in speeds.items()},
    }


class _Normalised(nn.Module):
    """torchvision's network behind the normalisation of its training recipe."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images.float() - self.mean) / self.std)


def _network(depth: int, dims: int = 2) -> nn.Module:
    torch.manual_seed(0)
    options = ModelOptions(backbone={"name": "resnet", "depth": depth})
    return build_classifier(options, labels=("a",), channels=3 if dims == 2 else 1, dims=dims).train()


def _resident(chosen: argparse.Namespace, device: torch.device) -> Pairs:
    images = torch.randint(0, 256, (chosen.batch, 3, chosen.size, chosen.size), dtype=torch.uint8, device=device)
    targets = torch.randint(0, 2, (chosen.batch, 1), device=device).float()
    while True:
        yield images, targets


def _fed(chosen: argparse.Namespace, device: torch.device, data: TrainingData, changes: Augmentation | None) -> Pairs:
    reader = Reader(data, batch_size=chosen.batch, device=device, augmentation=changes, workers=chosen.workers)
    whole, epoch = len(data) - len(data) % chosen.batch, 0
    while True:
        order = np.random.default_rng(epoch).permutation(len(data))[:whole]
        yield from ((batch.images, batch.targets) for batch in reader.batches(order, epoch=epoch))
        epoch += 1


def _in_turns(chosen: argparse.Namespace, device: torch.device, steps: dict, feeds: dict) -> dict[str, list[float]]:
    """Images a second of every candidate, turn by turn; what is prepared once is done before."""
    for name, step in steps.items():
        for _ in range(3):
            step(*next(feeds[name]))
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(chosen.turns):
        for name, step in steps.items():
            step(*next(feeds[name]))  # its readers have idled while others had their turn, and are ahead by as much

            def work(step: Callable = step, feed: Pairs = feeds[name]) -> None:
                for _ in range(chosen.steps):
                    step(*next(feed))

            speeds[name].append(chosen.steps * chosen.batch / _seconds(device, work))
    return speeds


def _volumes(chosen: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    batch = max(chosen.batch // 16, 2)
    volumes = torch.randint(0, 256, (batch, 1, *[chosen.volume] * 3), dtype=torch.uint8, device=device)
    targets = torch.zeros(batch, 1, device=device)
    ours = our_step(_network(18, dims=3), device)
    works: dict[str, Callable[[], object]] = {"Resight, bf16, channels last": lambda: ours(volumes, targets)}
    if find_spec("monai"):
        from monai.networks.nets import resnet18

        peer = resnet18(spatial_dims=3, n_input_channels=1, num_classes=1).to(device).train()
        optimizer = torch.optim.AdamW(peer.parameters())

        def theirs() -> None:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.binary_cross_entropy_with_logits(peer(volumes.float() / 255), targets).backward()
            optimizer.step()

        works["MONAI, fp32"] = theirs
    for work in works.values():
        work()
    rounds = [[_seconds(device, work) for work in works.values()] for _ in range(max(chosen.turns, 3))]
    return {"volumes_per_s": dict(zip(works, (batch / np.median(rounds, axis=0)).tolist(), strict=True))}


def _peak_flops(chosen: argparse.Namespace, device: torch.device) -> float:
    left, right = torch.randn(2, chosen.matrix, chosen.matrix, device=device).bfloat16()
    best = min(_seconds(device, lambda: left @ right) for _ in range(10))
    return 2 * chosen.matrix**3 / best


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _write(chosen: argparse.Namespace, card: str, found: dict[str, Any]) -> None:
    settings = {key: value for key, value in vars(chosen).items() if key not in ("out", "scratch")}
    libraries = versions(tuple(name for name in ("resight", "torch", "torchvision", "monai") if find_spec(name)))
    lines = [
        f"### {card}",
        "",
        f"ResNet-{chosen.depth}, {chosen.size} px, batches of {chosen.batch}, bf16, channels last, AdamW; the card"
        f" multiplies bf16 matrices at {found['matrix_tflops']:.3g} TFLOP/s. From the store at least {MUST:.0%} of the"
        " synthetic speed is asked for.",
        "",
        "| images from | images/s | share of synthetic | share of the matrix peak |",
        "| --- | --- | --- | --- |",
    ]
    for name, speed in found["images_per_s"].items():
        share = found["share_of_synthetic"][name]
        short = " **(short)**" if name.startswith("store") and share < MUST else ""
        lines.append(f"| {name} | {speed:.0f} | {share:.3f}{short} | {found['share_of_matrix_peak'][name]:.3f} |")
    lines += ["", f"| 3D ResNet-18, {chosen.volume}^3, training | volumes/s |", "| --- | --- |"]
    lines += [f"| {name} | {speed:.3g} |" for name, speed in found["volumes_per_s"].items()]
    lines += ["", f"Versions: {', '.join(f'{name} {version}' for name, version in libraries.items())}."]
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / card.lower().replace(" ", "-")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {"card": card, "settings": settings, "versions": libraries, **found}
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    raise SystemExit(main())
