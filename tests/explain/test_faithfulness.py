import numpy as np
import pytest
import torch

from resight.explain import Explainer, build_explainer, infidelity, perturbation_curves, road
from resight.explain.faithfulness import _interpolated


def _all(maps):
    return torch.ones(maps.shape[:2], dtype=torch.bool)


def test_curves_of_a_linear_model_are_its_partial_sums(linear_classifier):
    weights = torch.tensor([[[[0.01, -0.02], [0.03, 0.005]]]])
    images = torch.tensor([[[[100.0, 50.0], [20.0, 200.0]]]])
    share = weights * images  # 1, -1, 0.6, 1
    curves = perturbation_curves(linear_classifier(weights), images, share, _all(share), fill="black", steps=4)
    np.testing.assert_allclose(curves.share, [0, 0.25, 0.5, 0.75, 1])
    deletion = torch.sigmoid(torch.tensor([1.6, 0.6, -0.4, -1.0, 0.0]) + 0.3)
    insertion = torch.sigmoid(torch.tensor([0.0, 1.0, 2.0, 2.6, 1.6]) + 0.3)
    np.testing.assert_allclose(curves.deletion[0], deletion, rtol=1e-5)
    np.testing.assert_allclose(curves.insertion[0], insertion, rtol=1e-5)
    np.testing.assert_allclose(curves.deletion_auc, np.trapezoid(deletion, dx=0.25), rtol=1e-5)
    np.testing.assert_allclose(curves.gain, curves.insertion_auc - curves.deletion_auc)
    assert curves.gain[0] > 0


def test_only_chosen_pairs_are_scored_in_order(linear_classifier):
    weights, images = torch.randn(3, 1, 6, 6) / 100, 255 * torch.rand(4, 1, 6, 6)
    classifier, maps = linear_classifier(weights), torch.rand(4, 3, 6, 6)
    whole = perturbation_curves(classifier, images, maps, _all(maps), task="multiclass", steps=3, batch=3)
    chosen = torch.zeros(4, 3, dtype=torch.bool)
    chosen[1, 2] = chosen[3, 0] = True
    part = perturbation_curves(classifier, images, maps, chosen, task="multiclass", steps=3)
    np.testing.assert_allclose(part.deletion, whole.deletion[[5, 9]], rtol=1e-5)
    with torch.no_grad():
        first = classifier(images).softmax(dim=1)[chosen]
    np.testing.assert_allclose(part.deletion[:, 0], first, rtol=1e-5)
    np.testing.assert_allclose(part.insertion[:, -1], first, rtol=1e-5)
    none = perturbation_curves(classifier, images, maps, ~_all(maps))
    assert none.gain.shape == (0,)
    assert road(classifier, images, maps, ~_all(maps)).shape == (0,)


def test_gain_of_random_orders_is_zero_on_average_and_of_good_maps_is_not(small_classifier):
    classifier, images = small_classifier(), 255 * torch.rand(2, 1, 16, 16)
    maps = torch.stack([torch.rand(2, 3, 16, 16) for _ in range(40)])
    gains = np.stack([perturbation_curves(classifier, images, m, _all(m), steps=6).gain for m in maps])
    assert np.all(np.abs(gains.mean(axis=0)) < 4 * gains.std(axis=0) / np.sqrt(len(gains)))
    good = build_explainer("occlusion", window=0.2).explain(classifier, images)
    assert perturbation_curves(classifier, images, good, _all(good), steps=6).gain.mean() > gains.mean(axis=1).max()


def test_road_prefers_the_true_order_and_turns_its_sign_with_it(linear_classifier):
    rng = torch.Generator().manual_seed(0)
    weights = torch.zeros(1, 3, 24, 24)
    weights[..., 6:14, 6:14] = 6e-5
    images = 100 * torch.rand(3, 3, 24, 24, generator=rng)
    images[..., 6:14, 6:14] += 100
    maps = (weights[None] * images[:, None]).sum(dim=2)
    classifier = linear_classifier(weights)
    score = road(classifier, images, maps, _all(maps))
    assert (score > 0.03).all()
    np.testing.assert_allclose(road(classifier, images, -maps, _all(maps)), -score, atol=0.03)
    assert np.array_equal(score, road(classifier, images, maps, _all(maps)))


def test_road_on_volumes_is_finite(small_classifier):
    classifier, images = small_classifier(dims=3, width=4), 255 * torch.rand(1, 1, 8, 12, 10)
    maps = build_explainer("gradcam").explain(classifier, images)
    scores = road(classifier, images, maps, _all(maps))
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() > 0


@pytest.mark.parametrize("space", [(9, 11), (5, 6, 7)])
def test_interpolation_solves_its_equations(space):
    """Every removed pixel is the weighted mean of its neighbours; what is known stays as it is."""
    rng = np.random.default_rng(0)
    pixels, removed = 255 * rng.random((2, *space)), rng.random(space) < 0.7
    result = _interpolated(pixels, removed, 0.0, rng)
    np.testing.assert_array_equal(result[:, ~removed], pixels[:, ~removed])
    assert result.min() >= pixels[:, ~removed].min() - 0.5
    assert result.max() <= pixels[:, ~removed].max() + 0.5
    for index in np.argwhere(removed):
        total = weight = 0.0
        for offset in np.ndindex(*[3] * len(space)):
            step = np.array(offset) - 1
            near = index + step
            if step.any() and (near >= 0).all() and (near < space).all():
                w = 0.5 ** (np.abs(step).sum() - 1)
                total, weight = total + w * result[(slice(None), *near)], weight + w
        np.testing.assert_allclose(result[(slice(None), *index)], total / weight, atol=0.5)


def test_infidelity_is_zero_for_the_weights_of_a_linear_model(linear_classifier):
    weights = torch.randn(2, 3, 6, 5) / 10
    classifier, images = linear_classifier(weights), 255 * torch.rand(1, 3, 6, 5)
    noise = torch.randn(8, 1, 1, 6, 5)
    exact = weights.sum(dim=1)[None]
    assert infidelity(classifier, images, exact, noise).max() < 1e-4
    assert infidelity(classifier, images, 7 * exact, noise).min() > 0.1
    assert infidelity(classifier, images, 7 * exact, noise, normalise=True).max() < 1e-4
    nothing = infidelity(classifier, images, 0 * exact, noise, normalise=True)
    with torch.no_grad():
        changes = classifier(images) - torch.stack([classifier(images - n) for n in noise])
    torch.testing.assert_close(nothing, changes.square().mean(dim=0), rtol=1e-3, atol=1e-4)


def test_the_classifier_is_scored_in_evaluation_mode(small_classifier):
    class Fixed(Explainer):
        def _explain(self, classifier, images):
            assert not classifier.training
            return classifier(images), torch.rand(len(images), 3, *images.shape[2:])

    classifier, images = small_classifier(), 255 * torch.rand(1, 1, 16, 16)
    maps = Fixed().explain(classifier.train(), images)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    perturbation_curves(classifier, images, maps, _all(maps), steps=2)
    road(classifier, images, maps, _all(maps), shares=(0.5,))
    infidelity(classifier, images, maps, torch.ones(1, 1, 1, 16, 16))
    assert classifier.training
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
