"""Readers beside the model of a finished run, for report and bundle: sections, and what follows in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from resight.errors import PredictionsError
from resight.evidence import Section, studies_section, team_section, team_words
from resight.experiments.judge import Judged
from resight.experiments.prepare import Prepared
from resight.experiments.settings import ExperimentSettings
from resight.teaming import UNAIDED, Readings, analyse_study, judge_teams

_POLICY = "learned"
"""What the report tries; `resight defer` knows others."""
_TITLE = "People and model"


@dataclass(frozen=True)
class PeopleFindings:
    """What the report shows.

    Attributes:
        sections: deferral, then a reader study where readings have several arms.
        sentences: about the team, for the bundle's card.
    """

    sections: tuple[Section, ...] = ()
    sentences: tuple[str, ...] = ()


def read_readings(settings: ExperimentSettings, prepared: Prepared) -> Readings | None:
    """The table named in `report.readings`; before training, so that a mistake in it costs nothing.

    Raises:
        PredictionsError: it is no table of readings, or none was made without the model.
    """
    path = settings.report.readings
    if path is None:
        return None
    readings = Readings.beside(path, prepared.cohort.labels)
    if UNAIDED not in readings.arms:
        raise PredictionsError(f"arms {', '.join(readings.arms)}", where=str(path), expected=f"an arm {UNAIDED!r}")
    return readings


def people_findings(settings: ExperimentSettings, judged: Judged, readings: Readings | None) -> PeopleFindings:
    """Judge model and readers as a team, tuned on validation and judged on test images.

    Args:
        settings: bootstrap and seed.
        judged: the model's decisions.
        readings: from `read_readings`.
    """
    if readings is None:
        return PeopleFindings()
    replicates, seed = settings.evaluation.bootstrap, settings.evaluation.seed
    try:
        teams = judge_teams(judged.predictions, readings, _POLICY, replicates=replicates, seed=seed)
    except PredictionsError as error:  # no reason to lose a run
        sentence = f"Whether people and model do better together is not estimable: {error}."
        return PeopleFindings((Section(_TITLE, sentences=(sentence,)),), (sentence,))
    sections = [team_section(teams, _TITLE)]
    if len(readings.arms) > 1:
        joined = readings.with_reference(judged.predictions.part(split="test"))
        studies = [analyse_study(joined, label, replicates=replicates, seed=seed) for label in joined.labels]
        sections.append(studies_section(studies, "Readers with and without the model"))
    return PeopleFindings(tuple(sections), tuple(team_words(teams)))
