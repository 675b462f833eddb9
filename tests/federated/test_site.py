"""Any settings file: volumes, several images, exits, gates, groups, prognosis; each learns, and its bundle is whole."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resight.cohorts.survival import interval_labels
from resight.errors import SettingsError
from resight.federated import simulate
from resight.federated.coordinator import Coordinator
from resight.federated.messages import Message
from resight.federated.simulate import InProcess, run_sites, sites_of
from resight.federated.site_data import SiteData
from resight.federated.sites import together
from resight.federated.weights import tensors_of
from resight.models.bundle import load_bundle

ENDS = (1.0, 2.0, 4.0)


def with_images(data: SiteData, shape: tuple[int, ...], **changes: Any) -> SiteData:
    """The same rows with other images, in which what is positive is brighter."""
    samples = {}
    for split, one in data.samples.items():
        rng = np.random.default_rng(len(one))
        store = np.zeros((int(one.rows.max()) + 1, *shape), np.uint8)
        bright = 60 * one.targets[:, 0].reshape(-1, *[1] * len(shape))
        store[one.rows] = np.clip(rng.normal(90, 15, (len(one), *shape)) + bright, 0, 255)
        samples[split] = replace(one, store=store, **changes)
    return replace(data, samples=samples)


def with_times(data: SiteData) -> SiteData:
    """The positives have the event early; labels are the intervals in which it comes."""
    samples, cohorts = {}, {}
    for split, one in data.cohorts.items():
        rng = np.random.default_rng(len(one))
        time = rng.exponential(np.where(one.targets()[:, 0] > 0, 1.0, 6.0))
        labels = interval_labels(time, np.ones(len(one), bool), ENDS)
        table = one.table.drop(columns="square").assign(time=time, event=1, **labels)
        cohorts[split] = replace(one, table=table, labels=tuple(labels), task="multilabel", horizons=ENDS)
        part = cohorts[split]
        samples[split] = replace(data.samples[split], targets=part.targets(), mask=part.mask())
    return SiteData(samples, cohorts)


def with_groups(data: SiteData) -> SiteData:
    samples = {
        split: replace(one, groups=(data.cohorts[split].table["sex"] == "F").to_numpy().astype(np.int64))
        for split, one in data.samples.items()
    }
    return replace(data, samples=samples)


@pytest.mark.parametrize(
    ("shape", "data_changes", "chosen"),
    [
        ((1, 8, 16, 16), {}, {"recipe": {"size_px": [8, 16, 16]}}),
        (
            (2, 16, 16),
            {"modalities": 2},
            {"recipe": {"modalities": [{"name": "ct"}, {"name": "pet"}]}, "model": {"stem": {"name": "gated"}}},
        ),
        ((1, 16, 16), {}, {"model": {"exits": {"after": ["stage1", "stage2"]}}}),
        ((1, 16, 16), {}, {"backbone": {"gate_target": 0.7}}),
    ],
    ids=["volumes", "modalities", "exits", "gates"],
)
def test_every_kind_of_network_learns_and_leaves_a_bundle(
    settings, three, tmp_path: Path, shape, data_changes, chosen
) -> None:
    sites = {name: with_images(data, shape, **data_changes) for name, data in three.items()}
    settings = settings(rounds=2, training={"batch_size": 16}, **chosen)
    coordinator = Coordinator(settings, InProcess(sites_of(settings, sites, tmp_path / "sites")), tmp_path)
    coordinator.gather()
    coordinator._prepare()
    before = coordinator.shared
    outcome = run_sites("federated", settings, sites, tmp_path)
    assert not outcome.history.refusals
    assert outcome.audit.pooled[0].evaluation.labels[0].metrics["auroc"].value > 0.7
    model = load_bundle(tmp_path / "bundle").model
    after = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    weights = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    assert [name for name in weights if np.array_equal(before[name], after[name])] == []


@pytest.mark.parametrize("learns", ["network", "head"])
def test_exits_learn_too_where_the_head_alone_does(settings, three, tmp_path: Path, learns: str) -> None:
    chosen = settings(rounds=1, learns=learns, model={"exits": {"after": ["stage1"]}})
    coordinator = Coordinator(chosen, InProcess(sites_of(chosen, three, tmp_path / "sites")), tmp_path)
    coordinator.train()
    travelling = {name.partition(".")[0] for name in coordinator.shared}
    assert travelling == ({"backbone", "head", "exits"} if learns == "network" else {"head", "exits"})


def test_a_stem_that_has_to_learn_is_refused_where_the_head_alone_learns(settings, three, tmp_path: Path) -> None:
    recipe = {"modalities": [{"name": "ct"}, {"name": "pet"}]}
    chosen = settings(learns="head", recipe=recipe, model={"stem": {"name": "gated"}})
    with pytest.raises(SettingsError, match="a stem that has to learn"):
        sites_of(chosen, three, tmp_path)


def test_a_prognosis_is_judged_by_concordance_at_the_sites_and_by_interval_in_sums(
    settings, three, tmp_path: Path
) -> None:
    timed = {name: with_times(data) for name, data in three.items()}
    outcome = run_sites("federated", settings(rounds=4, training={"weight_decay": 0.0}), timed, tmp_path)
    assert [one.label for one in outcome.audit.pooled] == list(timed["a"].cohort.labels)
    for facts in outcome.audit.sites.values():
        uno = facts["prognosis"]["uno"]
        assert uno["low"] <= uno["value"] <= uno["high"]
    assert np.mean([facts["prognosis"]["uno"]["value"] for facts in outcome.audit.sites.values()]) > 0.6
    assert load_bundle(tmp_path / "bundle").manifest.horizons == ENDS


def test_sites_with_other_ends_of_intervals_do_not_fit(settings, three, tmp_path: Path) -> None:
    timed = {name: with_times(data) for name, data in three.items()}
    other = {split: replace(one, horizons=(1.0, 2.0, 5.0)) for split, one in timed["c"].cohorts.items()}
    timed["c"] = replace(timed["c"], cohorts=other)
    coordinator = Coordinator(
        settings(rounds=1), InProcess(sites_of(settings(rounds=1), timed, tmp_path / "s")), tmp_path
    )
    coordinator.train()
    assert coordinator.history.refusals[0]["reason"].startswith("horizons [1.0, 2.0, 5.0] at the site")


def test_a_number_of_intervals_is_refused_as_every_site_would_choose_others(settings) -> None:
    cohort = {"path": ".", "time_column": "days", "event_column": "died", "intervals": 4}
    with pytest.raises(SettingsError, match=r"cohort\.intervals as a list of ends"):
        settings(cohort=cohort)
    assert settings(cohort=cohort | {"intervals": [1, 2]}).cohort.intervals == (1, 2)


@pytest.mark.parametrize("objective", ["group_dro", "adversarial", "group_reweighted"])
def test_what_an_objective_learns_stays_at_the_site_and_goes_on_in_the_next_round(
    settings, three, tmp_path: Path, objective: str
) -> None:
    grouped = {name: with_groups(data) for name, data in three.items()}
    chosen = settings(rounds=2, training={"objective": {"name": objective}, "group": "sex"})
    sites = sites_of(chosen, grouped, tmp_path / "sites")
    coordinator = Coordinator(chosen, InProcess(sites), tmp_path)
    coordinator.train()
    assert not coordinator.history.refusals
    assert not [name for name in coordinator.shared if "adversary" in name or "weights" in name]
    first, second = (sites["a"]._recall(number)[0] for number in (1, 2))
    kept = sorted(name for name in second if name.startswith("objective."))
    if objective == "group_dro":
        assert not np.array_equal(first["objective.weights"], second["objective.weights"])
    if objective == "adversarial":
        assert second["objective.steps"] == 2 * first["objective.steps"] > 0
        learned = [name for name in kept if "adversary" in name and name.endswith("weight")]
        assert learned
        assert not [name for name in learned if np.array_equal(first[name], second[name])]


def test_memory_of_other_groups_is_refused_in_one_line(settings, three, tmp_path: Path) -> None:
    chosen = settings(rounds=1, training={"objective": {"name": "group_dro"}, "group": "sex"})
    grouped = {name: with_groups(data) for name, data in three.items()}
    site = sites_of(chosen, grouped, tmp_path)["a"]
    weights = tensors_of(site.model)
    assert site.answer(Message("train", 0, {"fewest": 2}, weights)).kind == "train"
    more = {split: replace(one, groups=one.groups + 1) for split, one in grouped["a"].samples.items()}
    changed = sites_of(chosen, {"a": replace(grouped["a"], samples=more)}, tmp_path)["a"]
    reply = changed.answer(Message("train", 1, {"fewest": 2}, weights))
    assert "belongs to other groups or settings" in reply.facts["reason"]


def test_pooled_images_keep_groups_and_modalities(three) -> None:
    grouped = {name: with_groups(data) for name, data in three.items()}
    pooled = together(grouped).samples["train"]
    assert pooled.groups is not None
    assert pooled.groups.tolist() == [g for data in grouped.values() for g in data.samples["train"].groups]
    assert pooled.modalities == 1
    assert (
        together({name: with_images(data, (2, 4, 4), modalities=2) for name, data in three.items()})
        .samples["test"]
        .modalities
        == 2
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"strategy": {"name": "fedprox"}}, "strategy 'fedprox'"),
        ({"strategy": {"name": "scaffold"}}, "strategy 'scaffold'"),
        ({"training": {"objective": {"name": "group_dro"}, "group": "sex"}}, "objective 'group_dro'"),
        ({"backbone": {"gate_target": 0.5}}, "gates"),
    ],
)
def test_what_adds_to_the_loss_of_a_batch_does_not_go_with_noise_for_single_images(
    settings, tmp_path: Path, changes, found
) -> None:
    """Clipping sees gradients of single images: what is added besides would be left out without a word."""
    chosen = settings(privacy={"differential": "example"}, **changes)
    with pytest.raises(SettingsError, match=found):
        simulate(chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()
