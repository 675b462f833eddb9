"""After a model is in use: are incoming cases, scores and outcomes still those it was judged on."""

from resight.monitoring.drift import ColumnDrift
from resight.monitoring.monitor import ALARM_EXIT, MonitorOptions, Watch, monitor
from resight.monitoring.reference import Reference, fit_reference, read_reference
from resight.monitoring.rehearsal import Rehearsal, rehearse
from resight.monitoring.sequential import Alarm

__all__ = [
    "ALARM_EXIT",
    "Alarm",
    "ColumnDrift",
    "MonitorOptions",
    "Reference",
    "Rehearsal",
    "Watch",
    "fit_reference",
    "monitor",
    "read_reference",
    "rehearse",
]
