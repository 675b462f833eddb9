from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from resight.blocks import CONV, ACSConv
from resight.blocks.conv3d import convolve


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("layer", [CONV[3], ACSConv])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_gradients_in_bf16_are_those_of_float32_on_flat_maps_too(
    layer: type[nn.Module], depth: int, kernel: int
) -> None:
    torch.manual_seed(0)
    convolution = layer(32, 32, kernel, padding=kernel // 2, bias=False)
    images = torch.randn(4, 32, depth, 4, 5)

    def gradient(*, lowered: bool) -> Tensor:
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            answer = convolution(images)
        assert answer.dtype == (torch.bfloat16 if lowered else torch.float32)
        torch.manual_seed(1)
        (answer.float() * torch.randn(answer.shape)).sum().backward()
        assert isinstance(convolution.weight.grad, Tensor)
        return convolution.weight.grad.clone()

    exact = gradient(lowered=False)
    for _ in range(3):  # what the kernel of the library read before depended on what lay in memory
        stale = [torch.full((size,), torch.nan) for size in (10**4, 10**5, 10**6)]
        del stale
        assert_close(gradient(lowered=True), exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))


@pytest.mark.parametrize("size", [(1, 2, 2), (2, 3, 2), (2, 16, 17)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 1)])
@pytest.mark.parametrize(("padding", "dilation", "groups"), [((1, 1, 1), 1, 1), ((1, 0, 2), 1, 4), ((2, 2, 2), 2, 2)])
def test_every_way_through_a_flat_map_gives_the_numbers_of_float64(
    size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    images, bias = torch.randn(2, 16, *size, requires_grad=True), torch.randn(8, requires_grad=True)
    weight = torch.randn(8, 16 // groups, 3, 3, 3, requires_grad=True)
    inputs = (images, weight, bias)
    settings = (stride, padding, (dilation,) * 3, groups)
    if padding == (1, 0, 2) and size[1] == 2:
        pytest.skip("a filter of three rows without padding does not fit on two")
    with torch.autocast("cpu", torch.bfloat16):
        answer = convolve(*inputs, *settings)
    exact = nn.functional.conv3d(*(each.double() for each in inputs), *settings)
    assert answer.dtype == torch.bfloat16
    assert answer.shape == exact.shape
    direction = torch.randn(answer.shape).bfloat16()
    found = torch.autograd.grad((answer.float() * direction.float()).sum(), inputs)
    expected = torch.autograd.grad((exact * direction.double()).sum(), inputs)
    for one, other in zip((answer, *found), (exact, *expected), strict=True):
        assert float((one.detach().double() - other.detach()).norm() / other.detach().norm()) < 0.01
