"""How groups of patients are named on the command line, and how surely they are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from resight.errors import SettingsError

if TYPE_CHECKING:
    from resight.fairness import AuditOptions


@Parameter(name="*")
@dataclass(frozen=True)
class GroupArguments:
    """Which groups, of which rows.

    Attributes:
        by: attributes, comma-separated; `sex+age` for their intersection.
        edges: edges of a numeric attribute, as in `age=18,40,65`; decades of age and quartiles when not given.
        split: rows to judge; `test` where there is one, otherwise all; `all` takes every row.
        min_events: a rate needs so many patients under its bar, a group so many of both classes to count in a gap.
        bootstrap: replicates by patient; 0 leaves bootstrap intervals away.
        seed: of the bootstrap.
    """

    by: Annotated[str, Parameter(name="--by")]
    edges: Annotated[tuple[str, ...], Parameter(name="--edges", negative="")] = ()
    split: Annotated[str | None, Parameter(name="--split")] = None
    min_events: Annotated[int, Parameter(name="--min-events")] = 10
    bootstrap: Annotated[int, Parameter(name="--bootstrap")] = 1000
    seed: Annotated[int, Parameter(name="--seed")] = 0

    def options(self, **others: Any) -> AuditOptions:
        """As the fairness room takes them.

        Args:
            **others: options that only one verb has.

        Raises:
            SettingsError: an impossible value.
        """
        from resight.fairness import AuditOptions
        from resight.settings import validate

        given = {name: getattr(self, name) for name in ("split", "min_events", "bootstrap", "seed")}
        given |= {"by": attributes(self.by), "edges": dict(_edge(entry) for entry in self.edges)}
        return validate(AuditOptions, given | others, where="command line")


def attributes(text: str) -> tuple[str, ...]:
    """`sex,age,sex+age` as a tuple."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _edge(entry: str) -> tuple[str, tuple[float, ...]]:
    """`age=18,40,65` as a name and numbers."""
    name, _, numbers = entry.partition("=")
    try:
        return name.strip(), tuple(float(number) for number in numbers.split(","))
    except ValueError:
        expected = "attribute=number,number,..."
        raise SettingsError(f"edges {entry!r}", where="--edges", expected=expected) from None
