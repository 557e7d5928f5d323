"""Claims with a measured value and a stated criterion, so that verdicts are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vae_lib.tables import Table


@dataclass(frozen=True)
class Claim:
    """A statement that holds exactly if ``low <= measured <= high``.

    Attributes:
        statement: Markdown, one sentence.
        measured: what this run gave; NaN never holds.
        low: smallest value with which the claim holds.
        high: largest value with which the claim holds.
        unit: of the three numbers, for instance "nats".
    """

    statement: str
    measured: float
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the measured value meets the criterion."""
        return self.low <= self.measured <= self.high

    @property
    def criterion(self) -> str:
        """The criterion in words."""
        low, high = _number(self.low), _number(self.high)
        if self.low == self.high:
            return f"= {low}"
        if math.isinf(self.low):
            return f"≤ {high}"
        if math.isinf(self.high):
            return f"≥ {low}"
        return f"{low} to {high}"


def table(claims: Sequence[Claim]) -> Table:
    """Table of claims and verdicts, for the end of a chapter."""
    rows = [
        (
            claim.statement,
            f"{_number(claim.measured)} {claim.unit}".strip(),
            claim.criterion,
            "holds" if claim.holds else "**does not hold**",
        )
        for claim in claims
    ]
    return Table(("Claim", "Live value", "Criterion", "Verdict"), rows)


def _number(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{float(value):.4g}"
