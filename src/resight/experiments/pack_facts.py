"""What a finished run knows, as sentences by key: the answers that checklists of the evidence pack ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resight.evaluation import Evaluation, Uncertainty
from resight.evidence.wording import in_words, listed, metric_name, plural
from resight.experiments.reporting import described
from resight.fairness import Audit
from resight.models import Manifest
from resight.predictions import COLUMNS, Predictions

_SHOWN = ("auroc", "auprc", "brier", "calibration_slope")


@dataclass(frozen=True)
class Known:
    """What is stored of a run, and what its predictions give.

    Attributes:
        manifest: of its bundle.
        run: the part of its record that goes into the pack, see `pack.run_record`.
        predictions: all rows.
        evaluation: computed from them.
        uncertainty: of the sets of answers.
        audit: by groups; None where no attribute makes groups.
    """

    manifest: Manifest
    run: Mapping[str, Any]
    predictions: Predictions
    evaluation: Evaluation
    uncertainty: Uncertainty | None
    audit: Audit | None


def facts_of(known: Known) -> dict[str, str]:
    """Sentences by key; a key that is absent or blank is not known to the run."""
    return {**_data(known), **_model(known), **_figures(known), **_use(known)}


def _data(known: Known) -> dict[str, str]:
    data, manifest, table = known.run["data"], known.manifest, known.predictions.images()
    parts = ", ".join(f"{name} {count}" for name, count in data["images"].items())
    masked = int((~known.predictions.mask()).sum())
    grouped = "patient_id" in table.columns and _split(manifest).get("group") not in (["none"], ("none",))
    shared = int(table.groupby("patient_id")["split"].nunique().gt(1).sum()) if grouped else -1
    level = (
        f"By {' and '.join(_split(manifest).get('group', ()))}: {shared} patients are in two parts." if grouped else ""
    )
    counts = ", ".join(
        f"{one.label} {one.counts.positives} of {one.counts.positives + one.counts.negatives}"
        for one in known.evaluation.labels
    )
    people = _characteristics(table)
    return {
        "data": f"Cohort {data['name']}, {data['images_assessed']} images assessed, fingerprint of the table "
        f"{data['fingerprint'][:16]}.",
        "exclusions": f"{data['images_excluded']} images could not be used; the run names each with its reason.",
        "missing_data": f"A label that is not known is masked, neither learned from nor judged: {masked} of "
        f"{known.predictions.mask().size} image-label pairs.",
        "labels": f"Labels: {listed(manifest.labels, 20)} ({manifest.task}).",
        "partitions": f"Images by part: {parts}. {' '.join(data['notes'])}",
        "partition_level": level,
        "flow": f"{data['images_assessed']} images assessed, {data['images_excluded']} excluded, {parts}.",
        "numbers": f"Evaluated: {plural(known.evaluation.images, 'image')} of "
        f"{plural(known.evaluation.patients, 'patient')}; with the finding: {counts}.",
        "characteristics": people,
        "partition_differences": people,
    }


def _characteristics(images: pd.DataFrame) -> str:
    """Every attribute in every part, in words."""
    names = [str(name) for name in images.columns if name not in COLUMNS]
    parts = [
        f"{split}: " + "; ".join(f"{name} {text}" for name in names if (text := described(part[name])))
        for split, part in images.groupby("split", sort=False)
    ]
    return ". ".join(parts) + "." if names else ""


def _split(manifest: Manifest) -> Mapping[str, Any]:
    return manifest.settings.get("split", {})


def _model(known: Known) -> dict[str, str]:
    manifest, run = known.manifest, known.run
    training: Mapping[str, Any] = manifest.settings.get("training", {})
    backbone, recipe = manifest.model.backbone, manifest.recipe
    size = " x ".join(map(str, recipe.size_px))
    seed, weights = training.get("seed"), manifest.model.weights
    options = ", ".join(f"{key} {value}" for key, value in backbone.items() if key != "name" and value is not None)
    fits = run["training"]
    epochs = ", ".join(str(fit["best_epoch"]) for fit in fits)
    loss, objective = training.get("loss", {}).get("name"), training.get("objective", {}).get("name")
    imbalance = training.get("imbalance", "none")
    return {
        "model": f"{backbone['name']} ({options}), head {manifest.model.head['name']}, {run['parameters']} parameters.",
        "specification": "Weights and manifest of the bundle, by SHA-256: "
        + ", ".join(f"{name} {manifest.files[name][:16]}" for name in manifest.weight_files())
        + ".",
        "inputs": f"{plural(manifest.channels, 'channel')} of {size} pixels"
        + (f", images {listed(manifest.modalities)}" if manifest.modalities else "")
        + (f", columns {listed(manifest.encoding.names, 20)}" if manifest.encoding else "")
        + ".",
        "preprocessing": f"Each image is brought to {size} pixels ({recipe.resize}), {recipe.channels} channel(s), by "
        "the recipe in the bundle; training and use share it.",
        "prediction_path": "Recipe, sentinels, network, calibration, operating point: the same code as in use.",
        "training": f"{training.get('epochs')} epochs, batches of {training.get('batch_size')}, "
        f"{training.get('optimizer')}, learning rate {training.get('learning_rate')}, loss {loss}, objective "
        f"{objective}, seed {seed}.",
        "selection": f"Best epoch by {fits[0]['selected_by']} on validation images: {epochs}." if fits else "",
        "initialisation": f"Weights from {weights.name}." if weights else "Random weights.",
        "ensembling": f"{plural(manifest.members, 'network')}"
        + (f", combined by {manifest.combination.replace('_', ' ')}." if manifest.members > 1 else "."),
        "imbalance": f"Imbalance: {imbalance.replace('_', ' ')}; scores are calibrated afterwards.",
        "fairness_method": f"Groups treated apart in training: {training['group']}." if training.get("group") else "",
        "software": f"resight {run['versions'].get('resight')}, torch {run['versions'].get('torch')}, Python "
        f"{run['python']}; all parts are in sbom.json.",
        "code": f"Commit {run['git']['commit'][:12]}{', with changed files' if run['git']['changed'] else ''}."
        if run.get("git")
        else "",
    }


def _figures(known: Known) -> dict[str, str]:
    evaluation, manifest = known.evaluation, known.manifest
    sensitivity, specificity, cross = [], [], []
    missed, alarms = [], []
    first = manifest.operating_points[0].name if manifest.operating_points else ""
    for one in (o for o in evaluation.operating if o.name == first):
        c = one.confusion
        sensitivity.append(f"{one.label} {in_words(one.metrics['sensitivity'])}")
        specificity.append(f"{one.label} {in_words(one.metrics['specificity'])}")
        cross.append(
            f"{one.label}: TP {c.true_positives}, FP {c.false_positives}, TN {c.true_negatives}, FN {c.false_negatives}"
        )
        images = c.true_positives + c.false_positives + c.true_negatives + c.false_negatives
        missed.append(f"{one.label}: {c.false_negatives} of {images} images")
        alarms.append(f"{one.label}: {c.false_positives} of {images} images")
    on = f"On the {known.run['evaluated_on']} images"
    single = [
        f"{one.label} AUROC {in_words(one.metrics['auroc'])}" for one in evaluation.labels if "auroc" in one.metrics
    ]
    macro = [f"{metric_name(name)} {in_words(evaluation.macro[name])}" for name in _SHOWN if name in evaluation.macro]
    slopes = [
        f"{one.label} {in_words(one.metrics['calibration_slope'])}"
        for one in evaluation.labels
        if "calibration_slope" in one.metrics
    ]
    points = [f"{p.name}, {p.label}: {p.threshold:.3g}" for p in manifest.operating_points]
    chosen = manifest.operating_points[0].chosen_on if manifest.operating_points else ""
    methods = sorted({v.interval for one in evaluation.labels for v in one.metrics.values() if v.interval})
    names = listed((metric_name(name) for name in evaluation.macro), 30)
    at = f"at the operating point {first}"
    return {
        "performance": f"{on}, mean over labels: {'; '.join(macro)}. By label: {'; '.join(single)}." if macro else "",
        "accuracy": f"{on}, {at}: sensitivity {'; '.join(sensitivity)}; specificity {'; '.join(specificity)}."
        if sensitivity
        else "",
        "cross_table": f"{on}, {at}: {'; '.join(cross)}." if cross else "",
        "risk_missed": f"Missed {on.lower()}, {at}: {'; '.join(missed)}. Sensitivity {'; '.join(sensitivity)}."
        if missed
        else "",
        "risk_false_alarm": f"False alarms {on.lower()}, {at}: {'; '.join(alarms)}. Specificity "
        f"{'; '.join(specificity)}."
        if alarms
        else "",
        "measures": f"{names}.",
        "intervals": f"{evaluation.confidence:.0%} intervals: {listed(methods, 10)}.",
        "operating_points": f"Thresholds chosen on {chosen} images: {'; '.join(points)}." if points else "",
        "calibration": "Calibrated by "
        + listed(sorted({one.method for one in manifest.calibration.labels}))
        + " on validation images."
        if manifest.calibration
        else "",
        "calibration_results": f"Calibration slope {on.lower()} (1 is right): {'; '.join(slopes)}." if slopes else "",
        "subgroups": _groups(known.audit),
        "indeterminate": _sets(manifest),
    }


def _sets(manifest: Manifest) -> str:
    if manifest.conformal is None:
        return ""
    rule = manifest.conformal.rule
    within = "" if rule is None else f", also within each group by {rule.by},"
    return (
        f"Sets of answers made to hold the truth for {manifest.conformal.coverage:.0%} of new patients{within} say "
        "where the model cannot decide."
    )


def _groups(audit: Audit | None) -> str:
    if audit is None:
        return ""
    by = listed(dict.fromkeys(group.attribute for group in audit.groups))
    if not audit.tests:
        return f"Audited by {by}: no difference could be tested, the groups are too small."
    return f"Audited by {by}: {len(audit.found)} of {audit.tests} tests find a difference after Holm's correction."


def _use(known: Known) -> dict[str, str]:
    manifest = known.manifest
    watched = {} if manifest.reference is None else {**manifest.reference.get("numbers", {})}
    sentinels = "Sentinels warn of images unlike those learned from. " if manifest.sentinels else ""
    kinds = "hazards by interval of time" if manifest.horizons else "a probability and a decision for every label"
    return {
        "intended_use": manifest.intended_use,
        "limitations": " ".join(manifest.limits),
        "outputs": f"{kinds[0].upper()}{kinds[1:]}; operating points "
        f"{listed(dict.fromkeys(point.name for point in manifest.operating_points), 10)}.",
        "bad_input": f"{sentinels}A file that cannot be read becomes a row with its error, and the rest goes on.",
        "failures": "The report of the run shows missed findings and false alarms with their evidence maps."
        if known.run["examples"]
        else "",
        "explainability": known.run["maps"],
        "monitoring": f"The bundle holds a reference of {plural(len(watched), 'number')} of held-out patients for "
        "resight monitor."
        if watched
        else "",
        "logging": "resight serve keeps a hash-chained audit trail that resight audit-log verify checks.",
        "integrity": "Every file of bundle and pack is named with its SHA-256; resight lock signs them with Ed25519.",
        "risk_file": "The risk file of this pack.",
    }
