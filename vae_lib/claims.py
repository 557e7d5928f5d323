"""Claims with a measured value and a stated criterion, so that verdicts are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vae_lib.tables import Table, typeset

MIME = "application/vnd.vae-lib.claims+json"  # of the claims as data, beside the table's Markdown
VERDICTS = ("reproduced", "partly", "not reproduced", "not yet run")


@dataclass(frozen=True)
class Claim:
    """A statement that holds exactly if ``low <= measured <= high``.

    Attributes:
        statement: Markdown, one sentence.
        measured: what this run gave; NaN never holds.
        low: smallest value with which the claim holds.
        high: largest value with which the claim holds.
        unit: of the numbers, for instance "nats".
        uncertainty: of what was measured: half the range over seeds, a standard error or
            deviation; None where it is computed exactly, up to rounding, or has only been run
            once.
        settles: names of the claims of the poster for which this is evidence.
    """

    statement: str
    measured: float
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    uncertainty: float | None = None
    settles: tuple[str, ...] = ()

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

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Statement, measured value, criterion and whether it is met, in words."""
        spread = "" if self.uncertainty is None else f" ± {self.uncertainty:.2g}"
        return (
            self.statement,
            f"{_number(self.measured)}{spread} {self.unit}".strip(),
            self.criterion,
            "holds" if self.holds else "**does not hold**",
        )


@dataclass(frozen=True, repr=False)
class ClaimsTable:
    """Claims that show themselves as a table, and are in its notebook as data too."""

    claims: Sequence[Claim]

    def __repr__(self) -> str:
        header = ("Claim", "Measured", "Criterion", "Verdict")
        return str(Table(header, [claim.cells for claim in self.claims]))

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {"text/markdown": str(self), MIME: [_as_json(claim) for claim in self.claims]}


def table(claims: Sequence[Claim]) -> ClaimsTable:
    """Table of claims and verdicts, for the end of a chapter."""
    return ClaimsTable(tuple(claims))


def from_json(content: Sequence[dict[str, object]]) -> list[Claim]:
    """The claims that a :class:`ClaimsTable` put into its notebook."""
    return [
        Claim(
            **{
                name: _MISSING[name] if value is None and name in _MISSING else value
                for name, value in fields.items()
                if name != "settles"
            },
            settles=tuple(fields["settles"]),
        )
        for fields in content
    ]


def verdict(evidence: Sequence[Claim]) -> str:
    """One of ``VERDICTS``: all of the evidence holds, or some, or none; or there is no evidence."""
    if not evidence:
        return "not yet run"
    held = sum(claim.holds for claim in evidence)
    if held == len(evidence):
        return "reproduced"
    return "partly" if held else "not reproduced"


# JSON knows no infinity and no NaN: null stands for them.
_MISSING = {"measured": math.nan, "low": -math.inf, "high": math.inf}


def _as_json(claim: Claim) -> dict[str, object]:
    fields = asdict(claim) | {"settles": list(claim.settles)}
    for name in _MISSING:
        if not math.isfinite(fields[name]):
            fields[name] = None
    return fields


def _number(value: float) -> str:
    return typeset(f"{value:d}" if isinstance(value, int) else f"{float(value):.4g}")
