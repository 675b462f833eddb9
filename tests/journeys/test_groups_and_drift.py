"""`resight audit`, `mitigate`, `probe` and `monitor` from end to end, on tables and on a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from resight.cli.main import main
from resight.cohorts import PhantomOptions, write_phantom


@pytest.fixture(scope="module")
def singles(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on one image a patient, so that its bundle has something to remember, with readings beside it."""
    folder = tmp_path_factory.mktemp("singles")
    findings = ("Cardiomegaly", "Effusion")
    write_phantom(
        PhantomOptions(images=140, size_px=40, findings=findings, prevalence=0.4, images_per_patient=1), folder
    )
    table = pd.read_csv(folder / "cohort.csv")
    rng = np.random.default_rng(0)
    readings = [
        table[["image"]].assign(label=name, reader=reader, arm=arm, decision=table[name] ^ (rng.random(140) < wrong))
        for name in findings
        for reader in ("anna", "ben")
        for arm, wrong in (("unaided", 0.2), ("aided", 0.1))
    ]
    pd.concat(readings).astype({"decision": int}).to_csv(folder / "readings.csv", index=False)
    settings = ["--set", f"cohort.path={folder / 'cohort.csv'}", "--set", "training.epochs=1"]
    settings += ["--set", f"report.readings={folder / 'readings.csv'}"]
    sets = {"group": "sex", "method": "marginal", "coverage": 0.8}
    settings += [word for name, value in sets.items() for word in ("--set", f"conformal.{name}={value}")]
    assert main(["train", str(experiment), "--out", str(folder / "run"), *settings]) == 0
    return folder


def test_audit_writes_what_it_prints(resight: Any, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.json"
    answer = resight(
        "audit", run_folder / "predictions.csv", "--by", "sex,age,sex+view", "--edges", "age=40,60",
        "--bootstrap", 20, "--min-events", 3, "--json", "--out", out,
    )  # fmt: skip
    assert answer.code == 0
    assert answer.json() == json.loads(out.read_text())
    assert {group["attribute"] for group in answer.json()["groups"]} == {"sex", "age", "sex+view"}
    assert resight("audit", run_folder / "predictions.csv", "--by", "sex", "--out", out).code == 7
    shown = resight("audit", run_folder / "predictions.csv", "--by", "sex", "--bootstrap", 0)
    assert "underdiagnosis" in shown.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--by", "sexx"), "Did you mean 'sex'"),
        (("--by", "age", "--edges", "age"), "attribute=number"),
        (("--by", ""), "by"),
        (("--by", "sex", "--split", "tset"), "no rows of split 'tset'"),
    ],
)
def test_audit_says_what_is_wrong(resight: Any, run_folder: Path, arguments: tuple[str, ...], told: str) -> None:
    answer = resight("audit", run_folder / "predictions.csv", *arguments)
    assert answer.code in (3, 4)
    assert told in answer.complaint


def test_mitigate_writes_new_decisions(resight: Any, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "mended.csv"
    table = run_folder / "predictions.csv"
    answer = resight("mitigate", table, "--by", "sex", "--min-events", 2, "--bootstrap", 20, "--out", out, "--json")
    assert answer.code == 0
    assert {one["group"] for one in answer.json()["thresholds"]} == {"F", "M", ""}
    before, after = pd.read_csv(table), pd.read_csv(out)
    assert set(after["operating_point"]) == {"equal_sensitivity"}
    pd.testing.assert_series_equal(before["probability"], after["probability"])
    against = resight("mitigate", table, "--by", "sex", "--min-events", 2, "--bootstrap", 20, "--against", out)
    assert against.code == 0
    assert "sensitivity gap" in against.out


def test_a_bundle_remembers_and_monitor_compares(resight: Any, singles: Path, tmp_path: Path) -> None:
    table, run, alerts = tmp_path / "incoming.csv", singles / "run", tmp_path / "alerts.json"
    assert resight("predict", run, singles / "images", "--out", table).code == 0
    answer = resight("monitor", run, table, "--out", alerts, "--json")
    assert answer.code == 0
    found = json.loads(alerts.read_text())
    assert (found["drifted"], found["cases"]) == (False, 140)
    assert {"score of Effusion", "brightness", "alert"} <= {one["column"] for one in found["drifts"]}
    dark = pd.read_csv(table).assign(brightness=1.0)
    dark.to_csv(tmp_path / "dark.csv", index=False)
    answer = resight("monitor", run, tmp_path / "dark.csv")
    assert answer.code == 10
    assert "brightness" in next(line for line in answer.err.splitlines() if "ALARM" in line)
    assert "resight monitor" in (run / "bundle" / "card.md").read_text()


def test_a_bundle_without_memory_says_so(resight: Any, run_folder: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "bundle_v1"
    answer = resight("monitor", golden, run_folder / "predictions.csv")
    assert answer.code == 5
    assert "no reference" in answer.complaint


def test_probe_asks_scores_and_features(resight: Any, singles: Path) -> None:
    table = singles / "run" / "predictions.csv"
    common = ("--by", "sex,view", "--min-patients", 3, "--json")
    answer = resight("probe", table, *common, "--bundle", singles / "run", "--root", singles)
    assert answer.code == 0
    probes = {probe["attribute"]: probe["auroc"] for probe in answer.json()["features"]}
    assert set(probes) == {"sex", "view"}
    for auroc in probes.values():
        assert auroc["undefined_because"] or 0 <= auroc["low"] <= auroc["value"] <= auroc["high"] <= 1
    assert {link["label"] for link in answer.json()["scores"]} == {"Cardiomegaly", "Effusion"}


def test_probe_searches_pixels(resight: Any, singles: Path) -> None:
    table = singles / "run" / "predictions.csv"
    common = ("--bundle", singles / "run", "--root", singles, "--min-patients", 3)
    answer = resight("probe", table, "--pixels", *common, "--json")
    assert answer.code == 0
    assert len({test["change"] for test in answer.json()["pixels"]}) == 18
    assert answer.json()["scores"] == []
    shown = resight("probe", table, "--pixels", *common, "--most-images", 20)
    assert "of 18 changes matter to the network more than they should" in shown.err
    for arguments, told in ((("--pixels",), "--bundle"), ((), "--by, --pixels or both")):
        answer = resight("probe", table, *arguments)
        assert answer.code == 3
        assert told in answer.complaint


def test_report_and_card_say_what_is_known_of_groups(run_folder: Path) -> None:
    report = (run_folder / "report.html").read_text()
    assert "Results by group" in report
    assert "cannot be told: too few patients in the groups" in report
    assert "too few patients in the groups" in (run_folder / "bundle" / "card.md").read_text()


def test_sets_are_those_of_the_group_in_the_run_and_later(resight: Any, singles: Path, tmp_path: Path) -> None:
    run, wanted = singles / "run", ["image", "label", "conformal", "conformal_group"]
    conformal = json.loads((run / "bundle" / "manifest.json").read_text())["conformal"]
    assert set(conformal["groups"]) == {"F", "M"}
    assert conformal["groups"]["F"] != conformal["groups"]["M"]
    before = pd.read_csv(run / "predictions.csv").query("split == 'test'")[[*wanted, "sex"]]
    assert (before["conformal_group"] == before["sex"]).all()
    patients = pd.read_csv(singles / "cohort.csv")[["image", "sex"]]
    patients.to_csv(tmp_path / "patients.csv", index=False)
    images = [singles / name for name in before["image"].unique()]
    later = tmp_path / "later.csv"
    answer = resight("predict", run, *images, "--table", tmp_path / "patients.csv", "--out", later)
    assert "no known group" not in answer.err
    columns = [*wanted[1:], "sex"]
    pd.testing.assert_frame_equal(pd.read_csv(later)[columns], before[columns].reset_index(drop=True))
    answer = resight("predict", run, *images, "--out", later, "--force")
    assert f"{len(images)} of {len(images)} images have no known group" in answer.err
    largest = pd.read_csv(later)
    assert largest["conformal_group"].isna().all()
    now, then = largest["conformal"].to_numpy(), before["conformal"].to_numpy()
    assert ((now == then) | (now == "either")).all()
    patients.drop(columns="sex").to_csv(tmp_path / "patients.csv", index=False)
    answer = resight("predict", run, *images, "--table", tmp_path / "patients.csv")
    assert answer.code == 4
    assert "no column 'sex'" in answer.complaint
    assert resight("verify", run).code == 0


def test_report_and_card_say_how_often_sets_of_a_group_held_the_truth(singles: Path) -> None:
    report = " ".join((singles / "run" / "report.html").read_text().split())
    assert "Each group by sex has thresholds of its own" in report
    figures = json.loads((singles / "run" / "metrics.json").read_text())["uncertainty"]["sets"]["by_group"]
    card = (singles / "run" / "bundle" / "card.md").read_text()
    assert "new patients, also within each group by sex" in card
    (sentence,) = (line for line in card.splitlines() if "With thresholds for each group they held it for" in line)
    for group in ("sex F", "sex M"):
        assert f"{group}: {figures[group]['value']:.3f} ({figures[group]['low']:.3f}" in sentence


def test_groups_that_are_not_there_stop_a_run_before_it_trains(resight: Any, experiment: Path, tmp_path: Path) -> None:
    answer = resight("train", experiment, "--out", tmp_path / "run", "--set", "conformal.group=sexx")
    assert answer.code == 3
    assert "no attribute 'sexx' to group by" in answer.complaint
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_report_and_card_say_what_people_add_and_what_drift_would_be_noticed(singles: Path) -> None:
    report = " ".join((singles / "run" / "report.html").read_text().split())
    for title in ("People and model", "Readers with and without the model", "Drift"):
        assert f">{title}</h2>" in report
    assert "Effusion, model and readers together:" in report
    assert "Effusion: Sensitivity" in report
    card = (singles / "run" / "bundle" / "card.md").read_text()
    assert "## People and model\n\n- Cardiomegaly, model and readers together:" in card
    assert "## Drift\n\n- Later cases are compared with" in card


def test_readings_that_cannot_be_used_stop_a_run_before_it_trains(
    resight: Any, experiment: Path, singles: Path
) -> None:
    wrong = singles / "aided.csv"
    pd.read_csv(singles / "readings.csv").query("arm == 'aided'").to_csv(wrong, index=False)
    run = singles / "refused"
    given = ("--set", f"cohort.path={singles / 'cohort.csv'}", "--set", f"report.readings={wrong}")
    answer = resight("train", experiment, "--out", run, *given)
    assert answer.code == 4
    assert "arms aided; expected an arm 'unaided'" in answer.complaint
    assert not (run / "checkpoints").exists()
