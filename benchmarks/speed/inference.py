"""Rows 1 to 3: ResNet-50 at 224 pixels, fp32, bf16 and int8, through a bundle; PyTorch eager is 1."""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.measure import import_torchvision, one_thread, paired
from benchmarks.speed.networks import with_weights_of
from resight.models import Manifest, Predictor, export_bundle, save_bundle
from resight.preprocess import Recipe

LABELS = tuple(f"finding {i}" for i in range(14))
LIBRARIES = ("torch", "torchvision", "timm", "onnxruntime", "openvino", "nncf")


def main(rows: tuple[str, ...]) -> None:
    one_thread()
    torchvision = import_torchvision()
    import timm

    torch.manual_seed(0)
    peer = torchvision.models.resnet50(num_classes=len(LABELS)).eval()
    ours, options = with_weights_of(peer, 50, LABELS)
    other = timm.create_model("resnet50", num_classes=len(LABELS)).eval()
    other.load_state_dict(peer.state_dict())
    rng = np.random.default_rng(0)
    images = {n: _pictures(rng, n) for n in (1, 16)}
    eager = {n: _eager(peer, ours, batch) for n, batch in images.items()}
    by_timm = _eager(other, ours, images[1])
    assert np.allclose(by_timm(), eager[1](), rtol=1e-3, atol=1e-4)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        save_bundle(
            bundle,
            ours.eval(),
            Manifest(labels=LABELS, task="multilabel", recipe=Recipe(size_px=(224, 224), channels=3), model=options),
        )
        calibration = list(_pictures(rng, 64))
        precisions = {"01": "fp32", "02": "bf16", "03": "int8"}
        for row in rows:
            precision = precisions[row]
            kinds = ("openvino", "onnx") if precision == "fp32" else ("openvino",)
            for kind in kinds:
                export_bundle(bundle, kind, precision, calibration=calibration)
            engines = {kind: Predictor.load(bundle, engine=kind, precision=precision) for kind in kinds}
            if precision != "int8":
                engines["torch"] = Predictor.load(bundle, engine="torch", precision=precision)
            direct = _direct(bundle, precision, images[1])
            for size, batch in images.items():
                more = {"timm eager fp32": by_timm} if (precision, size) == ("fp32", 1) else {}
                _row(row, precision, size, batch, eager[size], engines, direct, more)


def _row(row, precision, size, batch, eager, engines, direct, more) -> None:
    expected = eager()
    answers = engines["openvino"].logits(batch)
    scale = float(np.abs(expected - expected.mean(axis=0)).max()) if size > 1 else float(np.abs(expected).max())
    candidates = {"torch eager fp32": eager, "Resight, OpenVINO": lambda: engines["openvino"].logits(batch)}
    for name, engine in engines.items():
        if name != "openvino":
            candidates[f"Resight, {name}"] = lambda engine=engine: engine.logits(batch)
    candidates["OpenVINO directly"] = lambda: direct(batch)
    candidates |= more
    times = {}
    if size > 1 and precision != "fp32":
        name = "one matrix product of as many operations"
        candidates[name], times[name] = _product(precision), size
    must = {("01", 1): 1.5, ("02", 1): 3.0, ("03", 1): 5.5, ("03", 16): 7.0}
    paired(
        row if size == 1 else f"{row}b",
        f"ResNet-50, 224 px, {precision}, batch {size}",
        candidates,
        times=times,
        must=must.get((row, size)),
        difference=float(np.abs(answers - expected).max()) / scale,
        tolerance={"fp32": 1e-3, "bf16": 0.1, "int8": 0.5}[precision],
        unit="of the largest logit" if size == 1 else "of the spread of logits",
        budget_s=8.0,
        libraries=LIBRARIES,
        note="random weights; what bf16 and int8 cost a trained network stands under precision",
    )


def _product(precision: str):
    """Of two square matrices, with the 8.18 billion operations of one image: what the arithmetic alone costs here."""
    side = 1600
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(-127, 128, (2, side, side), dtype=torch.int8, generator=generator)
    if precision == "int8":
        return lambda: torch._int_mm(whole[0], whole[1])
    left, right = whole.bfloat16()
    return lambda: left @ right


def _pictures(rng: np.random.Generator, count: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (count, 3, 14, 14), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, axis=2).repeat(16, axis=3))


def _eager(peer: torch.nn.Module, ours, batch: np.ndarray):
    mean, std = (copy.deepcopy(values).view(1, 3, 1, 1) for values in (ours.mean, ours.std))

    def run() -> np.ndarray:
        with torch.inference_mode():
            return peer((torch.from_numpy(batch).float() / 255 - mean) / std).double().numpy()

    return run


def _direct(bundle: Path, precision: str, example: np.ndarray):
    """The exported file in OpenVINO without Resight, compiled for each batch size by itself."""
    import openvino

    compiled = {}

    def run(batch: np.ndarray) -> np.ndarray:
        if len(batch) not in compiled:
            core = openvino.Core()
            model = core.read_model(bundle / "engines" / f"openvino-{precision}" / "model.xml")
            model.reshape(batch.shape)
            hint = "bf16" if precision == "bf16" else "f32"
            settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
            compiled[len(batch)] = core.compile_model(model, "CPU", settings)
        return compiled[len(batch)](batch)[0]

    run(example)
    return run


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or ("01", "02", "03"))
