"""What an attacker gets back of one image from its gradient, under each protection.

    OMP_NUM_THREADS=1 python benchmarks/leakage.py

Phantom radiographs of 24 x 24 pixels; a small network with sigmoids, the attacker's best case, and a ResNet-20. Five
images are attacked. Writes results/federation/leakage.md.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from resight.cohorts import PhantomOptions
from resight.cohorts.phantom import render
from resight.federated.leakage import attack
from resight.models import ModelOptions, build_classifier

TARGET = Path(__file__).parent / "results" / "federation" / "leakage.md"
SITES, ATTACKED, SIZE_PX = 8, 5, 24


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 12, 5, stride=2, padding=2), nn.Sigmoid(), nn.Conv2d(12, 12, 5, stride=2, padding=2)]
        self.layers = nn.Sequential(*layers, nn.Sigmoid(), nn.Flatten(), nn.Linear(12 * (SIZE_PX // 4) ** 2, 1))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images / 255)


def resnet() -> nn.Module:
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 20, "width": 8, "norm": "group", "zero_init": False}
    return build_classifier(ModelOptions(backbone=backbone), labels=("finding",), channels=1, dims=2)


def pictures() -> torch.Tensor:
    options = PhantomOptions(images=200, size_px=128)
    drawn = [render(options, 5 * index).pixels for index in range(SITES + ATTACKED)]
    small = [cv2.resize(one, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA) for one in drawn]
    return torch.from_numpy(np.stack(small)[:, None].astype(np.float32))


def main() -> None:
    images = pictures()
    lines = [
        "# Gradient inversion",
        "",
        "By `benchmarks/leakage.py`: correlation with the true image given the mean of the other sites' images,",
        f"mean of {ATTACKED} attacked images (lowest to highest; one for ResNet-20); the secure sum is over {SITES}",
        "sites with one image each; noise has the clipping norm as its standard deviation. *Another site's image* is",
        "the best that an image of another site reaches without any attack: radiographs look alike.",
        "",
        "| network | seen | correlation | another site's image |",
        "|---|---|---|---|",
    ]
    for title, build, steps, count in (("small, sigmoids", Small, 500, ATTACKED), ("ResNet-20", resnet, 200, 1)):
        for protection in ("none", "clipped", "noise", "secure sum"):
            found = []
            for first in range(count):
                shown = images[first : first + SITES]
                targets = torch.tensor([[float((first + k) % 2)] for k in range(SITES)])
                found.append(attack(build(), shown, targets, protection, steps=steps, seed=first))
            values, without = [one.correlation for one in found], [one.without for one in found]
            spread = f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            lines.append(f"| {title} | {protection} | {spread} | {np.mean(without):.2f} |")
            print(lines[-1], flush=True)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
