"""The whole street: from an experiment file to a run folder, and from a cohort to an experiment file."""

from resight.experiments.launch import launch
from resight.experiments.load import load_experiment
from resight.experiments.plan import plan_experiment
from resight.experiments.prepare import smoke
from resight.experiments.pretraining import pretrain_experiment
from resight.experiments.run import Run, train_experiment
from resight.experiments.run_cohort import cohort_of_run
from resight.experiments.settings import ExperimentSettings

__all__ = [
    "ExperimentSettings",
    "Run",
    "cohort_of_run",
    "launch",
    "load_experiment",
    "plan_experiment",
    "pretrain_experiment",
    "smoke",
    "train_experiment",
]
