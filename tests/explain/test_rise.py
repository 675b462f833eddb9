import torch

from resight.explain import build_explainer


def test_finds_the_only_quarter_that_counts(linear_classifier):
    weights = torch.zeros(2, 1, 16, 16)
    weights[0, :, :8, :8] = 0.01
    weights[1, :, 8:, 8:] = -0.01
    images = torch.full((1, 1, 16, 16), 200.0)
    explainer = build_explainer("rise", masks=600, cells=4, fill="black")
    maps = explainer.explain(linear_classifier(weights), images)[0]
    for_it, against_it = maps
    assert for_it[:8, :8].mean() > 5 * for_it[8:, 8:].abs().mean()
    assert against_it[8:, 8:].mean() < -5 * against_it[:8, :8].abs().mean()


def test_a_constant_in_the_logit_changes_nothing(linear_classifier):
    """The paper's map would grow by the constant times the mean mask."""
    weights, images = torch.randn(1, 1, 12, 12), 255 * torch.rand(1, 1, 12, 12)
    classifier = linear_classifier(weights)
    explainer = build_explainer("rise", masks=50, cells=3)
    maps = explainer.explain(classifier, images)
    with torch.no_grad():
        classifier.head.bias += 1000
    torch.testing.assert_close(explainer.explain(classifier, images), maps, rtol=1e-2, atol=0.5)


def test_is_the_papers_estimate_less_its_constant(linear_classifier):
    weights, images = torch.randn(1, 1, 10, 10), 255 * torch.rand(1, 1, 10, 10)
    classifier = linear_classifier(weights)
    explainer = build_explainer("rise", masks=40, cells=3, fill="black", batch=7)
    parts, left, generator = [], 40, torch.Generator().manual_seed(0)
    while left:
        parts.append(explainer._sample(generator, min(7, left), (10, 10)))
        left -= len(parts[-1])
    masks = torch.cat(parts)
    assert masks.shape == (40, 10, 10)
    assert 0 <= masks.min() < 0.1
    assert 0.9 < masks.max() <= 1
    with torch.no_grad():
        scores = classifier(images * masks[:, None])[:, 0]
    expected = torch.einsum("m,mhw->hw", scores - scores.mean(), masks) / (40 * 0.5)
    torch.testing.assert_close(explainer.explain(classifier, images)[0, 0], expected, rtol=1e-3, atol=0.1)
