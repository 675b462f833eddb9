"""Secure aggregation gives the plain sum within its bound, whoever falls silent, and shows the server nothing else."""

from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.errors import TrainingError
from resight.federated.masks import Opened, PublicKeys, SiteMasks, check_threshold, opened_sum, usual_threshold
from resight.federated.ring import Ring
from resight.federated.shamir import join, split

SESSION = b"run 1, round 0"


class Group:
    """Sites and the mail between them, as a server sees it."""

    def __init__(self, count: int, threshold: int = 0) -> None:
        names = [f"site-{number}" for number in range(count)]
        identities = {name: Ed25519PrivateKey.generate() for name in names}
        self.roster = {name: key.public_key().public_bytes_raw() for name, key in identities.items()}
        self.sites = {name: SiteMasks(name, identities[name], self.roster, SESSION) for name in names}
        self.threshold = threshold or usual_threshold(count)
        self.keys: dict[str, PublicKeys] = {name: site.public for name, site in self.sites.items()}

    def exchange(self) -> dict[str, dict[str, bytes]]:
        outgoing = {name: site.shares(self.keys, self.threshold) for name, site in self.sites.items()}
        return {to: {by: box[to] for by, box in outgoing.items() if by != to} for to in self.sites}

    def masked(self, encoded: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        inboxes = self.exchange()
        return {name: self.sites[name].masked(vector, inboxes[name]) for name, vector in encoded.items()}

    def opened(self, masked: dict[str, np.ndarray], answering: list[str] | None = None) -> np.ndarray:
        gone = sorted(self.sites.keys() - masked.keys())
        answers = {name: self.sites[name].open(sorted(masked), gone) for name in answering or masked}
        return opened_sum(masked, self.keys, answers, self.threshold, SESSION)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_sum_is_the_plain_sum_within_the_bound_for_any_subset_above_the_threshold(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 7))
    threshold = data.draw(st.integers(count // 2 + 1, count))
    size = data.draw(st.integers(1, 40))
    magnitude = 10.0 ** data.draw(st.integers(-12, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    group = Group(count, threshold)
    values = {name: magnitude * rng.standard_normal(size) * 10.0 ** rng.integers(-6, 1) for name in group.sites}
    stayed = data.draw(
        st.lists(st.sampled_from(sorted(values)), min_size=threshold, max_size=count, unique=True), label="stayed"
    )
    answering = data.draw(st.lists(st.sampled_from(stayed), min_size=threshold, unique=True), label="answering")
    ring = Ring(max(float(np.abs(v).max()) for v in values.values()), count)
    masked = group.masked({name: ring.encode(values[name]) for name in stayed})
    found = ring.decode(group.opened(masked, answering))
    for place in range(size):
        exact = sum(Fraction(float(values[name][place])) for name in stayed)
        assert abs(Fraction(float(found[place])) - exact) <= Fraction(ring.error)


@given(st.floats(1e-300, 1e300), st.integers(1, 1000))
def test_the_ring_has_room_for_every_sum_and_its_step_is_as_fine_as_that_allows(bound: float, sites: int) -> None:
    ring = Ring(bound, sites)
    assert sites * Fraction(bound) * Fraction(ring.scale) <= 2**62
    if 2.0**-900 < ring.scale < 2.0**900:
        assert 4 * sites * Fraction(bound) * Fraction(ring.scale) >= 2**61


def test_rounding_beyond_the_stated_bound_ends_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, values = Ring(1.0, 3), np.random.default_rng(0).random(50)
    assert np.abs(ring.decode(ring.encode(values)) - values).max() <= ring.error
    monkeypatch.setattr(np, "rint", np.ceil)
    with pytest.raises(TrainingError, match="was rounded by"):
        ring.encode(values * 2.0**-20)


def test_nothing_is_clipped_silently() -> None:
    with pytest.raises(TrainingError, match="agreed on 1 at most"):
        Ring(1.0, 3).encode(np.array([1.5]))
    with pytest.raises(TrainingError, match="agreed on 1 at most"):
        Ring(1.0, 3).encode(np.array([np.nan]))
    with pytest.raises(TrainingError, match="largest value is inf"):
        Ring(float("inf"), 3)


def test_what_the_server_sees_of_one_site_looks_like_chance_and_differs_from_sum_to_sum(
    rng: np.random.Generator,
) -> None:
    ring, size = Ring(1.0, 3), 20_000
    values = np.full(size, 0.25)
    seen = []
    for _ in range(2):
        group = Group(3)
        masked = group.masked(dict.fromkeys(group.sites, ring.encode(values)))
        seen.append(masked["site-1"][:-1])
        assert np.allclose(ring.decode(group.opened(masked)), 0.75, rtol=0, atol=ring.error)
    assert (seen[0] == seen[1]).mean() < 0.01
    for vector in seen:
        counts = np.bincount((vector >> np.uint64(56)).astype(int), minlength=256)
        statistic = float(np.sum((counts - size / 256) ** 2 / (size / 256)))
        assert statistic < 360  # the 99.99th percentile of chi-square with 255 degrees of freedom


def test_one_mask_missing_leaves_noise_and_is_noticed() -> None:
    group = Group(4)
    masked = group.masked({name: Ring(1.0, 4).encode(np.ones(8)) for name in group.sites})
    masked["site-2"] = masked["site-2"].copy()
    masked["site-2"][3] += np.uint64(1)
    with pytest.raises(TrainingError, match="check sum"):
        group.opened(masked)


def test_a_site_never_gives_both_shares_nor_opens_twice_nor_for_too_few() -> None:
    group = Group(4)
    group.masked({name: np.zeros(2, np.uint64) for name in group.sites})
    everyone = sorted(group.sites)
    first = group.sites["site-0"]
    with pytest.raises(TrainingError, match="both shares"):
        first.open(everyone, ["site-1"])
    with pytest.raises(TrainingError, match="2 sites stayed"):
        first.open(everyone[:2], everyone[2:])
    assert isinstance(first.open(everyone[:3], everyone[3:]), Opened)
    with pytest.raises(TrainingError, match="twice"):
        first.open(everyone, [])


def test_keys_that_a_site_did_not_sign_are_refused() -> None:
    group = Group(3)
    false = SiteMasks("site-2", Ed25519PrivateKey.generate(), group.roster, SESSION).public
    with pytest.raises(TrainingError, match="'site-2' are not signed"):
        group.sites["site-0"].shares({**group.keys, "site-2": false}, 3)
    with pytest.raises(TrainingError, match="'stranger' is not on the roster"):
        group.sites["site-0"].shares({**group.keys, "stranger": false}, 3)


def test_shares_changed_on_the_way_are_refused() -> None:
    group = Group(3)
    inboxes = group.exchange()
    box = bytearray(inboxes["site-0"]["site-1"])
    box[0] ^= 1
    with pytest.raises(TrainingError, match="'site-1' were changed"):
        group.sites["site-0"].masked(np.zeros(2, np.uint64), {**inboxes["site-0"], "site-1": bytes(box)})


@pytest.mark.parametrize(
    ("sites", "threshold", "found"), [(2, 2, "2 sites"), (4, 2, "threshold 2"), (3, 4, "threshold 4")]
)
def test_too_few_sites_are_refused(sites: int, threshold: int, found: str) -> None:
    with pytest.raises(TrainingError, match=found):
        check_threshold(sites, threshold)


def test_too_few_answers_open_nothing() -> None:
    group = Group(4)
    masked = group.masked({name: np.zeros(2, np.uint64) for name in list(group.sites)[:2]})
    with pytest.raises(TrainingError, match="0 sites stayed; expected at least 3"):
        opened_sum(masked, group.keys, {}, group.threshold, SESSION)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 6), st.integers(0, 4), st.randoms())
def test_any_threshold_of_shares_gives_the_secret_and_fewer_do_not(
    secret: bytes, threshold: int, more: int, chance
) -> None:
    shares = split(secret, range(1, threshold + more + 1), threshold)
    chosen = dict(chance.sample(sorted(shares.items()), threshold))
    assert join(chosen, threshold) == secret
    with pytest.raises(TrainingError):
        join(dict(list(chosen.items())[1:]), threshold)
