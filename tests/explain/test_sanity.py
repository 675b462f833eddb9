import numpy as np
import pytest
import torch

from resight.explain import Explainer, build_explainer, max_sensitivity, randomisation_cascade, randomised
from resight.explain.sanity import _ssim, spearman


class Edges(Explainer):
    """Looks at the image only: what the check must expose."""

    def _explain(self, classifier, images):
        edges = images.mean(dim=1, keepdim=True).diff(dim=-1, prepend=images.mean(dim=1, keepdim=True)[..., :1]).abs()
        logits = classifier(images)
        return logits, edges.expand(-1, logits.shape[1], *images.shape[2:])


def test_cascade_exposes_an_edge_detector_and_clears_gradcam(small_classifier):
    classifier, images = small_classifier(), 255 * torch.rand(3, 1, 32, 32)
    chosen = torch.ones(3, 3, dtype=torch.bool)
    edges = randomisation_cascade(Edges(), classifier, images, chosen, steps=2)
    np.testing.assert_allclose(edges.randomised, [0.5, 1.0])
    assert edges.spearman.shape == (2, 9)
    np.testing.assert_allclose(edges.spearman, 1)
    np.testing.assert_allclose(edges.ssim, 1)
    cam = randomisation_cascade(build_explainer("gradcam"), classifier, images, chosen, steps=2)
    assert np.nanmean(np.abs(cam.spearman[-1])) < 0.7
    assert np.nanmean(cam.ssim[-1]) < 0.7


def test_randomised_goes_from_the_head_down_and_leaves_the_original(small_classifier):
    classifier = small_classifier()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}

    def changed(share):
        now = randomised(classifier, share=share).state_dict()
        return {name for name, value in now.items() if not torch.equal(value, before[name])}

    a_tenth, half, whole = changed(0.1), changed(0.5), changed(1.0)
    assert "head.fc.weight" in a_tenth
    assert "backbone.layer4.0.conv2.weight" in half
    assert "backbone.conv1.weight" not in half
    assert a_tenth < half < whole
    matrices = {name for name, value in classifier.named_parameters() if value.ndim > 1}
    assert matrices <= whole
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    again, other = randomised(classifier), randomised(classifier, seed=1)
    assert torch.equal(again.head.fc.weight, randomised(classifier, share=0.1).head.fc.weight)
    assert not torch.equal(again.head.fc.weight, other.head.fc.weight)
    for name, value in again.named_parameters():  # knowledge goes, the usual range of activations stays
        if value.numel() > 500:
            assert value.detach().std().item() == pytest.approx(before[name].std().item(), rel=0.15), name


def test_spearman_and_ssim_of_known_maps(rng):
    a = rng.random((20, 20))
    assert spearman(a, np.exp(3 * a)) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert abs(spearman(a, rng.random((20, 20)))) < 0.2
    assert _ssim(a, 5 * a + 2) == pytest.approx(1)
    assert _ssim(a, 1 - a) < 0
    assert np.isnan(spearman(a, np.ones((20, 20))))
    assert np.isnan(_ssim(np.zeros((20, 20)), a))


def test_max_sensitivity_of_a_linear_model(linear_classifier):
    weights, images = torch.randn(2, 1, 6, 6), 255 * torch.rand(2, 1, 6, 6)
    classifier, noise = linear_classifier(weights), 5 * torch.randn(4, 2, 1, 6, 6)
    gradient = max_sensitivity(build_explainer("smoothgrad"), classifier, images, noise)
    torch.testing.assert_close(gradient, torch.zeros(2, 2), rtol=0, atol=1e-4)
    explainer = build_explainer("integrated_gradients", steps=1, baseline="black")
    ours = max_sensitivity(explainer, classifier, images, noise)
    changes = (weights[:, 0] * noise).flatten(3).norm(dim=3)  # (R, B, L) by broadcasting the channel
    size = (weights[:, 0] * images).flatten(2).norm(dim=2)
    torch.testing.assert_close(ours, (changes / size).amax(dim=0), rtol=1e-3, atol=1e-4)
