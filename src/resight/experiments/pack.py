"""The evidence pack of a run: what was stored, what is computed from it, and the check that both still fit.

    predictions.csv, bundle-manifest.json, run.json       of the run
    answers.toml, risks.yaml                              of people
    sbom.json, datasheet.md                               of the machine and the cohort, when the pack was made
    figures.json, model-card.md, checklists.csv, evidence.html, evidence.pdf    computed from these
    pack.json, pack.json.sha256                           every other file with its SHA-256

`verify_pack` computes figures, card, lists and page again from the stored files and compares every number.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from resight.cohorts import QUESTIONS, datasheet, load_cohort
from resight.cohorts.datasheets import UNKNOWN
from resight.errors import BundleError, DataError, DependencyError, OutputError, ResightError, writing
from resight.evaluation import EvaluationOptions, evaluate, judge_uncertainty
from resight.evidence import (
    RISK_FILE,
    PackContent,
    answers_text,
    bill_of_materials,
    checklists_csv,
    draft_text,
    missing_in_pack,
    pack_page,
    questions,
    read_answers,
    read_risks,
    render_page,
    write_pdf,
)
from resight.experiments.pack_facts import Known, facts_of
from resight.experiments.settings import ExperimentSettings
from resight.experiments.verify import differences, verify_run
from resight.fairness import Audit, AuditOptions, audit
from resight.models import Manifest, render_card
from resight.models.bundle import load_bundle
from resight.models.checksums import changed_files, read_sealed, sha256, write_sealed
from resight.models.lock import LOCK_FILES
from resight.predictions import Predictions
from resight.settings import load_toml, validate, write_json

PACK_FILE: Final = "pack.json"
_FORMAT: Final = 1
_PAGE, _PDF = "evidence.html", "evidence.pdf"
_GROUPED_BY = ("sex", "age", "view", "site")
"""Attributes that a pack audits where the predictions have them."""


@dataclass(frozen=True)
class Pack:
    """A pack that was written.

    Attributes:
        folder: where.
        missing: part -> entries that are missing, and entries that it has.
        files: names, sorted.
        notes: what could not be made, one sentence each.
    """

    folder: Path
    missing: Mapping[str, tuple[int, int]]
    files: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def total_missing(self) -> int:
        """Entries that are missing in all parts."""
        return sum(count for count, _ in self.missing.values())


def write_pack(
    run: Path, out: Path, *, answers: Path | None = None, risks: Path | None = None, replace: bool = False
) -> Pack:
    """Make the evidence pack of a finished run; it appears complete or not at all.

    Args:
        run: folder of the run; its figures must be what its predictions give.
        out: must not exist, or be empty, unless it may be replaced.
        answers: what people answered; see `read_answers`.
        risks: edited risk file; the draft when not given.
        replace: remove what is at `out` once the new pack is complete.

    Raises:
        BundleError: the run or its bundle was changed.
        SettingsError: answers or risks cannot be used.
        OutputError: the folder exists or cannot be written.
        DependencyError: a library for the bill of materials is not installed.
    """
    if problems := verify_run(run):
        raise BundleError(problems[0], where=str(run), fix="A pack is made of an unchanged run.")
    if out.exists() and not replace and (out.is_file() or any(out.iterdir())):
        raise OutputError("exists already", where=str(out), fix="Choose another folder.")
    given = read_answers(answers) if answers else {}
    risk_file = f"risks{risks.suffix}" if risks and risks.suffix == ".toml" else RISK_FILE
    risk_text = risks.read_text(encoding="utf-8") if risks and read_risks(risks) else draft_text()
    manifest = load_bundle(run / "bundle").manifest
    created = datetime.now(UTC).replace(microsecond=0)
    unfinished = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    with writing(out):
        unfinished.mkdir(parents=True)
        try:
            shutil.copyfile(run / "predictions.csv", unfinished / "predictions.csv")
            shutil.copyfile(run / "bundle" / "manifest.json", unfinished / "bundle-manifest.json")
            notes = _write_datasheet(run, unfinished, given)
            weights = {name: manifest.files[name] for name in manifest.weight_files()}
            bill = bill_of_materials(weights, manifest.name, created)
            for name, text in (
                ("sbom.json", bill),
                (risk_file, risk_text),
                ("answers.toml", answers_text(given, {})),
            ):
                (unfinished / name).write_text(text, encoding="utf-8")
            write_json(unfinished / "run.json", run_record(run, created.isoformat(), notes))
            documents, content = _documents(unfinished)
            for name, text in documents.items():
                (unfinished / name).write_text(text, encoding="utf-8")
            try:
                write_pdf(unfinished / _PDF, documents[_PAGE])
            except (DependencyError, OutputError) as error:
                notes = (*notes, f"No PDF was made: {error}")
            files = {path.name: sha256(path) for path in sorted(unfinished.iterdir())}
            write_sealed(unfinished / PACK_FILE, {"format_version": _FORMAT, "name": manifest.name, "files": files})
            if out.exists():
                shutil.rmtree(out) if out.is_dir() else out.unlink()
            unfinished.rename(out)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return Pack(out, missing_in_pack(content), tuple(sorted(files)), notes)


def verify_pack(folder: Path) -> list[str]:
    """Compare every file of a pack with its checksum, and every number with what the stored predictions give.

    The PDF, the bill of materials and the datasheet cannot be computed again; of them only the checksum is compared.

    Returns:
        One clause per thing that is wrong; empty when nothing is.
    """
    try:
        stored = read_sealed(folder / PACK_FILE)
        if stored.get("format_version") != _FORMAT:
            return [f"pack format {stored.get('format_version')!r} is not known"]
        problems = changed_files(folder, stored["files"])
        known = {*stored["files"], PACK_FILE, f"{PACK_FILE}.sha256", *LOCK_FILES}
        problems += [f"{p.name} is not named in {PACK_FILE}" for p in sorted(folder.iterdir()) if p.name not in known]
        if problems:
            return problems
        documents, content = _documents(folder)
        for name, text in documents.items():
            written = (folder / name).read_text(encoding="utf-8")
            if name == "figures.json":
                problems += [f"{name}: {where}" for where in differences(json.loads(written), json.loads(text))]
            elif written != text:
                problems.append(f"{name} is not what the stored predictions and answers give")
        return problems + _manifest_differences(folder, content)
    except BundleError as error:
        return [error.found]
    except (ResightError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return [f"cannot be computed again ({error})"]


def run_record(run: Path, created: str, notes: tuple[str, ...]) -> dict[str, Any]:
    """What a pack keeps of a run's record: no path, no command line, no name of an image."""
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    environment, report = record["environment"], run / "report.html"
    page = report.read_text(encoding="utf-8") if report.is_file() else ""
    passed, failed = "maps passed their checks", "maps are not trustworthy"
    maps = {
        passed: "Evidence maps passed their checks.",
        failed: "Evidence maps were judged and failed; see the limits.",
    }
    return {
        "created": created,
        "data": record["data"],
        "evaluated_on": record["evaluated_on"],
        "parameters": record["parameters"],
        "training": [{key: fit[key] for key in ("best_epoch", "selected_by")} for fit in record["training"]],
        "versions": environment["versions"],
        "python": environment["python"],
        "git": environment["git"],
        "maps": next((text for sign, text in maps.items() if sign in page), ""),
        "examples": load_toml(run / "settings.toml", ExperimentSettings).report.examples,
        "notes": notes,
    }


def _risk_file(folder: Path) -> Path:
    """The risk file of a pack; packs of earlier versions, and those made of TOML, have TOML."""
    toml = folder / "risks.toml"
    return toml if toml.is_file() else folder / RISK_FILE


def _documents(folder: Path) -> tuple[dict[str, str], PackContent]:
    """Everything that is computed from the stored files, as text by name."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    data = json.loads((folder / "bundle-manifest.json").read_text(encoding="utf-8"))
    manifest = validate(Manifest, data, where="bundle-manifest.json")
    predictions = Predictions.read(folder / "predictions.csv", manifest.task)
    asked = validate(EvaluationOptions, manifest.settings.get("evaluation", {}), where="bundle-manifest.json")
    options = asked.model_copy(update={"split": run["evaluated_on"]})
    evaluation = evaluate(predictions, options, operating_points=manifest.operating_points)
    uncertainty = judge_uncertainty(predictions.part(split=run["evaluated_on"]), manifest.conformal, options)
    groups = _audit(predictions, options, run["evaluated_on"])
    given = read_answers(folder / "answers.toml")
    facts = facts_of(Known(manifest, run, predictions, evaluation, uncertainty, groups))
    for key, text in given.items():
        facts[key] = f"{text} {facts.get(key, '')}".strip()
    sheet = folder / "datasheet.md"
    content = PackContent(
        name=manifest.name,
        created=run["created"],
        facts=facts,
        evaluation=evaluation,
        evaluated_on=run["evaluated_on"],
        audit=groups,
        limits=manifest.limits,
        clearance=manifest.clearance,
        risks=read_risks(_risk_file(folder)),
        bill=(folder / "sbom.json").read_text(encoding="utf-8"),
        unknown_in_datasheet=sheet.read_text(encoding="utf-8").count(UNKNOWN) if sheet.is_file() else None,
        notes=tuple(run["notes"]),
    )
    figures = {"evaluation": evaluation, "uncertainty": uncertainty, "audit": groups}
    plain = {name: None if one is None else one.to_dict() for name, one in figures.items()}
    documents = {
        "figures.json": json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n",
        "model-card.md": render_card(manifest),
        "checklists.csv": checklists_csv(content),
        "answers.toml": answers_text(given, facts),
        _PAGE: render_page(pack_page(content)),
    }
    return documents, content


def _manifest_differences(folder: Path, content: PackContent) -> list[str]:
    """Figures that the model card repeats from the bundle against those that the predictions give."""
    figures = json.loads((folder / "bundle-manifest.json").read_text(encoding="utf-8"))["metrics"]
    again = content.evaluation.to_dict()
    labels = [{key: label[key] for key in ("label", "counts", "metrics")} for label in again["labels"]]
    computed = json.loads(json.dumps({"labels": labels, "macro": again["macro"], "overall": again["overall"]}))
    stored = {key: figures.get(key) for key in computed}
    return [f"bundle-manifest.json: {where}" for where in differences(stored, computed, "metrics")]


def _audit(predictions: Predictions, options: EvaluationOptions, split: str) -> Audit | None:
    table = predictions.part(split=split).images()
    by = tuple(name for name in _GROUPED_BY if name in table.columns and table[name].nunique() > 1)
    if not by:
        return None
    asked = AuditOptions(
        by=by, split=split, bootstrap=options.bootstrap, seed=options.seed, confidence=options.confidence
    )
    return audit(predictions, asked)


def _write_datasheet(run: Path, folder: Path, answers: Mapping[str, str]) -> tuple[str, ...]:
    """Write the datasheet where the cohort is still there; say so where it is not."""
    keys = {key for asked in QUESTIONS.values() for key, _ in asked} & set(questions())
    try:
        cohort = load_cohort(load_toml(run / "settings.toml", ExperimentSettings).cohort)
        text = datasheet(cohort, answers={key: answers[key] for key in keys & set(answers)})
    except DataError:
        return ("The datasheet is missing: the cohort is no longer where the run read it.",)
    (folder / "datasheet.md").write_text(text, encoding="utf-8")
    return ()
