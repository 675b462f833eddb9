"""Late fusion: image and table each give logits, which are added (Baltrusaitis et al. 2019, section 6.1)."""

from __future__ import annotations

from pydantic import Field

from resight.multimodal.base import FUSIONS, Fusion, Logits, Table, two_layers
from resight.settings import Options


class LateOptions(Options):
    """Each input answers by itself; the logits are added."""

    hidden: int = Field(default=32, gt=0, description="width of the table's hidden layer")


@FUSIONS.register("late", LateOptions)
class Late(Fusion):
    """Sum of logits: no finding that only the combination shows can be learned."""

    def __init__(self, options: LateOptions, *, feature_dim: int, table_dim: int, n_labels: int) -> None:
        super().__init__()
        del feature_dim
        self.table = two_layers(table_dim, options.hidden, n_labels)

    def add(self, logits: Logits, table: Table) -> Logits:
        """Logits of the image plus logits of the table."""
        return logits + self.table(table)
