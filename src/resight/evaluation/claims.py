"""Whether the figures a publication reports can be true together, checked by arithmetic alone.

The claims lie in a TOML file: each with its numbers, its source and what it is checked by. Consistent means that some
outcome gives exactly these figures, not that they are right; most sentences without numbers are not checkable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from resight.evaluation.reported import (
    LINEAR_RATES,
    Interval,
    RateName,
    Rounding,
    even_folds,
    matching_counts,
    matching_folds,
    possible_auroc,
    printed,
)
from resight.settings import Options, load_toml

Verdict = Literal["consistent", "inconsistent", "not checkable"]
Finding = tuple[Verdict, str]


def _is_printed(text: str) -> str:
    printed(text)
    return text


Printed = Annotated[str, AfterValidator(_is_printed)]
"""A rate with the digits it was printed with."""


class _Claim(Options):
    id: str
    statement: str = Field(description="what is claimed, in our own words")
    source: str = Field(description="where it is claimed, and of whom")
    note: str = Field(default="", description="what else is known, with its source; a full sentence")


class RatesClaim(_Claim):
    """Rates of one classifier on a test set, or averaged over folds."""

    kind: Literal["rates"]
    positives: int = Field(gt=0)
    negatives: int = Field(gt=0)
    rates: dict[RateName, Printed] = Field(min_length=1, description="rate -> as printed")
    auroc: Printed | None = Field(default=None, description="as printed")
    rounding: Rounding = "nearest"
    averaged_over_folds: int = Field(default=1, gt=0, description="folds the rates are means over; 1: the whole set")
    repeats: int = Field(default=1, gt=0, description="rounds the rates are means over")

    def check(self) -> Finding:
        """Look for a confusion matrix that gives all the rates."""
        rates = {name: printed(text, self.rounding) for name, text in self.rates.items()}
        if self.averaged_over_folds * self.repeats > 1:
            return self._over_folds(rates)
        matches = matching_counts(rates, self.positives, self.negatives)
        if not matches:
            return "inconsistent", f"No outcome on {self._size} gives these rates together."
        found = f"Outcomes that give these rates: {len(matches)}, for example {matches[len(matches) // 2]}."
        sensitivities = [Fraction(m.true_positives, m.positives) for m in matches]
        specificities = [Fraction(m.true_negatives, m.negatives) for m in matches]
        if self.auroc:
            possible = possible_auroc(
                Interval(min(sensitivities), max(sensitivities)), Interval(min(specificities), max(specificities))
            )
            auroc = printed(self.auroc, self.rounding)
            if auroc.high < possible.low or auroc.low > possible.high:
                return "inconsistent", f"{found} An AUROC of {self.auroc} is outside {possible} then possible."
            found += f" AUROC {self.auroc} is within {possible} possible through that point."
        return "consistent", found + self._beside_baseline(rates)

    def _over_folds(self, rates: Mapping[str, Interval]) -> Finding:
        linear = {name: interval for name, interval in rates.items() if name in LINEAR_RATES}
        unused = [*sorted(set(rates) - set(linear)), *(["AUROC"] if self.auroc else [])]
        if not linear:
            return "not checkable", f"Means of rates that are not linear in the counts ({', '.join(unused)})."
        folds = even_folds(self.positives, self.negatives, self.averaged_over_folds, self.repeats)
        if not all(map(min, folds)):
            return "not checkable", f"{self._size} do not reach for {self.averaged_over_folds} stratified folds."
        match = matching_folds(linear, folds)
        setting = f"{self._size} in {self.averaged_over_folds} stratified folds, {self.repeats} time(s)"
        if match is None:
            return "inconsistent", f"No outcome on {setting}, has these means."
        left = f" Not looked at: {', '.join(unused)}." if unused else ""
        return "consistent", f"On {setting}, they are the means of, for example, {match}.{left}"

    def _beside_baseline(self, rates: Mapping[str, Interval]) -> str:
        """What always answering with the larger class scores, where the accuracy is below it."""
        baseline = Fraction(max(self.positives, self.negatives), self.positives + self.negatives)
        if "accuracy" not in rates or rates["accuracy"].high >= baseline:
            return ""
        return f" Always answering with the larger class scores more: {float(baseline):.1%}."

    @property
    def _size(self) -> str:
        return f"{self.positives} positives and {self.negatives} negatives"


class MeanClaim(_Claim):
    """A mean over classes, and some of the classes' values."""

    kind: Literal["mean"]
    mean: Printed
    count: int = Field(gt=0, description="number of values averaged")
    values: tuple[Printed, ...] = ()

    def check(self) -> Finding:
        """Whether values between 0 and 1 for the rest can give the mean."""
        mean, known = printed(self.mean), [printed(value) for value in self.values]
        rest = self.count - len(known)
        low = mean.low * self.count - sum(value.high for value in known)
        high = mean.high * self.count - sum(value.low for value in known)
        if rest < 0 or low > rest or high < 0:
            return "inconsistent", f"The {len(known)} values given cannot have this mean over {self.count}."
        if not rest:
            return "consistent", "The values given have this mean."
        least, most = max(float(low) / rest, 0.0), min(float(high) / rest, 1.0)
        return "consistent", f"The other {rest} values would have to average {least:.4f} to {most:.4f}."


class TotalClaim(_Claim):
    """A number of things, its parts, and the number counted in the original data."""

    kind: Literal["total"]
    total: int
    parts: tuple[int, ...] = ()
    counted: int | None = None
    counted_in: str = ""

    def check(self) -> Finding:
        """Whether the parts add up, and the total is what was counted."""
        if self.parts and sum(self.parts) != self.total:
            return "inconsistent", f"The parts add up to {sum(self.parts):,}, not {self.total:,}."
        adds_up = "The parts add up. " if self.parts else ""
        if self.counted is None:
            return ("consistent", adds_up.strip()) if self.parts else ("not checkable", "There is nothing to compare.")
        counted = f"{self.counted_in}: {self.counted:,}."
        return ("consistent" if self.counted == self.total else "inconsistent"), f"{adds_up}Counted in {counted}"


class OpenClaim(_Claim):
    """A statement that no arithmetic can judge."""

    kind: Literal["open"]
    because: str = Field(description="what is missing; a full sentence")

    def check(self) -> Finding:
        """Nothing to compute."""
        return "not checkable", self.because


Claim = Annotated[RatesClaim | MeanClaim | TotalClaim | OpenClaim, Field(discriminator="kind")]


class Claims(Options):
    """A file of claims."""

    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class ClaimVerdict:
    """What came of checking one claim."""

    id: str
    statement: str
    source: str
    verdict: Verdict
    explanation: str


def check_claims(path: Path | None = None) -> list[ClaimVerdict]:
    """Check every claim of a file.

    Args:
        path: TOML file with `[[claims]]`; the figures of the review this project starts from when not given.

    Raises:
        SettingsError: the file cannot be read, a key is unknown or a value impossible.
    """
    if path is None:
        with resources.as_file(resources.files("resight.evaluation") / "review_claims.toml") as own:
            claims = load_toml(own, Claims)
    else:
        claims = load_toml(path, Claims)
    return [_judged(claim) for claim in claims.claims]


def _judged(claim: Claim) -> ClaimVerdict:
    verdict, explanation = claim.check()
    return ClaimVerdict(claim.id, claim.statement, claim.source, verdict, f"{explanation} {claim.note}".strip())
