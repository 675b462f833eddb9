"""Row 16: Grad-CAM of 14 labels of one image, ResNet-50, 224 pixels."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.speed.measure import import_torchvision, one_thread, paired
from benchmarks.speed.networks import with_weights_of
from resight.explain import build_explainer
from resight.models import with_channels_last

N_LABELS = 14


def main() -> None:
    one_thread()
    torchvision = import_torchvision()
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    peer = torchvision.models.resnet50(num_classes=N_LABELS).eval()
    ours, _ = with_weights_of(peer, 50, tuple(map(str, range(N_LABELS))))
    with_channels_last(ours.eval())
    coarse = np.random.default_rng(0).integers(0, 256, (1, 3, 14, 14), dtype=np.uint8)
    image = torch.from_numpy(np.ascontiguousarray(coarse.repeat(16, axis=2).repeat(16, axis=3)))
    normalised = ours.normalise(image).detach().contiguous()
    cam = GradCAM(model=peer, target_layers=[peer.layer4[-1]])
    explainer = build_explainer("gradcam")

    def one_by_one() -> np.ndarray:
        maps = [cam(input_tensor=normalised, targets=[ClassifierOutputTarget(k)])[0] for k in range(N_LABELS)]
        return np.stack(maps)

    def in_a_batch() -> np.ndarray:
        targets = [ClassifierOutputTarget(k) for k in range(N_LABELS)]
        return cam(input_tensor=normalised.expand(N_LABELS, -1, -1, -1), targets=targets)

    def at_once() -> np.ndarray:
        return explainer.predict_and_explain(ours, image).maps[0].numpy()

    def prediction() -> np.ndarray:
        with torch.inference_mode():
            return ours(image).numpy()

    theirs, found = one_by_one(), at_once()
    paired(
        "16",
        "Grad-CAM, 14 labels of one image, ResNet-50",
        {
            "pytorch-grad-cam, 14 times": one_by_one,
            "Resight, one pass": at_once,
            "pytorch-grad-cam, the image 14 times in a batch": in_a_batch,
        },
        must=30.0,
        difference=float(np.abs(_scaled(found) - _scaled(theirs)).max()),
        tolerance=0.02,
        unit="of the largest value of a map",
        budget_s=15.0,
        libraries=("torch", "grad-cam"),
    )
    paired(
        "16b",
        "prediction alone against prediction and 14 maps",
        {"prediction": prediction, "Resight, prediction and maps": at_once},
        must=1 / 1.10,
        difference=float(np.abs(explainer.predict_and_explain(ours, image).logits[0].numpy() - prediction()[0]).max()),
        tolerance=1e-4,
        unit="logits",
        libraries=("torch",),
        note="1 / 1.10 or more: maps cost at most a tenth of the prediction",
    )


def _scaled(maps: np.ndarray) -> np.ndarray:
    low = maps.min(axis=(1, 2), keepdims=True)
    return (maps - low) / np.maximum((maps - low).max(axis=(1, 2), keepdims=True), 1e-12)


if __name__ == "__main__":
    main()
