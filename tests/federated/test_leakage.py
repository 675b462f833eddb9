"""The attack gets an image back from a bare gradient, so that its failing elsewhere says something."""

import numpy as np
import pytest
import torch
from torch import nn

from resight.errors import SettingsError
from resight.federated.leakage import Leak, Protection, attack

pytestmark = pytest.mark.slow


class Small(nn.Module):
    """Sigmoids and strides, as in the paper: the attacker's best case."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        convolutions = [nn.Conv2d(1, 12, 5, stride=2, padding=2), nn.Sigmoid()]
        convolutions += [nn.Conv2d(12, 12, 5, stride=2, padding=2), nn.Sigmoid()]
        self.layers = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(12 * 16, 1))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images / 255)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """A bright disc at another place in each image."""
    rows, columns = np.mgrid[:16, :16]
    places = [(4, 4), (11, 11), (4, 11), (11, 4), (8, 3), (3, 8)]
    discs = [np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 8) for r, c in places]
    return torch.from_numpy(255 * np.stack(discs)[:, None].astype(np.float32))


@pytest.fixture(scope="module")
def leaks(images: torch.Tensor) -> dict[Protection, Leak]:
    protections: tuple[Protection, ...] = ("none", "clipped", "noise", "secure sum")
    targets = torch.ones(len(images), 1)
    return {protection: attack(Small(), images, targets, protection, steps=250) for protection in protections}


def test_a_bare_gradient_gives_the_image_away_and_noise_does_not(leaks: dict[Protection, Leak]) -> None:
    bare, noisy = leaks["none"], leaks["noise"]
    assert bare.correlation > 0.9 > bare.without
    assert abs(noisy.correlation) < 0.4
    assert bare.psnr_db > noisy.psnr_db + 3


def test_clipping_alone_hides_nothing_as_only_the_length_changes(leaks: dict[Protection, Leak]) -> None:
    assert leaks["clipped"].correlation == pytest.approx(leaks["none"].correlation, abs=0.05)


def test_from_a_sum_over_sites_the_attack_gets_less_of_one_image(leaks: dict[Protection, Leak]) -> None:
    assert leaks["secure sum"].correlation < leaks["none"].correlation - 0.2


def test_batch_normalisation_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(SettingsError, match="batch normalisation"):
        attack(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()), images, torch.ones(6, 1), "none")
