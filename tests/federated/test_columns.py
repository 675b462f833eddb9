"""Clinical columns that sites agree on: the encoding of the pooled rows, and no row leaves a site."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.errors import CohortError, SettingsError, TrainingError
from resight.federated.columns import agree_on_columns
from resight.federated.coordinator import Coordinator
from resight.federated.messages import Message
from resight.federated.simulate import InProcess, run_sites, sites_of
from resight.federated.site_data import SiteData
from resight.models.bundle import load_bundle
from resight.multimodal import TableEncoding

CLINICAL = {"columns": ["age", "ward", "code"], "categorical": ["code"], "image_dropout": 0.0, "table_dropout": 0.0}
WARDS = {"a": ["surgery", "medicine"], "b": ["medicine", None], "c": ["outpatients", "surgery"]}


def with_columns(data: SiteData, **columns: Callable[[np.random.Generator, int], object]) -> SiteData:
    """The same images with more columns, drawn for each split."""
    rng = np.random.default_rng(len(data.cohort))
    cohorts = {
        split: replace(one, table=one.table.assign(**{name: make(rng, len(one)) for name, make in columns.items()}))
        for split, one in data.cohorts.items()
    }
    return replace(data, cohorts=cohorts)


@pytest.fixture
def clinics(three: dict[str, SiteData]) -> dict[str, SiteData]:
    """Sites with wards of their own; one does not know the age of anybody, and another has one code only."""
    offset = {"a": 1e9, "b": np.nan, "c": 1e9 + 30}
    return {
        name: with_columns(
            data,
            age=lambda rng, n, name=name: rng.normal(offset[name], 3, n),
            ward=lambda rng, n, name=name: rng.choice(np.array(WARDS[name], dtype=object), n),
            code=lambda rng, n, name=name: rng.integers(1, 2 if name == "b" else 4, n),
        )
        for name, data in three.items()
    }


def _agreed(settings, data: dict[str, SiteData], folder: Path, **clinical: object) -> TableEncoding:
    chosen = settings(model={"clinical": CLINICAL | clinical})
    transport = InProcess(sites_of(chosen, data, folder))
    return agree_on_columns(transport, sorted(data), chosen.model.clinical, chosen.federation)


@pytest.mark.parametrize("secure", [False, True])
def test_the_encoding_is_that_of_the_pooled_rows(settings, clinics, tmp_path: Path, secure: bool) -> None:
    chosen = settings(model={"clinical": CLINICAL}, privacy={"secure_aggregation": secure})
    transport = InProcess(sites_of(chosen, clinics, tmp_path))
    found = agree_on_columns(transport, sorted(clinics), chosen.model.clinical, chosen.federation)
    pooled = pd.concat([data.cohort.table for data in clinics.values()], ignore_index=True)
    expected = TableEncoding.fit(pooled, chosen.model.clinical, where="pooled")
    age, known = found.columns[0], expected.columns[0]
    assert (age.mean, age.std) == (pytest.approx(known.mean, rel=1e-12), pytest.approx(known.std, rel=1e-12))
    assert found.columns[1:] == expected.columns[1:]
    assert expected.columns[1].categories == ("medicine", "outpatients", "surgery")


def test_no_row_leaves_and_under_secure_aggregation_no_sum_of_one_site(settings, clinics, tmp_path: Path) -> None:
    chosen = settings(rounds=1, model={"clinical": CLINICAL}, privacy={"secure_aggregation": True})
    sites = sites_of(chosen, clinics, tmp_path / "sites")
    Coordinator(chosen, InProcess(sites), tmp_path).train()
    for name, site in sites.items():
        lines = [json.loads(line) for line in site.ledger.path.read_text().splitlines()]
        columns = [line for line in lines if line["kind"] == "columns"]
        assert columns[0]["facts"]["columns"]["ward"] == {"holds": "names", "names": sorted(set(WARDS[name]) - {None})}
        sums = [line for line in lines if line["kind"] == "sums"]
        assert [line["numbers"] for line in sums] == [0, 0]
        masked = [line["numbers"] for line in lines if line["kind"] == "masked"]
        assert masked[:2] == [3 * 3 + 1] * 2, "rows, known and sum of three columns, and a check sum"


def test_sites_learn_from_the_table_and_the_bundle_reads_it(settings, three, tmp_path: Path) -> None:
    """Images are noise; who is ill stands in the table alone."""
    blind = {}
    for name, data in three.items():
        noise = np.random.default_rng(5).integers(0, 256, (200, 1, 16, 16), dtype=np.uint8)
        samples = {split: replace(one, store=noise) for split, one in data.samples.items()}
        told = {
            split: replace(one, table=one.table.assign(age=one.targets()[:, 0] * 40 + np.arange(len(one)) % 7))
            for split, one in data.cohorts.items()
        }
        blind[name] = SiteData(samples, told)
    clinical = {"columns": ["age"], "image_dropout": 0.0, "table_dropout": 0.0}
    chosen = settings(rounds=4, model={"clinical": clinical, "fusion": {"name": "concat"}})
    outcome = run_sites("federated", chosen, blind, tmp_path)
    assert outcome.audit.pooled[0].evaluation.labels[0].metrics["auroc"].value > 0.95
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.encoding == outcome.encoding
    assert manifest.encoding is not None


def test_a_killed_server_goes_on_with_the_encoding_it_had(settings, clinics, tmp_path: Path) -> None:
    chosen = settings(rounds=2, model={"clinical": CLINICAL})
    whole = Coordinator(chosen, InProcess(sites_of(chosen, clinics, tmp_path / "1" / "sites")), tmp_path / "1")
    whole.train()

    class Killed(InProcess):
        def ask(self, requests, timeout_s):
            if any(request.round == 1 for request in requests.values()):
                raise KeyboardInterrupt
            return super().ask(requests, timeout_s)

    with pytest.raises(KeyboardInterrupt):
        Coordinator(chosen, Killed(sites_of(chosen, clinics, tmp_path / "2" / "sites")), tmp_path / "2").train()
    again = sites_of(chosen, clinics, tmp_path / "2" / "sites")
    resumed = Coordinator(chosen, InProcess(again), tmp_path / "2", resume=True)
    resumed.train()
    assert resumed.encoding == whole.encoding
    assert all(np.array_equal(resumed.shared[name], array) for name, array in whole.shared.items())
    kinds = [json.loads(line)["kind"] for line in again["a"].ledger.path.read_text().splitlines()]
    assert kinds.count("columns") == 1


def test_a_site_that_comes_later_with_another_category_is_refused_and_the_round_goes_on(
    settings, clinics, tmp_path: Path
) -> None:
    chosen = settings(rounds=1, model={"clinical": CLINICAL})
    encoding = _agreed(settings, {name: clinics[name] for name in "ab"}, tmp_path / "earlier")
    coordinator = Coordinator(
        chosen, InProcess(sites_of(chosen, clinics, tmp_path / "sites")), tmp_path, encoding=encoding
    )
    coordinator.train()
    assert coordinator.history.rounds[0]["names"] == ["a", "b"]
    (refusal,) = coordinator.history.refusals
    assert refusal["site"] == "c"
    assert "'outpatients', which training did not see" in refusal["reason"]


@pytest.mark.parametrize(
    ("site", "columns", "clinical", "error", "message"),
    [
        ("b", {"age": lambda r, n: ["old"] * n}, {}, SettingsError, "'age' holds numbers at 'a' and names at 'b'"),
        ("c", {"ward": lambda r, n: [f"Mr {i}" for i in range(n)]}, {}, CohortError, "'ward' has"),
        ("a", {"age": lambda r, n: [np.inf] * n}, {}, CohortError, "column 'age' is 'inf'"),
        ("a", {}, {"columns": ["weight"], "categorical": []}, CohortError, "no clinical column 'weight'"),
        ("a", {}, {"categorical": ["height"]}, CohortError, "categorical column 'height'"),
    ],
)
def test_columns_that_cannot_be_used_are_one_line(
    settings, clinics, data, tmp_path: Path, site, columns, clinical, error, message
) -> None:
    clinics["c"] = with_columns(data(240, 3), age=_some, ward=lambda r, n: ["surgery"] * n, code=lambda r, n: [1] * n)
    clinics[site] = with_columns(clinics[site], **columns)
    with pytest.raises(error) as caught:
        _agreed(settings, clinics, tmp_path, **clinical)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_the_same_everywhere_or_nowhere_known_is_refused_but_at_one_site_it_is_not(
    settings, clinics, tmp_path: Path
) -> None:
    alike = {name: with_columns(one, code=lambda r, n: [7] * n) for name, one in clinics.items()}
    with pytest.raises(CohortError, match="'code' is '7' in every training row"):
        _agreed(settings, alike, tmp_path / "alike")
    nobody = {name: with_columns(one, age=lambda r, n: [np.nan] * n) for name, one in clinics.items()}
    with pytest.raises(CohortError, match="'age' is empty in every training row"):
        _agreed(settings, nobody, tmp_path / "nobody")


def test_a_site_without_a_column_takes_part_where_absent_ones_count_as_missing(
    settings, clinics, tmp_path: Path
) -> None:
    known = clinics["b"].cohorts.items()
    without = {split: replace(one, table=one.table.drop(columns="age")) for split, one in known}
    lacking = {**clinics, "b": replace(clinics["b"], cohorts=without)}
    with pytest.raises(CohortError, match="b: no clinical column 'age'"):
        _agreed(settings, lacking, tmp_path / "error")
    chosen = settings(rounds=1, model={"clinical": CLINICAL | {"absent": "missing"}})
    coordinator = Coordinator(chosen, InProcess(sites_of(chosen, lacking, tmp_path / "sites")), tmp_path)
    coordinator.train()
    assert coordinator.history.rounds[0]["names"] == ["a", "b", "c"]


def test_too_few_answers_agree_on_nothing(settings, clinics, tmp_path: Path) -> None:
    class Silent(InProcess):
        def ask(self, requests, timeout_s):
            return {name: reply for name, reply in super().ask(requests, timeout_s).items() if name == "a"}

    chosen = settings(model={"clinical": CLINICAL})
    transport = Silent(sites_of(chosen, clinics, tmp_path))
    with pytest.raises(TrainingError, match="agreeing on the clinical columns: 1 sites answered; expected at least 2"):
        agree_on_columns(transport, sorted(clinics), chosen.model.clinical, chosen.federation)


def test_a_site_without_clinical_settings_answers_nothing_about_its_table(settings, three, tmp_path: Path) -> None:
    site = sites_of(settings(), three, tmp_path)["a"]
    for kind in ("columns", "sums"):
        assert "name no clinical columns" in site.answer(Message(kind, facts={"means": None})).facts["reason"]


def _some(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(50, 10, n)
