"""From a cohort on disk to a federation beside its baselines, and a bundle that predicts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.cli.main import main
from resight.cohorts import PhantomOptions, write_phantom
from resight.errors import CohortError, OutputError, SettingsError
from resight.experiments.prepare import prepare
from resight.federated import FederatedSettings, simulate
from resight.federated.sites import make_sites, scanner_curve, together
from resight.models import load
from resight.settings import dump_toml, validate
from resight.types import silent


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(PhantomOptions(images=120, size_px=32, findings=("Effusion",)), folder / "study")
    return folder


def chosen(phantom: Path, **simulation: object) -> FederatedSettings:
    data = {
        "cohort": {"path": str(phantom / "study"), "labels": ["Effusion"]},
        "recipe": {"size_px": [16, 16], "channels": 1},
        "model": {"backbone": {"name": "resnet", "depth": 20, "width": 4}},
        "training": {"batch_size": 16, "precision": "fp32", "optimizer": "sgd"},
        "evaluation": {"bootstrap": 20},
        "store": {"folder": str(phantom / "store")},
        "federation": {"rounds": 1},
        "simulation": simulation,
    }
    return validate(FederatedSettings, data, where="test")


def test_a_simulation_stands_beside_its_baselines_and_its_bundle_predicts(phantom: Path, tmp_path: Path) -> None:
    settings = chosen(phantom)
    path = tmp_path / "experiment.toml"
    path.write_text(dump_toml(settings))
    assert main(["federate", "simulate", str(path), "--out", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "run" / "federation.json").read_text())["outcomes"]
    sites = ["site-1", "site-2", "site-3"]
    assert list(found) == sorted(["federated", "pooled", *(f"alone: {name}" for name in sites)])
    for outcome in found.values():
        assert sorted(outcome["sites"]) == sites
        counts = outcome["pooled"][0]["counts"]
        assert counts == found["federated"]["pooled"][0]["counts"], "all are judged on the same images"
    predictor = load(tmp_path / "run" / "federated" / "bundle")
    images = sorted((phantom / "study" / "images").glob("*.png"))[:3]
    assert predictor.predict(images).has("probability")

    with pytest.raises(OutputError, match="holds a federation already"):
        simulate(settings, tmp_path / "run")
    with pytest.raises(SettingsError, match="not those it began with"):
        simulate(chosen(phantom, sites=2), tmp_path / "run", resume=True)
    before = (tmp_path / "run" / "federated" / "server.safetensors").stat().st_mtime_ns
    again = simulate(settings, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "federated" / "server.safetensors").stat().st_mtime_ns == before
    auroc = again.outcomes[0].audit.pooled[0].evaluation.labels[0].metrics["auroc"].value
    assert auroc == found["federated"]["pooled"][0]["metrics"]["auroc"]["value"]


@pytest.mark.parametrize("skew", [0.0, 0.3])
def test_sites_share_no_patient_lose_no_image_and_are_drawn_alike_again(phantom: Path, skew: float) -> None:
    settings = chosen(phantom, label_skew=skew, sites=2)
    prepared = prepare(settings, phantom / "store", silent)
    sites = make_sites(settings, prepared)
    tables = [pd.concat([c.table for c in data.cohorts.values()]) for data in sites.values()]
    patients = [set(table["patient_id"]) for table in tables]
    assert not patients[0] & patients[1]
    assert sum(map(len, tables)) == len(prepared.cohort)
    again = make_sites(settings, prepared)
    assert all(sites[n].samples["train"].names == again[n].samples["train"].names for n in sites)
    pooled = together(sites).samples["train"]
    assert sorted(pooled.names) == sorted(n for data in sites.values() for n in data.samples["train"].names)
    last = sites["site-2"].samples["train"]
    assert np.array_equal(pooled.store[len(pooled) - 1], last.store[int(last.rows[-1])])


def test_sites_of_an_attribute_are_its_values(phantom: Path) -> None:
    settings = chosen(phantom, column="site")
    prepared = prepare(settings, phantom / "store", silent)
    sites = make_sites(settings, prepared)
    for name, data in sites.items():
        assert set(data.cohort.table["site"]) == {name}
    with pytest.raises(CohortError, match="no column 'hospital'"):
        make_sites(chosen(phantom, column="hospital"), prepared)


def test_scanners_differ_in_grey_values_and_in_nothing_else(phantom: Path) -> None:
    prepared = prepare(chosen(phantom), phantom / "store", silent)
    plain, moved = make_sites(chosen(phantom), prepared), make_sites(chosen(phantom, scanner_shift=1.0), prepared)
    means = []
    for name in plain:
        one, other = plain[name].samples["test"], moved[name].samples["test"]
        assert one.names == other.names
        a, b = one.store[0].ravel().astype(float), other.store[0].ravel().astype(float)
        assert np.corrcoef(pd.Series(a).rank(), pd.Series(b).rank())[0, 1] > 0.98
        means.append((b - a).mean())
    assert means[0] < -5 < 5 < means[2]
    assert (np.diff(scanner_curve(1.0, 2, 3).astype(int)) >= 0).all()
    assert np.array_equal(scanner_curve(0.0, 1, 3), np.arange(256))
