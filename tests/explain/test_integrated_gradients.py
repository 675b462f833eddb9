import pytest
import torch

from resight.explain import build_explainer


def test_a_linear_model_is_explained_exactly(linear_classifier):
    weights = torch.randn(2, 3, 6, 5)
    images = 255 * torch.rand(2, 3, 6, 5)
    explainer = build_explainer("integrated_gradients", steps=1, baseline="black")
    maps = explainer.explain(linear_classifier(weights), images)
    torch.testing.assert_close(maps, (weights[None] * images[:, None]).sum(dim=2), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("baseline", ["mean", "image", "black"])
def test_completeness_is_reported_and_more_steps_help(small_classifier, baseline):
    classifier, images = small_classifier(), torch.randint(0, 256, (2, 1, 24, 24), dtype=torch.uint8)
    errors = []
    for steps in (1, 64):
        explainer = build_explainer("integrated_gradients", steps=steps, baseline=baseline)
        errors.append(explainer.completeness_error(classifier, images, explainer.explain(classifier, images)))
    assert errors[0].shape == (2, 3)
    assert errors[1].max() < 0.01
    assert errors[1].mean() < 0.2 * errors[0].mean()


def test_completeness_error_of_an_empty_map(small_classifier):
    classifier, images = small_classifier(), 255 * torch.rand(1, 1, 16, 16)
    explainer = build_explainer("integrated_gradients", baseline="image")
    empty = torch.zeros(1, 3, 16, 16)
    assert torch.isinf(explainer.completeness_error(classifier, images, empty)).all()
    flat = torch.full_like(images, 128.0)  # is its own baseline
    assert torch.equal(explainer.completeness_error(classifier, flat, empty), torch.zeros(1, 3))


def test_only_integrated_gradients_promise_a_sum(small_classifier):
    classifier, images = small_classifier(), 255 * torch.rand(1, 1, 16, 16)
    assert build_explainer("gradcam").completeness_error(classifier, images, torch.zeros(1, 3, 16, 16)) is None
