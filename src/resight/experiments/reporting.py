"""What a finished run tells the report: who was in it, what came out, and images with their evidence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import torch

from resight.evidence import (
    Alert,
    Example,
    Exclusion,
    LabelCount,
    LeakCheck,
    ReportContent,
    SplitSummary,
    doubt_section,
    drift_section,
    explanation_section,
    verdict_words,
)
from resight.experiments.explaining import EXPLAINER
from resight.experiments.inputs import InputReport
from resight.experiments.judge import Judged
from resight.experiments.members import Ensemble
from resight.experiments.prepare import SPLITS, Prepared
from resight.experiments.settings import ExperimentSettings
from resight.experiments.trust_facts import Trust
from resight.explain import build_explainer, overlay
from resight.imaging import Sentinels
from resight.settings import dump_toml
from resight.types import Cohort, Progress

_FEW_VALUES = 8
"""An attribute with at most so many different values is shown as shares, a numeric one as quartiles."""


def report_content(
    settings: ExperimentSettings,
    prepared: Prepared,
    ensemble: Ensemble,
    judged: Judged,
    inputs: InputReport | None,
    sentinels: Sentinels,
    record: dict[str, Any],
    trust: Trust,
    progress: Progress,
) -> ReportContent:
    """Gather everything the report shows."""
    cohort = prepared.cohort
    return ReportContent(
        title=settings.name,
        evaluation=judged.evaluation,
        evaluated_on=judged.evaluated_on,
        operating_points=judged.operating_points,
        intended_use=settings.intended_use,
        assessed=prepared.assessed,
        splits=tuple(split_summary(cohort.part(split), split) for split in SPLITS if prepared.in_split(split).any()),
        excluded=tuple(Exclusion(str(row["image"]), str(row["reason"])) for _, row in prepared.excluded.iterrows()),
        leak_check=_leak_check(settings, cohort),
        histories=tuple(result.history for result in ensemble.fits),
        best_epochs=tuple(result.best_epoch for result in ensemble.fits),
        examples=_examples(settings, prepared, ensemble, judged, progress),
        explained_by=EXPLAINER,
        limits=judged.notes,
        sections=(
            doubt_section(judged.uncertainty, judged.conformal, cohort.labels),
            explanation_section(trust.scores),
            *trust.people.sections,
            drift_section(trust.reference, trust.rehearsal),
        ),
        inputs=inputs.arms if inputs else (),
        inputs_say=inputs.sentences if inputs else (),
        prognosis=judged.prognosis,
        verdict=(verdict_words(EXPLAINER, trust.scores.verdict),),
        alerts=_alerts(prepared, judged, sentinels),
        subgroups=trust.groups.rows,
        group_findings=trust.groups.sentences,
        group_gaps=trust.groups.gaps,
        provenance=record,
        settings_toml=dump_toml(settings),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def split_summary(part: Cohort, name: str) -> SplitSummary:
    """Counts of one split."""
    targets, mask = part.targets(), part.mask()
    counts = tuple(
        LabelCount(
            label,
            positives=int((targets[mask[:, index], index] > 0.5).sum()),
            negatives=int((targets[mask[:, index], index] <= 0.5).sum()),
            masked=int((~mask[:, index]).sum()),
        )
        for index, label in enumerate(part.labels)
    )
    patients = int(part.table["patient_id"].nunique()) if "patient_id" in part.table.columns else None
    attributes = {name: text for name in part.attributes if (text := described(part.table[name]))}
    return SplitSummary(name, len(part), patients, counts, attributes)


def described(values: pd.Series[Any]) -> str:
    """An attribute in words: quartiles, or shares of few values; blank where it is neither."""
    known = values.dropna()
    if known.empty:
        return ""
    missing = f", {len(values) - len(known)} unknown" if len(known) < len(values) else ""
    if pd.api.types.is_numeric_dtype(known) and known.nunique() > _FEW_VALUES:
        low, middle, high = known.quantile([0.25, 0.5, 0.75])
        return f"median {middle:g} ({low:g} to {high:g}){missing}"
    shares = known.astype(str).value_counts(normalize=True)
    if len(shares) > _FEW_VALUES:
        return ""
    return ", ".join(f"{value} {share:.0%}" for value, share in shares.items()) + missing


def _leak_check(settings: ExperimentSettings, cohort: Cohort) -> LeakCheck:
    if settings.split.group == ("none",) or "patient_id" not in cohort.table.columns:
        return LeakCheck(None, ("Which images belong to one patient is not known, so splits may share patients.",))
    shared = cohort.table.groupby("patient_id")["split"].nunique().gt(1).sum()
    finding = (
        f"{cohort.table['patient_id'].nunique()} patients were compared by identifier; {shared} are in two splits."
    )
    return LeakCheck(bool(shared == 0), (finding,))


def _alerts(prepared: Prepared, judged: Judged, sentinels: Sentinels) -> tuple[Alert, ...]:
    rows = np.flatnonzero(prepared.in_split(judged.evaluated_on))
    names = prepared.cohort.table["image"].to_numpy()
    return tuple(
        Alert(str(names[row]), flag.name, flag.detail)
        for row in rows
        for flag in sentinels.check(prepared.store[int(prepared.rows[row])])
    )


def _examples(
    settings: ExperimentSettings, prepared: Prepared, ensemble: Ensemble, judged: Judged, progress: Progress
) -> tuple[Example, ...]:
    chosen = choose_examples(judged, settings.report.examples)
    if not chosen:
        return ()
    model = ensemble.models[0].eval()
    device = next(model.parameters()).device
    explainer = build_explainer(EXPLAINER)
    cohort = prepared.cohort
    row_of = {name: row for row, name in enumerate(cohort.table["image"])}
    examples: list[Example] = []
    for done, (image_name, label) in enumerate(chosen):
        prepared_image = prepared.store[int(prepared.rows[row_of[image_name]])]
        batch = torch.from_numpy(np.array(prepared_image)[None]).to(device)
        asked = model
        if prepared.clinical is not None:  # the map explains the prediction that was made, with the patient's table
            asked = model.beside(torch.from_numpy(prepared.clinical[[row_of[image_name]]]).to(device))
        evidence = np.asarray(explainer.explain(asked, batch)[0, cohort.labels.index(label)])
        if cohort.modalities:  # side by side, each under the same evidence
            prepared_image = np.concatenate(np.split(prepared_image, len(cohort.modalities)), axis=-1)
            evidence = np.tile(evidence, (1, len(cohort.modalities)))
        examples.append(_example(judged, prepared_image, evidence, image_name, label))
        progress("explain", done + 1, len(chosen), image_name)
    return tuple(examples)


def _example(
    judged: Judged, image: np.ndarray[Any, Any], evidence: np.ndarray[Any, Any], name: str, label: str
) -> Example:
    table = judged.predictions.table
    row = table.loc[(table["image"] == name) & (table["label"] == label)].iloc[0]
    decision, target = bool(row["decision"]), bool(row["target"] > 0.5)
    point = next(p for p in judged.operating_points if p.name == row["operating_point"] and p.label == label)
    if image.ndim == 4:  # of a volume, the slice with the strongest evidence
        depth = int(evidence.max(axis=(1, 2)).argmax())
        name, image, evidence = f"{name}, slice {depth + 1} of {image.shape[1]}", image[:, depth], evidence[depth]
    picture = image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)
    return Example(
        image=np.ascontiguousarray(picture),
        overlay=np.ascontiguousarray(np.moveaxis(overlay(image, evidence), 0, -1)),
        name=name,
        label=label,
        probability=float(row["probability"]),
        decision=decision,
        target=target,
        outcome=f"{'true' if decision == target else 'false'} {'positive' if decision else 'negative'}",  # type: ignore[arg-type]
        operating_point=f"{point.name}, {point.threshold:.3f}",
        threshold=point.threshold,
    )


def choose_examples(judged: Judged, count: int) -> list[tuple[str, str]]:
    """Image and label of the most instructive cases: the surest hits, and the surest mistakes first among the wrong.

    Outcomes take turns (missed, false alarm, found, rightly negative), and labels take turns within an outcome, so that
    a common label does not fill the page.
    """
    table = judged.predictions.part(split=judged.evaluated_on).table
    table = table.loc[(table["mask"].astype(float) > 0) & table["decision"].notna() & table["target"].isin([0.0, 1.0])]
    queues: list[list[tuple[str, str]]] = []
    for target, decision in ((1, 0), (0, 1), (1, 1), (0, 0)):
        cases = table.loc[(table["target"] == target) & (table["decision"] == decision)]
        cases = cases.sort_values("probability", ascending=decision == 0, kind="stable")
        turn = cases.groupby("label", sort=False).cumcount()
        cases = cases.assign(turn=turn).sort_values("turn", kind="stable")
        queues.append(list(zip(cases["image"], cases["label"], strict=True)))
    chosen: list[tuple[str, str]] = []
    while len(chosen) < count and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue]
    return chosen[:count]
