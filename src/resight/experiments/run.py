"""`resight train`: from an experiment file to a run folder with bundle, predictions, figures and report."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from resight.errors import OutputError, SettingsError
from resight.evidence import write_report
from resight.experiments.budget_results import budget_lines
from resight.experiments.budgets import study_budgets
from resight.experiments.bundling import fit_novelty, fit_sentinels, make_manifest, remember, training_cases
from resight.experiments.explaining import CONTROL_FOLDER, save_control, score_evidence, train_control
from resight.experiments.groups import group_findings
from resight.experiments.inputs import InputReport, report_inputs
from resight.experiments.judge import Judged, judge
from resight.experiments.members import Ensemble, train_members
from resight.experiments.people import people_findings, read_readings
from resight.experiments.prepare import SPLITS, Prepared, prepare
from resight.experiments.record import environment
from resight.experiments.reporting import report_content
from resight.experiments.settings import ExperimentSettings, ReportOptions, StoreOptions
from resight.experiments.trust_facts import Trust
from resight.models.bundle import save_bundle
from resight.monitoring import MonitorOptions, rehearse
from resight.settings import begin_with, load_toml, write_json
from resight.training import TrainingOptions
from resight.training.distributed import leader_first, ranks, wait_for_all
from resight.types import Progress, silent

SETTINGS_FILE = "settings.toml"
CASES_FILE = "cases.safetensors"


@dataclass(frozen=True)
class Run:
    """What a finished run is and where it lies.

    Attributes:
        folder: holds `settings.toml`, `record.json`, `metrics.json`, `predictions.csv`, `excluded.csv`, `report.html`,
            `explanations.json`, `bundle/`, `checkpoints/`, `cases.safetensors` (features of the training cases), and
            where they apply `inputs.json` (several inputs), `prognosis.json`, `budgets.json` (networks with exits or
            gates) and `control/` (the network on permuted labels).
        judged: all numbers.
        prepared: the cohort as it was used.
        inputs: what each input adds; None for a network of one image alone.
    """

    folder: Path
    judged: Judged
    prepared: Prepared
    inputs: InputReport | None = None


def train_experiment(
    settings: ExperimentSettings, folder: str | Path, *, resume: bool = False, progress: Progress = silent
) -> Run:
    """Run one experiment.

    Args:
        settings: everything about it.
        folder: run folder; made if it is not there.
        resume: continue a run that was interrupted, with the same settings.
        progress: told about every stage.

    Raises:
        ResightError: whatever stops a run; what is finished stays in the folder.
    """
    folder = Path(folder)
    began, began_cpu = time.monotonic(), time.process_time()
    mine = ranks()
    with leader_first():
        open_run_folder(settings, folder, resume=resume or not mine.leads)
        prepared = prepare(settings, settings.store.folder or folder / "store", progress)
    readings = read_readings(settings, prepared)
    ensemble = train_members(settings, prepared, folder / "checkpoints", resume=resume, progress=progress)
    progress("evaluate", 0, 1, "")
    judged = judge(settings, prepared, ensemble)
    progress("evaluate", 1, 1, "")
    inputs = report_inputs(
        settings, prepared, ensemble, judged, folder / "checkpoints" / "images-only", resume=resume, progress=progress
    )
    control = None
    if settings.report.label_randomisation:
        checkpoints = folder / "checkpoints" / "permuted-labels"
        control = train_control(settings, prepared, checkpoints, resume=resume, progress=progress)
    if not mine.leads:  # the first process writes what all of them found
        wait_for_all()
        return Run(folder, judged, prepared, inputs)
    prepared.excluded.to_csv(folder / "excluded.csv", index=False, lineterminator="\n")
    judged.predictions.write(folder / "predictions.csv")
    write_json(folder / "metrics.json", figures(judged))
    for name, found in (("prognosis", judged.prognosis), ("inputs", inputs)):
        if found is not None:
            write_json(folder / f"{name}.json", found.to_dict())
    spent = {"wall": round(time.monotonic() - began, 1), "cpu": round(time.process_time() - began_cpu, 1)}
    record = make_record(prepared, ensemble, judged, spent)
    write_json(folder / "record.json", record)
    study = study_budgets(settings, prepared, ensemble, judged, progress)
    if study is not None:
        write_json(folder / "budgets.json", study.to_dict())
    sentinels = fit_sentinels(prepared, settings.training.seed)
    for made in ("bundle", CONTROL_FOLDER):
        with suppress(FileNotFoundError):
            shutil.rmtree(folder / made)
    novelty = fit_novelty(prepared, ensemble, settings.training.seed)
    budgets = None if study is None else study.budgets
    scores = score_evidence(settings, prepared, ensemble, judged, control)
    write_json(folder / "explanations.json", scores.to_dict())
    reference = remember(prepared, ensemble, judged, sentinels, novelty, settings.training.seed)
    trust = Trust(
        scores,
        group_findings(settings, judged),
        people_findings(settings, judged, readings),
        reference,
        None if reference is None else rehearse(reference, alpha=MonitorOptions().alpha, seed=settings.training.seed),
    )
    manifest = make_manifest(settings, prepared, judged, inputs, sentinels, record, budgets, trust)
    save_bundle(folder / "bundle", ensemble.models, manifest, novelty)
    if control is not None:
        save_control(folder / CONTROL_FOLDER, control, manifest)
    training_cases(prepared, ensemble).save(folder / CASES_FILE)
    content = report_content(settings, prepared, ensemble, judged, inputs, sentinels, record, trust, progress)
    content = replace(content, budgets=budget_lines(study))
    write_report(folder / "report.html", content)
    if not (settings.store.keep or settings.store.folder):
        shutil.rmtree(folder / "store")
    wait_for_all()
    return Run(folder, judged, prepared, inputs)


def figures(judged: Judged) -> dict[str, Any]:
    """Everything measured, as `metrics.json` holds it."""
    also = {"evaluated_on": judged.evaluated_on, "uncertainty": judged.uncertainty.to_dict()}
    return judged.evaluation.to_dict() | also


def make_record(prepared: Prepared, ensemble: Ensemble, judged: Judged, seconds: dict[str, float]) -> dict[str, Any]:
    """What happened, for people who want to run it again."""
    cohort = prepared.cohort
    return {
        "environment": environment(),
        "seconds": seconds,
        "data": {
            "name": cohort.name,
            "fingerprint": cohort.fingerprint(),
            "images_assessed": prepared.assessed,
            "images_excluded": len(prepared.excluded),
            "images": {split: int(prepared.in_split(split).sum()) for split in SPLITS},
            "notes": list(cohort.notes),
        },
        "training": [asdict(result) for result in ensemble.fits],
        "parameters": sum(p.numel() for p in ensemble.models[0].parameters()),
        "evaluated_on": judged.evaluated_on,
    }


def _bearing(settings: ExperimentSettings) -> ExperimentSettings:
    """What the result depends on: how many processes read, where the store lies and the like may change on the way."""
    defaults = TrainingOptions()
    same = {key: getattr(defaults, key) for key in ("workers", "threads", "checkpoint_every_s")}
    training = settings.training.model_copy(update=same)
    return settings.model_copy(update={"training": training, "store": StoreOptions(), "report": ReportOptions()})


def open_run_folder(settings: ExperimentSettings, folder: Path, *, resume: bool) -> None:
    """Make a run folder with its settings, or check that those of an interrupted run are the same.

    Raises:
        OutputError: it holds a run already, or cannot be written.
        SettingsError: it began with other settings.
    """
    path = folder / SETTINGS_FILE
    if path.exists():
        if not resume:
            fix = "Choose another folder, give --resume to continue it, or --force to begin anew."
            raise OutputError("holds a run already", where=str(folder), fix=fix)
        if _bearing(load_toml(path, ExperimentSettings)) != _bearing(settings):
            fix = "Resume with the settings.toml of the folder, or train into another one."
            raise SettingsError("the settings are not those the run began with", where=str(path), fix=fix)
        return
    begin_with(settings, path)
