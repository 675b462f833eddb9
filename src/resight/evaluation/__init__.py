"""Arrays to numbers, without torch: how good predictions are, how sure that is, and how they compare."""

from resight.evaluation.baselines import baselines
from resight.evaluation.budgets import BudgetPoint, Budgets, Left, Trace, fit_points, leave, mean_auroc, sureness
from resight.evaluation.calibration import (
    brier,
    brier_parts,
    debiased_rms_error,
    ece,
    log_loss,
    reliability,
    slope_and_intercept,
)
from resight.evaluation.compare import Comparison, LabelComparison, compare
from resight.evaluation.compare_prognoses import PrognosisComparison, compare_prognosis_tables
from resight.evaluation.conformal import ConformalOptions, fit_conformal
from resight.evaluation.conformal_sets import Conformal, ConformalMethod
from resight.evaluation.decisions import Confusion, confusion, decision_metrics
from resight.evaluation.delong import auroc_with_interval, delong
from resight.evaluation.discrimination import (
    Curve,
    auprc,
    auroc,
    partial_auroc,
    pr_curve,
    ranking,
    roc_curve,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)
from resight.evaluation.evaluate import evaluate
from resight.evaluation.group_changes import GroupChange, groups_of, sensitivity_changes
from resight.evaluation.groups import Grouping, GroupRule, make_groupings
from resight.evaluation.hazards import survival_columns, survival_of
from resight.evaluation.multiclass import class_metrics
from resight.evaluation.net_benefit import DecisionCurve, decision_curve
from resight.evaluation.operating_points import OperatingPoint, OperatingRule, choose_operating_points, decide
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.prognosis import (
    HorizonResult,
    Prognosis,
    compare_prognoses,
    evaluate_prognosis,
    is_prognosis,
)
from resight.evaluation.proportions import clopper_pearson, proportion, wilson
from resight.evaluation.recalibration import Calibration, CalibrationMethod, LabelCalibration, fit_calibration
from resight.evaluation.resampling import Statistic, bootstrap, patient_index, with_percentiles
from resight.evaluation.results import Baseline, Counts, Curves, Evaluation, LabelResult, OperatingResult
from resight.evaluation.selective import RiskCoverage, confidence_of, risk_coverage
from resight.evaluation.set_quality import SetQuality, judge_sets
from resight.evaluation.significance import McNemar, holm, mcnemar
from resight.evaluation.uncertainty import Uncertainty, judge_uncertainty

__all__ = [
    "Baseline",
    "BudgetPoint",
    "Budgets",
    "Calibration",
    "CalibrationMethod",
    "Comparison",
    "Conformal",
    "ConformalMethod",
    "ConformalOptions",
    "Confusion",
    "Counts",
    "Curve",
    "Curves",
    "DecisionCurve",
    "Evaluation",
    "EvaluationOptions",
    "GroupChange",
    "GroupRule",
    "Grouping",
    "HorizonResult",
    "LabelCalibration",
    "LabelComparison",
    "LabelResult",
    "Left",
    "McNemar",
    "OperatingPoint",
    "OperatingResult",
    "OperatingRule",
    "Prognosis",
    "PrognosisComparison",
    "RiskCoverage",
    "SetQuality",
    "Statistic",
    "Trace",
    "Uncertainty",
    "auprc",
    "auroc",
    "auroc_with_interval",
    "baselines",
    "bootstrap",
    "brier",
    "brier_parts",
    "choose_operating_points",
    "class_metrics",
    "clopper_pearson",
    "compare",
    "compare_prognoses",
    "compare_prognosis_tables",
    "confidence_of",
    "confusion",
    "debiased_rms_error",
    "decide",
    "decision_curve",
    "decision_metrics",
    "delong",
    "ece",
    "evaluate",
    "evaluate_prognosis",
    "fit_calibration",
    "fit_conformal",
    "fit_points",
    "groups_of",
    "holm",
    "is_prognosis",
    "judge_sets",
    "judge_uncertainty",
    "leave",
    "log_loss",
    "make_groupings",
    "mcnemar",
    "mean_auroc",
    "partial_auroc",
    "patient_index",
    "pr_curve",
    "proportion",
    "ranking",
    "reliability",
    "risk_coverage",
    "roc_curve",
    "sensitivity_at_specificity",
    "sensitivity_changes",
    "slope_and_intercept",
    "specificity_at_sensitivity",
    "sureness",
    "survival_columns",
    "survival_of",
    "wilson",
    "with_percentiles",
]
