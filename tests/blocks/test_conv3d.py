from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from resight.blocks import CONV, ACSConv


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
