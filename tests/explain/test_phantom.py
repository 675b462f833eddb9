"""Planted truth: maps of a trained model hit the findings, and the shortcut where the model has learnt it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from resight.cohorts import PhantomOptions, render
from resight.evaluation import auroc
from resight.explain import (
    Explainer,
    build_explainer,
    centre_map,
    judge,
    localise,
    randomisation_cascade,
    randomised,
    score_maps,
)
from resight.fairness import search_pixels
from resight.models import ModelOptions, build_classifier

pytestmark = pytest.mark.slow

_FINDINGS = ("Mass", "Effusion", "Pneumothorax")


def _draw(options, start, stop):
    """Images, targets `(N, L)` and masks `(N, L + 1, H, W)`, the marker's last."""
    drawn = [render(options, index) for index in range(start, stop)]
    empty = np.zeros((options.size_px, options.size_px), bool)
    masks = np.stack([[d.masks.get(name, empty) for name in (*options.findings, "shortcut")] for d in drawn])
    targets = torch.tensor([[float(d.truth[name]) for name in options.findings] for d in drawn])
    return torch.from_numpy(np.stack([d.pixels for d in drawn])[:, None]), targets, masks


def _train(images, targets, *, epochs):
    torch.manual_seed(0)
    options = ModelOptions(backbone={"name": "resnet", "depth": 20, "width": 8})
    classifier = build_classifier(options, labels=_FINDINGS[: targets.shape[1]], channels=1, dims=2)
    optimiser = torch.optim.AdamW(classifier.parameters(), weight_decay=1e-3)
    batches = len(images) // 32
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(images))[: 32 * batches].view(batches, 32):
            loss = functional.binary_cross_entropy_with_logits(classifier(images[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return classifier.eval()


@pytest.fixture(scope="module")
def honest():
    """A classifier, 120 images it has not seen, references, and which findings it is right about."""
    options = PhantomOptions(
        images=720, size_px=64, findings=_FINDINGS, difficulty=0.0, prevalence=0.35, images_per_patient=1
    )
    images, targets, _ = _draw(options, 0, 600)
    classifier = _train(images, targets, epochs=10)
    learnt = images, targets
    images, targets, masks = _draw(options, 600, 720)
    masks = masks[:, :-1]
    with torch.no_grad():
        right = (classifier(images) > 0) & (targets > 0) & torch.from_numpy(masks.any(axis=(2, 3)))
    assert right.sum(dim=0).min() > 20
    return classifier, images, masks, right, learnt


@pytest.fixture(scope="module")
def cheat():
    """A classifier that learnt a marker, and images of which only some carry it."""
    images, targets, _ = _draw(_marked(1.0), 0, 256)
    classifier = _train(images, targets, epochs=5)
    return classifier, *_draw(_marked(0.9), 256, 376)


def _marked(strength):
    settings = {"images": 376, "size_px": 64, "findings": ("Mass",), "difficulty": 0.6, "prevalence": 0.5}
    return PhantomOptions(**settings, images_per_patient=1, shortcut={"label": "Mass", "strength": strength})


@pytest.mark.parametrize("name", ["gradcam", "gradcam++", "layercam"])
def test_activation_maps_hit_what_the_model_is_right_about(honest, name):
    classifier, images, masks, right, _ = honest
    references = masks[right.numpy()]
    hits = localise(build_explainer(name).explain(classifier, images)[right].numpy(), references)
    centre = localise(np.broadcast_to(centre_map((64, 64)), references.shape), references)
    random = localise(build_explainer(name).explain(randomised(classifier), images)[right].numpy(), references)
    print(f"{name}: {hits}\ncentre {centre.pointing}, random weights {random.pointing}")
    assert hits.pointing.value >= 0.85
    assert hits.pointing.low > max(centre.pointing.high, random.pointing.high)
    assert hits.energy.low > max(centre.energy.high, random.energy.high)


@pytest.mark.parametrize("name", ["gradcam", "gradcam++", "layercam"])
def test_they_are_trusted_and_constant_maps_are_not(honest, name):
    classifier, images, masks, right = honest[0], *(part[:40] for part in honest[1:4])
    verdict = judge(build_explainer(name), classifier, images, chosen=right, references=masks)
    assert verdict.passed, verdict.reasons

    class Constant(Explainer):
        def _explain(self, classifier, images):
            return classifier(images), images.new_ones(len(images), len(_FINDINGS), *images.shape[2:])

    assert not judge(Constant(), classifier, images, chosen=right, references=masks).passed


def test_maps_change_when_weights_become_random(honest):
    classifier, images, _, right, _ = honest
    cascade = randomisation_cascade(build_explainer("gradcam"), classifier, images, right)
    assert np.nanmean(cascade.spearman[-1]) < 0.3
    assert np.nanmean(cascade.ssim[-1]) < 0.6


def test_maps_change_when_labels_are_permuted(honest):
    """Adebayo et al. 2018, section 3.2: a network on labels dealt out anew has learnt other things."""
    classifier, images, _, _, (learnt, targets) = honest
    control = _train(
        learnt, targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))], epochs=6
    )
    explainer = build_explainer("gradcam")
    found = score_maps(explainer, classifier, images[:40], method="gradcam", control=control)
    alike = found.other_models["trained on permuted labels"]
    print(f"permuted labels: {alike}")
    assert alike.high < 0.5
    assert found.verdict.passed, found.verdict.reasons

    class Edges(Explainer):
        """Looks at the image alone, as guided backpropagation nearly does."""

        def _explain(self, classifier, images):
            edges = images.mean(dim=1).diff(dim=1, prepend=images.mean(dim=1)[:, :1]).abs()
            return classifier(images), edges[:, None].expand(-1, len(_FINDINGS), -1, -1)

    exposed = score_maps(Edges(), classifier, images[:40], method="edges", control=control)
    assert exposed.other_models["trained on permuted labels"].value == pytest.approx(1)
    assert any("permuted labels" in reason for reason in exposed.verdict.reasons)


def test_a_model_that_learnt_the_marker_points_at_it(honest, cheat):
    """The honest model looks at the same images and leaves the marker alone."""
    model, images, targets, masks = cheat
    marked = masks[:, 1].any(axis=(1, 2))
    assert marked.sum() > 20
    explainer = build_explainer("gradcam")
    share = {
        name: localise(explainer.explain(model, images[marked])[:, 0].numpy(), masks[marked, 1])
        for name, model in (("cheat", model), ("honest", honest[0]))
    }
    print({name: (str(s.pointing), str(s.energy)) for name, s in share.items()})
    assert share["cheat"].pointing.value > 0.9
    assert share["honest"].pointing.value < 0.3
    assert share["cheat"].energy.value > 3 * share["honest"].energy.value

    # The other exposure does not look at maps: where the marker says nothing, the model knows nothing.
    without, truth, _ = _draw(_marked(0.0), 256, 376)
    with torch.no_grad():
        with_marker = auroc(targets[:, 0].numpy(), model(images)[:, 0].numpy())
        without_marker = auroc(truth[:, 0].numpy(), model(without)[:, 0].numpy())
    assert with_marker.value > 0.9
    assert without_marker.value < 0.75


def test_a_search_on_pixels_finds_the_marker_and_is_quiet_on_the_honest_model(honest, cheat):
    """It knows neither where the marker lies nor that there is one."""

    def suspects(classifier, images, targets):
        def predict(pixels):
            with torch.no_grad():
                return classifier(torch.from_numpy(pixels)).double().numpy()[:, :1]

        count = len(images)
        found = search_pixels(
            images.numpy(),
            predict,
            targets[:, :1].double().numpy(),
            np.ones((count, 1), bool),
            ("Mass",),
            np.arange(count),
        )
        return {test.change for test in found if test.suspect}

    exposed = suspects(*cheat[:3])
    print(sorted(exposed))
    assert "upper left corner exchanged between patients" in exposed
    assert "bright plate put into the upper left corner" in exposed
    assert not any("lower" in change for change in exposed)
    classifier, (images, targets) = honest[0], honest[4]
    assert not suspects(classifier, images[:200], targets[:200])
    # the marker lies on these images and goes along with the finding; the honest model does not mind
    assert not suspects(classifier, *cheat[1:3])
