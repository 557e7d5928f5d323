"""Claims with a measured value and a stated criterion, so that verdicts are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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


class ClaimTable(tuple[Claim, ...]):
    """Claims that show themselves as a Markdown table."""

    def _repr_markdown_(self) -> str:
        rows = [
            f"| {claim.statement} | {_number(claim.measured)} {claim.unit} | {claim.criterion} "
            f"| {'holds' if claim.holds else '**does not hold**'} |"
            for claim in self
        ]
        return "\n".join(
            ["| Claim | Live value | Criterion | Verdict |", "|---|---|---|---|", *rows]
        )

    def __repr__(self) -> str:
        return self._repr_markdown_()


def table(claims: Sequence[Claim]) -> ClaimTable:
    """Table of claims for display at the end of a chapter."""
    return ClaimTable(claims)


def _number(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{float(value):.4g}"
