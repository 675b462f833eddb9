import torch

from resight.explain import build_explainer


def test_gradient_of_a_linear_model_is_its_strongest_weight(linear_classifier):
    weights = torch.randn(2, 3, 6, 5)
    maps = build_explainer("smoothgrad").explain(linear_classifier(weights), 255 * torch.rand(1, 3, 6, 5))
    torch.testing.assert_close(maps[0], weights.abs().amax(dim=1), rtol=1e-4, atol=1e-5)


def test_seed_decides_and_noise_matters(small_classifier):
    classifier, images = small_classifier(), 255 * torch.rand(1, 1, 16, 16)
    maps = [
        build_explainer("smoothgrad", samples=2, seed=seed, noise=noise).explain(classifier, images)
        for seed, noise in ((0, 0.2), (0, 0.2), (1, 0.2), (0, 0.0))
    ]
    assert torch.equal(maps[0], maps[1])
    assert not torch.allclose(maps[0], maps[2])
    assert not torch.allclose(maps[0], maps[3])
