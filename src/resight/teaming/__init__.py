"""People and model together: who should decide, what it saves, and studies that show it. Without torch."""

from resight.teaming.agreement import AutomationBias, automation_bias, cohen_kappa, fleiss_kappa, mean_pairwise_kappa
from resight.teaming.base import POLICIES, Cases, DeferralPolicy, TeamDecisions, build_policy
from resight.teaming.mrmc import ArmTest, ErrorVariance, MultiReader, analyse, arm_test
from resight.teaming.reader_study import StudyResult, analyse_study
from resight.teaming.readings import UNAIDED, Readings
from resight.teaming.simulated_readers import SimulatedReaders, readings_table, simulate_ratings
from resight.teaming.study_design import AIDED, StudyOptions, design_study
from resight.teaming.team import LabelCases, TeamResult, evaluate_team, label_cases
from resight.teaming.teams import Teams, judge_teams
from resight.teaming.worklist import Studies, WorklistOptions, WorklistResult, simulate_worklist, studies

__all__ = [
    "AIDED",
    "POLICIES",
    "UNAIDED",
    "ArmTest",
    "AutomationBias",
    "Cases",
    "DeferralPolicy",
    "ErrorVariance",
    "LabelCases",
    "MultiReader",
    "Readings",
    "SimulatedReaders",
    "Studies",
    "StudyOptions",
    "StudyResult",
    "TeamDecisions",
    "TeamResult",
    "Teams",
    "WorklistOptions",
    "WorklistResult",
    "analyse",
    "analyse_study",
    "arm_test",
    "automation_bias",
    "build_policy",
    "cohen_kappa",
    "design_study",
    "evaluate_team",
    "fleiss_kappa",
    "judge_teams",
    "label_cases",
    "mean_pairwise_kappa",
    "readings_table",
    "simulate_ratings",
    "simulate_worklist",
    "studies",
]
