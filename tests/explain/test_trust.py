"""A verdict must be able to fail, for each of its reasons."""

import math

import numpy as np
import pytest
import torch

from resight.errors import DataError
from resight.explain import Explainer, TrustOptions, box_mask, build_explainer, judge
from resight.explain.faithfulness import PerturbationCurves
from resight.explain.trust import _check_faithfulness


@pytest.fixture
def planted(linear_classifier):
    """A linear model of the first quarter, bright spots there, and references of the spots."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.zeros(1, 1, 24, 24)
    weights[..., :10, :10] = 4e-4
    images = 60 * torch.rand(12, 1, 24, 24, generator=generator)
    references = np.zeros((12, 1, 24, 24), bool)
    for i in range(12):
        references[i, 0] = box_mask((24, 24), (i % 4, i // 4), (6, 6))
        images[i, 0][torch.from_numpy(references[i, 0])] += 150
    return linear_classifier(weights), images, references


class Fixed(Explainer):
    """One map whatever the image or the model."""

    def __init__(self, evidence):
        self.evidence = evidence

    def _explain(self, classifier, images):
        return classifier(images), self.evidence.expand(len(images), 1, *images.shape[2:]).clone()


def test_good_maps_pass(planted):
    verdict = judge(build_explainer("occlusion", window=0.2), planted[0], planted[1], references=planted[2])
    assert verdict.passed, verdict.reasons
    assert verdict.reasons == ()
    assert verdict.measures["pointing"] == 1
    assert verdict.measures["pointing_centre"] < 0.5
    assert verdict.measures["gain"] > 0
    assert verdict.measures["deletion_auc"] < verdict.measures["insertion_auc"]
    assert abs(verdict.measures["spearman_randomised"]) < 0.5
    assert all(math.isfinite(v) for v in verdict.measures.values())


def test_a_constant_map_fails(planted):
    verdict = judge(Fixed(torch.ones(24, 24)), *planted[:2])
    assert not verdict.passed
    assert verdict.reasons == ("100% of the maps are the same everywhere.",)


def test_a_map_that_ignores_model_and_image_fails(planted):
    classifier, images, references = planted
    evidence = torch.rand(24, 24, generator=torch.Generator().manual_seed(0))
    verdict = judge(Fixed(evidence), classifier, images, references=references)
    assert not verdict.passed
    assert any("hardly change when all weights are random: rank correlation 1.00" in r for r in verdict.reasons)
    assert any("a model with random weights hits" in r for r in verdict.reasons)


def test_maps_that_point_at_the_wrong_things_fail(planted):
    classifier, images, references = planted

    class Reversed(Explainer):
        def _explain(self, classifier, images):
            logits, maps = build_explainer("occlusion", window=0.2)._explain(classifier, images)
            return logits, maps.amax() - maps

    verdict = judge(Reversed(), classifier, images, references=references)
    assert any("no better than a random order" in r for r in verdict.reasons)
    assert verdict.measures["gain"] < 0
    assert any("Maps hit 0% of the references" in r for r in verdict.reasons)


def test_maps_that_are_not_finite_fail(planted):
    assert judge(Fixed(torch.full((24, 24), torch.nan)), *planted[:2]).reasons[0].startswith("Maps hold values")


def test_integrated_gradients_must_add_up(small_classifier):
    classifier, images = small_classifier(), 255 * torch.rand(4, 1, 24, 24)
    options = TrustOptions(largest_completeness_error=1e-4, largest_spearman=1.0)
    verdict = judge(build_explainer("integrated_gradients", steps=1), classifier, images, options=options)
    assert any("does not add up" in r for r in verdict.reasons)
    patient = judge(build_explainer("integrated_gradients", steps=32), classifier, images)
    assert patient.measures["completeness_error"] < 0.02
    assert not any("does not add up" in r for r in patient.reasons)


@pytest.mark.parametrize(("gains", "passes"), [((0.3, -0.1, 0.2, -0.2), False), ((0.3, 0.1, 0.2, 0.2), True)])
def test_a_gain_that_may_be_chance_is_no_faithfulness(gains: tuple[float, ...], passes: bool) -> None:
    insertion = np.repeat(np.array(gains)[:, None], 2, axis=1)
    curves = PerturbationCurves(np.array([0.0, 1.0]), np.zeros_like(insertion), insertion)
    measures: dict[str, float] = {}
    reasons = list(_check_faithfulness(curves, measures))
    assert measures["gain"] > 0
    assert (not reasons) is passes


def test_equalling_a_centre_that_never_misses_is_no_failure(planted):
    classifier, images, _ = planted
    everywhere = np.ones((12, 1, 24, 24), bool)
    verdict = judge(build_explainer("occlusion", window=0.2), classifier, images, references=everywhere)
    assert verdict.measures["pointing_centre"] == verdict.measures["pointing"] == 1
    assert verdict.passed, verdict.reasons


def test_highest_logit_is_explained_by_default_and_nothing_is_an_error(small_classifier):
    classifier, images = small_classifier(), 255 * torch.rand(3, 1, 24, 24)
    with torch.no_grad():
        highest = torch.nn.functional.one_hot(classifier(images).argmax(dim=1), 3).bool()
    explainer = build_explainer("gradcam")
    assert (
        judge(explainer, classifier, images).measures == judge(explainer, classifier, images, chosen=highest).measures
    )
    with pytest.raises(DataError, match="no image and label is chosen"):
        judge(explainer, classifier, images, chosen=~torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(DataError, match=r"references \(3, 1, 24, 24\); expected \(3, 3, 24, 24\)"):
        judge(explainer, classifier, images, references=np.ones((3, 1, 24, 24), bool))
