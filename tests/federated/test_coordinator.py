"""Rounds from end to end on small sites: they learn, protect, refuse, lose sites, and come back from a kill."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resight.errors import SettingsError, TrainingError
from resight.federated.aggregate import norm
from resight.federated.coordinator import Coordinator, draw
from resight.federated.messages import Message
from resight.federated.simulate import InProcess, run_sites, sites_of
from resight.federated.site_data import SiteData

Settings = object


class Listening(InProcess):
    """Keeps every message, and lets a test change replies on the way."""

    def __init__(self, sites, absent=None, change=None) -> None:
        super().__init__(sites, absent)
        self.heard: list[tuple[str, Message]] = []
        self.change = change or (lambda name, reply: reply)

    def ask(self, requests: Mapping[str, Message], timeout_s: float) -> Mapping[str, Message]:
        replies = {name: self.change(name, reply) for name, reply in super().ask(requests, timeout_s).items()}
        self.heard += replies.items()
        return replies


def run(settings, data: dict[str, SiteData], folder: Path, **transport) -> tuple[Coordinator, Listening]:
    listening = Listening(sites_of(settings, data, folder / "sites"), **transport)
    coordinator = Coordinator(settings, listening, folder)
    coordinator.train()
    return coordinator, listening


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], atol: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(np.allclose(a[n], b[n], rtol=0, atol=atol) for n in a)


def test_sites_learn_together_what_the_square_means(settings, three, tmp_path: Path) -> None:
    chosen = settings(rounds=6)
    outcome = run_sites("federated", chosen, three, tmp_path)
    assert outcome.audit.pooled[0].evaluation.labels[0].metrics["auroc"].value > 0.9
    assert outcome.history.rounds[-1]["loss"] < outcome.history.rounds[0]["loss"]


def test_a_simulation_gives_the_same_bits_again(settings, three, tmp_path: Path) -> None:
    first, _ = run(settings(), three, tmp_path / "1")
    again, _ = run(settings(), three, tmp_path / "2")
    assert same(first.shared, again.shared)


def test_one_site_with_fedavg_is_plain_local_training(settings, three, tmp_path: Path) -> None:
    """The mean of one is the one: what the pooled baseline rests on."""
    coordinator, listening = run(settings(rounds=1, min_sites=1), {"a": three["a"]}, tmp_path)
    (update,) = [reply.arrays for _, reply in listening.heard if reply.kind == "train"]
    fresh = Coordinator(settings(rounds=1, min_sites=1), listening, tmp_path / "fresh")
    fresh.gather()
    fresh._prepare()
    assert same(coordinator.shared, {n: fresh.shared[n] + update[n] for n in update}, atol=1e-6)


def test_micro_batches_give_the_update_of_whole_ones(settings, three, tmp_path: Path) -> None:
    group = {"backbone": {"norm": "group"}, "rounds": 1}
    whole, _ = run(settings(**group), three, tmp_path / "whole")
    pieces, _ = run(settings(training={"accumulate": 3}, **group), three, tmp_path / "pieces")
    assert same(whole.shared, pieces.shared, atol=1e-5)
    assert pieces.history.rounds[0]["loss"] == pytest.approx(whole.history.rounds[0]["loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("option", "reason"), [("ema_decay", "averaged over sites"), ("patience", "rounds are counted")]
)
def test_options_that_a_federation_has_no_use_for_are_refused(settings, option: str, reason: str) -> None:
    assert getattr(settings().training, option) == 0
    with pytest.raises(SettingsError, match=rf"training\.{option}.*{reason}") as caught:
        settings(training={option: 0.5 if option == "ema_decay" else 3})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold"])
def test_where_the_head_alone_learns_nothing_else_changes_or_travels(settings, three, tmp_path: Path, strategy) -> None:
    chosen = settings(rounds=2, learns="head", strategy={"name": strategy})
    coordinator, listening = run(chosen, three, tmp_path)
    head = {name for name in coordinator.model.state_dict() if name.startswith("head.")}
    assert set(coordinator.shared) == head
    sent = {name.removeprefix("control.") for _, reply in listening.heard for name in reply.arrays}
    assert sent == head
    assert coordinator.history.rounds[-1]["moved"] > 0
    for site in listening._sites.values():
        now = site.model.state_dict()
        assert all(np.array_equal(now[name].numpy(), site._initial[name]) for name in site._frozen)
        assert "backbone.bn1.running_mean" in site._frozen
    with pytest.raises(SettingsError, match="personal_head where only the head learns"):
        settings(learns="head", strategy={"name": "personal_head"})


def test_another_backbone_does_not_fit_where_it_does_not_travel(settings, three, tmp_path: Path) -> None:
    sites = sites_of(settings(rounds=1, learns="head"), three, tmp_path / "sites")
    sites["c"].model.backbone.conv1.weight.data[0] += 1e-3
    coordinator = Coordinator(settings(rounds=1, learns="head"), InProcess(sites), tmp_path)
    coordinator.train()
    assert coordinator.history.rounds[0]["names"] == ["a", "b"]
    assert "backbone" in coordinator.history.refusals[0]["reason"]
    for name in "ab":
        sites[name].model.backbone.conv1.weight.data[0] += 1e-3
    with pytest.raises(TrainingError, match="backbone at the server is not the one of the sites"):
        Coordinator(settings(rounds=1, learns="head"), InProcess(sites), tmp_path / "server").train()


def test_fedprox_holds_sites_nearer_and_is_fedavg_at_zero(settings, three, tmp_path: Path) -> None:
    moved = {}
    plain, _ = run(settings(rounds=1, local_epochs=3), three, tmp_path / "plain")
    for mu in (0.0, 3.0):
        strategy = {"name": "fedprox", "options": {"mu": mu}}
        chosen = settings(rounds=1, local_epochs=3, strategy=strategy)
        coordinator, listening = run(chosen, three, tmp_path / str(mu))
        updates = [reply.arrays for _, reply in listening.heard if reply.kind == "train"]
        filters = [{n: a for n, a in update.items() if a.ndim > 1} for update in updates]
        moved[mu] = np.mean([norm(update) for update in filters])
        if mu == 0.0:
            assert same(plain.shared, coordinator.shared, atol=1e-6)
    assert moved[3.0] < 0.8 * moved[0.0]


@pytest.mark.parametrize(("name", "local"), [("fedbn", "bn1.weight"), ("personal_head", "head.")])
def test_what_stays_local_never_travels_and_differs_between_sites(
    settings, three, tmp_path: Path, name: str, local: str
) -> None:
    chosen = settings(strategy={"name": name})
    coordinator, listening = run(chosen, three, tmp_path)
    sent = {key for _, reply in listening.heard if reply.kind == "train" for key in reply.arrays}
    assert sent == coordinator.shared.keys()
    assert not [key for key in sent if local in key]
    sites = listening._sites
    kept = {site: sites[site]._recall(99)[0] for site in sites}
    key = next(key for key in kept["a"] if local in key)
    assert not np.array_equal(kept["a"][key], kept["b"][key])


def test_scaffold_corrects_with_controls_that_average_to_the_shared_one(settings, three, tmp_path: Path) -> None:
    chosen = settings(strategy={"name": "scaffold"}, weight_by="equal", rounds=3)
    coordinator, listening = run(chosen, three, tmp_path)
    own = [site._recall(99)[0] for site in listening._sites.values()]
    for name, control in coordinator.strategy.state().items():
        assert np.allclose(control, np.mean([one[name] for one in own], axis=0), rtol=0, atol=1e-4)
    assert any(np.abs(control).max() > 1e-3 for control in coordinator.strategy.state().values())


def test_scaffold_asks_for_plain_sgd(settings, three, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"momentum 0\.9"):
        Coordinator(settings(strategy={"name": "scaffold"}, training={"momentum": 0.9}), InProcess({}), tmp_path)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "median", "trimmed_mean"])
def test_the_other_strategies_run_and_change_the_weights(settings, three, tmp_path: Path, name: str) -> None:
    coordinator, _ = run(settings(rounds=1, strategy={"name": name}), three, tmp_path)
    assert coordinator.history.rounds[0]["moved"] > 0


def test_a_secure_round_gives_the_plain_round_and_shows_no_update(settings, three, tmp_path: Path) -> None:
    plain, open_ = run(settings(rounds=1), three, tmp_path / "plain")
    secure, hidden = run(settings(rounds=1, privacy={"secure_aggregation": True}), three, tmp_path / "secure")
    bound = secure.history.rounds[0]["error_bound"]
    assert bound < 1e-12
    assert same(plain.shared, secure.shared, atol=1e-6)
    updates = {name: reply.arrays for name, reply in open_.heard if reply.kind == "train"}
    numbers = {name: np.concatenate([a.ravel() for _, a in sorted(u.items())]) for name, u in updates.items()}
    for name, reply in hidden.heard:
        assert not [a for a in reply.arrays.values() if np.issubdtype(a.dtype, np.floating)]
        if reply.kind != "masked":
            assert reply.size_bytes < 10_000
            continue
        seen = reply.arrays["masked"][:-1].view(np.int64).astype(float)
        assert abs(np.corrcoef(seen, numbers[name])[0, 1]) < 0.05
    assert {reply.kind for _, reply in hidden.heard} == {"hello", "train", "keys", "shares", "masked", "unmask"}


def test_a_secure_round_goes_on_without_a_site_that_falls_silent(settings, data, tmp_path: Path) -> None:
    four = {name: data(48, seed) for seed, name in enumerate("abcd")}
    chosen = settings(rounds=2, privacy={"secure_aggregation": True})
    secure, _ = run(chosen, four, tmp_path / "secure", absent={"b": (1,)})
    plain, _ = run(settings(rounds=2), four, tmp_path / "plain", absent={"b": (1,)})
    assert [entry["names"] for entry in secure.history.rounds] == [["a", "b", "c", "d"], ["a", "c", "d"]]
    assert same(plain.shared, secure.shared, atol=1e-5)


def test_too_few_sites_for_a_secure_sum_is_one_line(settings, data, tmp_path: Path) -> None:
    two = {name: data(48, seed) for seed, name in enumerate("ab")}
    with pytest.raises(TrainingError, match=r"2 of 3 sites are there for secure aggregation\. Start more sites\.$"):
        run(settings(privacy={"secure_aggregation": True}), two, tmp_path)
    three = {name: data(48, seed) for seed, name in enumerate("abc")}
    with pytest.raises(TrainingError, match=r"failed 3 times.*2 sites stayed; expected at least 3"):
        run(settings(privacy={"secure_aggregation": True}), three, tmp_path / "3", absent={"b": range(9)})
    assert not (tmp_path / "3" / "server.safetensors").exists()


def test_the_first_round_waits_for_the_sites_that_are_to_begin(settings, three, tmp_path: Path) -> None:
    chosen = settings(rounds=2, begin_with=3)

    class Late(InProcess):
        """One site comes when it is waited for, and another leaves before the second round."""

        there = ("a", "b")

        def sites(self):
            return self.there

        def wait(self, count, known, timeout_s):
            assert count == 3
            self.there = ("a", "b", "c")
            return self.there

        def ask(self, requests, timeout_s):
            replies = super().ask(requests, timeout_s)
            self.there = ("a", "b") if "train" in {one.kind for one in requests.values()} else self.there
            return replies

    coordinator = Coordinator(chosen, Late(sites_of(chosen, three, tmp_path / "sites")), tmp_path)
    coordinator.train()
    assert [entry["names"] for entry in coordinator.history.rounds] == [["a", "b", "c"], ["a", "b"]]
    few = Coordinator(chosen, InProcess(sites_of(chosen, {n: three[n] for n in "ab"}, tmp_path / "2")), tmp_path / "2")
    with pytest.raises(TrainingError, match=r"2 of 3 sites are there.*lower federation\.begin_with"):
        few.train()


def test_strategies_that_must_see_updates_do_not_go_with_secure_sums(settings, tmp_path: Path) -> None:
    chosen = settings(strategy={"name": "median"}, privacy={"secure_aggregation": True})
    with pytest.raises(SettingsError, match=r"'median' must see single updates"):
        Coordinator(chosen, InProcess({}), tmp_path)


def test_a_site_that_leaves_and_returns_is_counted_only_while_it_is_there(settings, three, tmp_path: Path) -> None:
    coordinator, _ = run(settings(rounds=3), three, tmp_path, absent={"c": (1,)})
    assert [entry["names"] for entry in coordinator.history.rounds] == [["a", "b", "c"], ["a", "b"], ["a", "b", "c"]]
    assert coordinator.history.refusals[0]["reason"] == "fell silent during training"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda a: a * np.float32(np.nan), "not finite"),
        (lambda a: a[..., None], "has shape"),
        (lambda a: a.astype(np.int32), "int32 in place of floats"),
    ],
)
def test_a_corrupt_update_is_refused_logged_and_the_round_goes_on(
    settings, three, tmp_path: Path, spoil, reason: str
) -> None:
    def change(name: str, reply: Message) -> Message:
        if name != "b" or reply.kind != "train":
            return reply
        first = next(iter(reply.arrays))
        return replace(reply, arrays={**reply.arrays, first: spoil(reply.arrays[first])})

    coordinator, _ = run(settings(rounds=1), three, tmp_path, change=change)
    without, _ = run(settings(rounds=1), three, tmp_path / "without", absent={"b": (0,)})
    assert same(coordinator.shared, without.shared)
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [line["site"] for line in lines if reason in line.get("reason", "")] == ["b"]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"version": "99.0"}, "version '99.0' at the site"),
        ({"protocol": 0}, "protocol 0 at the site"),
        ({"labels": ["circle"]}, r"labels \['circle'\] at the site"),
        ({"channels": 3}, "3 channels at the site, 1 at the server"),
        ({"digest": "other"}, "settings are not those of the server"),
    ],
)
def test_a_site_that_does_not_fit_is_refused_in_one_line(settings, three, tmp_path: Path, facts, reason) -> None:
    def change(name: str, reply: Message) -> Message:
        return replace(reply, facts={**reply.facts, **facts}) if (name, reply.kind) == ("c", "hello") else reply

    coordinator, _ = run(settings(rounds=1), three, tmp_path, change=change)
    assert coordinator.history.rounds[0]["names"] == ["a", "b"]
    with pytest.raises(TrainingError, match=reason):
        run(settings(min_sites=3), three, tmp_path / "3", change=change)


def test_a_site_that_does_not_fit_is_told_why(settings, three, tmp_path: Path) -> None:
    sites = sites_of(settings(rounds=1), three, tmp_path / "sites")
    sites["c"].settings = settings(rounds=2)
    heard: list[Message] = []
    answer = sites["c"].answer
    sites["c"].answer = lambda request: heard.append(request) or answer(request)
    Coordinator(settings(rounds=1), InProcess(sites), tmp_path).train()
    assert [(one.kind, one.facts.get("reason", "")[:19]) for one in heard[:2]] == [
        ("hello", ""),
        ("done", "the site's settings"),
    ]
    assert "train" not in {one.kind for one in heard}


def test_sites_with_other_labels_or_other_channels_do_not_fit(settings, three, data, tmp_path: Path) -> None:
    chosen = settings(rounds=1)
    sites = sites_of(chosen, {**three, "d": data(48, 4, ("square", "bar"))}, tmp_path / "sites")
    sites |= sites_of(settings(rounds=1, channels=3), {"e": data(48, 5)}, tmp_path / "sites")
    coordinator = Coordinator(chosen, InProcess(sites), tmp_path)
    coordinator.train()
    assert coordinator.history.rounds[0]["names"] == ["a", "b", "c"]
    reasons = {entry["site"]: entry["reason"] for entry in coordinator.history.refusals}
    assert "labels ['square', 'bar'] at the site, ['square'] at the others" in reasons["d"]
    assert "3 channels at the site, 1 at the server" in reasons["e"]


def test_a_site_with_other_labels_decides_nothing_by_coming_first(settings, three, data, tmp_path: Path) -> None:
    chosen, said = settings(rounds=1, cohort={"path": ".", "labels": ["square"]}), []
    sites = sites_of(chosen, {**three, "_first": data(48, 4, ("bar",))}, tmp_path / "sites")
    coordinator = Coordinator(chosen, InProcess(sites), tmp_path, say=said.append)
    coordinator.train()
    assert coordinator.history.rounds[0]["names"] == ["a", "b", "c"]
    assert list(dict.fromkeys(said)) == [
        "_first: labels ['bar'] at the site, ['square'] at the server",
        *(f"{name} takes part with {len(three[name].cohort)} training images" for name in "abc"),
    ]


def test_a_site_without_cases_of_a_label_says_so_and_takes_part(settings, three, data, tmp_path: Path) -> None:
    outcome = run_sites("federated", settings(rounds=1), {**three, "d": data(48, 4, positives=0.0)}, tmp_path)
    notes = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [n["note"] for n in notes if n.get("site") == "d"] == ["no positive training case of 'square'"]
    assert outcome.audit.sites["d"]["shared"]["square"]["metrics"]["auroc"]["value"] is None
    assert "positives" in outcome.audit.sites["d"]["shared"]["square"]["metrics"]["auroc"]["undefined_because"]


@pytest.mark.parametrize(
    "strategy",
    ["scaffold", pytest.param("fedbn", marks=pytest.mark.slow), pytest.param("fedadam", marks=pytest.mark.slow)],
)
def test_a_server_killed_after_any_round_goes_on_with_the_same_bits(
    settings, three, tmp_path: Path, strategy: str
) -> None:
    chosen = settings(rounds=3, strategy={"name": strategy})
    whole, _ = run(chosen, three, tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(stage: str, done: int, total: int, detail: str) -> None:
        if done == 2:
            raise KilledError

    sites = InProcess(sites_of(chosen, three, tmp_path / "cut" / "sites"))
    with pytest.raises(KilledError):
        Coordinator(chosen, sites, tmp_path / "cut", progress=kill).train()
    # The sites had begun another round, which nobody heard of.
    begun = Coordinator(chosen, sites, tmp_path / "cut", resume=True)
    begun.gather()
    begun._prepare()
    begun._round(2)
    again = InProcess(sites_of(chosen, three, tmp_path / "cut" / "sites"))
    resumed = Coordinator(chosen, again, tmp_path / "cut", resume=True)
    resumed.train()
    assert same(whole.shared, resumed.shared)
    assert len(resumed.history.rounds) == 3


def test_resuming_with_other_settings_is_refused(settings, three, tmp_path: Path) -> None:
    run(settings(rounds=1), three, tmp_path)
    other = settings(rounds=2)
    coordinator = Coordinator(other, InProcess(sites_of(other, three, tmp_path / "sites")), tmp_path, resume=True)
    with pytest.raises(SettingsError, match="not those the federation began with"):
        coordinator.train()


def test_a_fault_in_a_site_ends_the_simulation_with_its_traceback(settings, three, tmp_path: Path) -> None:
    sites = sites_of(settings(), three, tmp_path / "sites")
    sites["b"].data.samples["train"].store.setflags(write=True)
    broken = replace(sites["b"].data.samples["train"], rows=np.full(32, 10**6))
    sites["b"].data = SiteData({**sites["b"].data.samples, "train": broken}, sites["b"].data.cohorts)
    with pytest.raises(IndexError) as caught:
        Coordinator(settings(), InProcess(sites), tmp_path).train()
    assert "raised by 'b' while answering 'train'" in caught.value.__notes__[0]
    assert any("data.py" in str(entry.path) for entry in caught.traceback)


def test_a_share_of_the_sites_is_drawn_anew_each_round() -> None:
    names = [f"s{number}" for number in range(10)]
    rounds = [draw(names, 0.3, 2, 0, number) for number in range(20)]
    assert {len(chosen) for chosen in rounds} == {3}
    assert {name for chosen in rounds for name in chosen} == set(names)
    assert draw(names, 0.1, 2, 0, 0) == draw(names, 0.1, 2, 0, 0)
    assert len(draw(names, 0.01, 2, 0, 0)) == 2


def test_the_ledger_of_a_site_names_everything_that_left_and_no_image(settings, three, tmp_path: Path) -> None:
    _, listening = run(settings(rounds=2), three, tmp_path)
    text = (tmp_path / "sites" / "a" / "ledger.jsonl").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    sent = [reply for name, reply in listening.heard if name == "a"]
    assert [entry["kind"] for entry in entries] == [reply.kind for reply in sent]
    assert [entry["bytes"] for entry in entries] == [reply.size_bytes for reply in sent]
    names = {name for data in three["a"].samples.values() for name in data.names}
    assert not [name for name in names if name in text]
    assert entries[1]["facts"]["cases"] == len(three["a"].samples["train"])
