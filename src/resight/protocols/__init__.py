"""The cited studies as code: data layout, split, models, metrics, and the published figures beside ours."""

from resight.protocols.base import PROTOCOLS, Protocol, Surroundings
from resight.protocols.study import Figure, Row, Study, write_study

__all__ = ["PROTOCOLS", "Figure", "Protocol", "Row", "Study", "Surroundings", "write_study"]
