"""Scores of explanations: every figure against what it is made of, and a control that gives a cheat away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.errors import DataError
from resight.explain import Explainer, box_mask, build_explainer, judge, localise, perturbation_curves, road, score_maps
from resight.explain.sanity import alikeness, spearman


@pytest.fixture
def case(small_classifier):
    """A network, images and references of the first two labels."""
    classifier = small_classifier()
    images = 255 * torch.rand(6, 1, 24, 24, generator=torch.Generator().manual_seed(3))
    references = np.zeros((6, 3, 24, 24), bool)
    references[:, 0] = box_mask((24, 24), (2, 2), (8, 8))
    references[:3, 1] = box_mask((24, 24), (10, 12), (6, 6))
    return classifier, images, references


def test_every_figure_is_the_mean_of_what_it_is_made_of(case):
    classifier, images, references = case
    explainer = build_explainer("gradcam")
    called = np.zeros((6, 3), bool)
    called[:2] = True
    found = score_maps(explainer, classifier, images, method="gradcam", references=references, called=called)
    pairs = torch.from_numpy(references.any(axis=(2, 3)))
    maps = explainer.explain(classifier, images)
    assert (found.images, found.pairs) == (6, 9)
    curves = perturbation_curves(classifier, images, maps, pairs, fill="image", steps=16)
    assert found.faithfulness["gain"].value == pytest.approx(curves.gain.mean())
    assert found.curves["deletion"] == pytest.approx(curves.deletion.mean(axis=0))
    assert found.faithfulness["road"].value == pytest.approx(road(classifier, images, maps, pairs).mean())
    explained, regions = maps[pairs].numpy(), references[pairs.numpy()]
    assert found.places["these maps"].pointing.value == localise(explained, regions).pointing.value
    assert found.places["where the model calls the finding"].pointing.n == 4
    assert found.verdict.reasons == judge(explainer, classifier, images, references=references).reasons
    last = found.other_models["100% of the layers random"].value
    assert last == pytest.approx(found.verdict.measures["spearman_randomised"], abs=1e-6)
    assert all(value.low <= value.value <= value.high for value in found.faithfulness.values())
    json.dumps(found.to_dict(), allow_nan=False)


def test_no_network_is_asked_twice_for_the_same_maps(case, small_classifier):
    classifier, images, references = case
    asked = []

    class Watched(Explainer):
        def _explain(self, classifier, images):
            weights = next(classifier.parameters())
            asked.append((weights.sum().item(), images.sum().item()))
            return classifier(images), weights.sum() * images.repeat(1, 3, 1, 1).cumsum(dim=2)

    found = score_maps(Watched(), classifier, images, method="watched", references=references, control=classifier)
    assert len(found.other_models) == 5
    # the model, its control (here the same), four ever more random networks, and four changed images
    assert len(asked) == 10
    assert len({image for _, image in asked}) == 5


def test_images_of_one_patient_widen_the_intervals(case):
    classifier, images, references = case
    settings = {"method": "gradcam", "references": references}
    single = score_maps(build_explainer("gradcam"), classifier, images, **settings)
    shared = score_maps(build_explainer("gradcam"), classifier, images, **settings, patients=["a"] * 3 + ["b"] * 3)
    assert shared.faithfulness["gain"].value == single.faithfulness["gain"].value
    assert shared.faithfulness["gain"].low != single.faithfulness["gain"].low
    assert any("No patients are known" in note for note in single.notes)
    assert shared.notes == ("6 images, fewer than 20, say little of an explainer.",)


def test_a_map_that_a_network_on_permuted_labels_gives_as_well_fails(case, small_classifier):
    classifier, images, _ = case
    explainer = build_explainer("gradcam")
    same = score_maps(explainer, classifier, images, method="gradcam", control=classifier)
    assert same.other_models["trained on permuted labels"].value == pytest.approx(1)
    assert any("hardly change when the network was trained on permuted labels" in one for one in same.verdict.reasons)
    without = judge(explainer, classifier, images)
    assert not any("permuted" in one for one in without.reasons)
    assert "spearman_permuted_labels" not in without.measures
    with pytest.raises(DataError, match="a control with 2 labels; expected 3"):
        judge(explainer, classifier, images, control=small_classifier(labels=2))


def test_alikeness_counts_a_constant_other_map_as_changed_and_leaves_out_a_constant_one(rng):
    maps = rng.random((3, 5, 5))
    maps[1] = 1.0
    others = rng.random((3, 5, 5))
    others[2] = 0.0
    found = alikeness(maps, others)
    assert found[0] == spearman(maps[0], others[0])
    assert np.isnan(found[1])
    assert found[2] == 0


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_constant_explainer_fails_and_hits_no_more_than_area(case, value):
    class Constant(Explainer):
        def _explain(self, classifier, images):
            return classifier(images), images.new_full((len(images), 3, *images.shape[2:]), value)

    classifier, images, references = case
    found = score_maps(Constant(), classifier, images, method="constant", references=references)
    assert not found.verdict.passed
    assert not found.faithfulness
    if value == 1:
        assert found.places["these maps"].pointing.value < 0.3
        assert found.other_models["100% of the layers random"].undefined_because == "every map is the same everywhere"
    else:
        assert not found.places


def test_without_any_reference_it_says_so(case):
    classifier, images, references = case
    nowhere = np.zeros_like(references)
    found = score_maps(build_explainer("gradcam"), classifier, images, method="gradcam", references=nowhere)
    assert found.notes[0] == "No reference lies on these 6 images: whether maps hit findings is not estimable."
    assert found.pairs == 6
    assert not found.places


def test_the_section_says_the_verdict_and_shows_the_curves(case):
    from resight.evidence import Page, explanation_section, render_page

    classifier, images, references = case
    found = score_maps(build_explainer("gradcam"), classifier, images, method="gradcam", references=references)
    section = explanation_section(found)
    page = render_page(Page("test", "test", (section,)))
    assert "not trustworthy here" in page
    assert page.count("<svg") >= 2
    for words in ("Always the centre", "100% of the layers random", "Infidelity", "Pointing game"):
        assert words in page
    assert "Evidence inside" in page


def test_the_command_scores_a_phantom_run_against_its_masks(resight_run: Path):
    from resight.cli.main import main

    out = resight_run / "maps"
    images = resight_run / "images"
    arguments = ["explain", str(resight_run / "run"), str(images), "--out", str(out)]
    assert main([*arguments, "--references", str(resight_run / "masks"), "--force"]) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores["places"]) >= {"these maps", "always the centre", "random weights"}
    # the run was trained with report.label_randomisation: its control is found by itself
    assert "trained on permuted labels" in scores["other_models"]
    assert "rank correlation" in (out / "evidence.html").read_text().lower()
    card = (resight_run / "run" / "bundle" / "card.md").read_text()
    for heading in ("## Groups", "## Doubt", "## Explanations"):
        assert heading in card
    assert "permuted labels" in card
    assert "Explanations" in (resight_run / "run" / "report.html").read_text()
    assert json.loads((resight_run / "run" / "explanations.json").read_text())["other_models"]


@pytest.fixture(scope="module")
def resight_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom with masks, and a run of one epoch with a control."""
    from resight.cli.main import main
    from resight.cohorts import PhantomOptions, write_phantom

    folder = tmp_path_factory.mktemp("scored")
    findings = ("Cardiomegaly", "Effusion")
    write_phantom(PhantomOptions(images=60, size_px=32, findings=findings, prevalence=0.5, masks=True), folder)
    settings = folder / "run.toml"
    settings.write_text(
        f"""
        [cohort]
        path = "{folder / "cohort.csv"}"
        labels = ["Cardiomegaly", "Effusion"]
        [recipe]
        size_px = [32, 32]
        channels = 1
        [model.backbone]
        name = "resnet"
        depth = 10
        width = 8
        [training]
        epochs = 1
        precision = "fp32"
        threads = 1
        [evaluation]
        bootstrap = 20
        [report]
        examples = 2
        references = "{folder / "masks"}"
        label_randomisation = true
        """
    )
    assert main(["train", str(settings), "--out", str(folder / "run")]) == 0
    return folder
