import pytest
import torch

from resight.explain import build_explainer


@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_windows_of_one_pixel_give_each_pixels_share(linear_classifier, batch):
    weights = torch.randn(2, 3, 6, 5)
    images = 255 * torch.rand(2, 3, 6, 5)
    explainer = build_explainer("occlusion", window=0.01, stride=1.0, fill="black", batch=batch)
    maps = explainer.explain(linear_classifier(weights), images)
    torch.testing.assert_close(maps, (weights[None] * images[:, None]).sum(dim=2), rtol=1e-3, atol=5e-2)


def test_every_pixel_is_covered_also_by_a_window_as_large_as_the_image(linear_classifier):
    weights, images = torch.randn(1, 1, 7, 9), 255 * torch.rand(1, 1, 7, 9)
    classifier = linear_classifier(weights)
    for window in (1.0, 0.45, 0.3):
        maps = build_explainer("occlusion", window=window, stride=0.9).explain(classifier, images)
        assert maps.isfinite().all()
    whole = build_explainer("occlusion", window=1.0, fill="black").explain(classifier, images)
    assert whole.unique().numel() == 1
    torch.testing.assert_close(whole[0, 0, 0, 0], (weights * images).sum(), rtol=1e-3, atol=1e-2)
