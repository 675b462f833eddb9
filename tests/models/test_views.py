"""The eight views of an image, and answers averaged over them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resight.models import N_VIEWS, AveragedViews, view


def test_the_views_are_the_eight_symmetries_of_a_square() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    views = {tuple(view(image, number).flatten().tolist()) for number in range(N_VIEWS)}
    turned = {
        tuple(torch.rot90(start, quarter, (2, 3)).flatten().tolist())
        for start in (image, image.flip(3))
        for quarter in range(4)
    }
    assert views == turned
    assert len(views) == N_VIEWS


def test_the_first_four_fit_any_shape_and_single_images() -> None:
    image = torch.rand(3, 4, 6)
    assert all(view(image, number).shape == image.shape for number in range(4))
    assert torch.equal(view(image, 3), torch.rot90(image, 2, (1, 2)))


@pytest.mark.parametrize("number", range(N_VIEWS))
def test_averaged_answers_do_not_depend_on_how_the_image_lies(number: int) -> None:
    torch.manual_seed(0)
    network = AveragedViews(nn.Sequential(nn.Flatten(), nn.Linear(3 * 25, 2)))
    images = torch.rand(4, 3, 5, 5)
    torch.testing.assert_close(network(view(images, number)), network(images))


def test_one_view_is_the_network_itself() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    images = torch.rand(2, 3, 2, 2)
    assert torch.equal(AveragedViews(network, [0])(images), network(images))
