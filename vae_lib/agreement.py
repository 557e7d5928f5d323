"""How well the linear theory's table agrees with another: published, or recorded from runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scipy.stats import spearmanr

from vae_lib.comparison import Measured
from vae_lib.poster import PosterRow
from vae_lib.prediction import Prediction
from vae_lib.results import Row
from vae_lib.tables import Table, typeset

# Column -> its heading and the digits that it is shown with.
COLUMNS = {
    "elbo": ("ELBO", 1),
    "tuned_elbo": ("tuned ELBO", 1),
    "tuned_sigma_sq": ("tuned σ²", 3),
    "collapse_percent": ("collapse (%)", 2),
    "kl": ("KL", 1),
}


class Entry(NamedTuple):
    """A cell of a table: a value, and the range that comes with it (the value where none does)."""

    value: float
    low: float
    high: float
    printed: bool = False  # as value ± half the range


Cells = dict[str, Entry]  # column -> entry, for one row
TableOf = Mapping[str, Cells]  # row's name -> its cells


def of_prediction(prediction: Prediction) -> Cells:
    """The cells of a row as linear theory has it."""
    return {column: Entry(*[getattr(prediction, column)] * 3) for column in COLUMNS}


def of_poster(row: PosterRow) -> Cells:
    """The cells of a row as printed; a range is what is printed as ±."""
    return {column: _printed(getattr(row, column)) for column in COLUMNS}


def of_runs(measured: Measured) -> Cells:
    """The cells of a row over its runs: their mean, and the range from smallest to largest."""
    return {
        column: Entry(measured.mean[column], measured.low[column], measured.high[column])
        for column in COLUMNS
    }


@dataclass(frozen=True)
class Agreement:
    """How far some predicted values are from the observed ones.

    Attributes:
        count: how many pairs.
        median_absolute: median of |predicted - observed|.
        median_relative: median of |predicted / observed - 1|; NaN where some observed value is
            0, or there are no pairs.
        rank_correlation: Spearman's; NaN where it is not defined, because there are fewer than
            three pairs or all values on one side are the same.
    """

    count: int
    median_absolute: float
    median_relative: float
    rank_correlation: float


def agreement(predicted: Sequence[float], observed: Sequence[float]) -> Agreement:
    """Errors and rank correlation of pairs of values, in the same order.

    Raises:
        ValueError: the two have different lengths, or a value is not finite.
    """
    if len(predicted) != len(observed):
        raise ValueError(
            "predicted must have as many values as observed, "
            f"got {len(predicted)} and {len(observed)}"
        )
    for name, values in (("predicted", predicted), ("observed", observed)):
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"{name} must be finite, got {list(values)}")
    pairs = list(zip(predicted, observed, strict=True))
    absolute = [abs(ours - theirs) for ours, theirs in pairs]
    relative = [abs(ours / theirs - 1) if theirs else math.nan for ours, theirs in pairs]
    ranked = len(pairs) > 2 and min(len(set(predicted)), len(set(observed))) > 1
    return Agreement(
        count=len(pairs),
        median_absolute=_median(absolute),
        median_relative=_median(relative),
        rank_correlation=float(spearmanr(predicted, observed).statistic) if ranked else math.nan,
    )


def agreement_of(
    theory: TableOf, other: TableOf, column: str, *, only: Iterable[str] | None = None
) -> Agreement:
    """Agreement of a column over the rows that both tables have.

    Args:
        theory, other: tables.
        column: one of ``COLUMNS``.
        only: names of rows; others are left out.
    """
    chosen = set(theory) if only is None else set(only)
    names = [name for name in theory if name in other and name in chosen]
    return agreement(
        [theory[name][column].value for name in names],
        [other[name][column].value for name in names],
    )


def side_by_side(sources: Mapping[str, TableOf]) -> Table:
    """One line for each row and source; the rows are those of the first source.

    What is printed with a ± keeps it; otherwise a cell is a value, or the range where there is
    one. Where a source has not the row, the line says "not yet run".
    """
    names = next(iter(sources.values()))
    rows = []
    for name in names:
        for source, table in sources.items():
            cells = ["not yet run"] + ["–"] * (len(COLUMNS) - 1)
            if name in table:
                cells = [
                    _shown(table[name][column], digits) for column, (_, digits) in COLUMNS.items()
                ]
            # Spaces that do not break keep a line of the table to one line of text.
            rows.append((name.replace(" ", "\u00a0"), source.replace(" ", "\u00a0"), *cells))
    return Table(("Row", "Source", *(heading for heading, _ in COLUMNS.values())), rows)


def error_table(theory: TableOf, others: Mapping[str, TableOf]) -> Table:
    """Errors of the theory in each column, against every other table that has a row."""
    rows = []
    for source, table in others.items():
        if not table:
            continue
        for column, (heading, digits) in COLUMNS.items():
            every = agreement_of(theory, table, column)
            fixed = [name for name in theory if name.startswith("fixed")]
            learned = [name for name in theory if name.startswith("learned")]
            ranks = [every] + [
                agreement_of(theory, table, column, only=part) for part in (fixed, learned)
            ]
            relative = every.median_relative
            rows.append(
                (
                    heading,
                    source,
                    every.count,
                    f"{every.median_absolute:,.{digits}f}",
                    "–" if math.isnan(relative) else f"{100 * relative:.1f} %",
                    *(_correlation(part.rank_correlation) for part in ranks),
                )
            )
    header = (
        "Column",
        "Against",
        "Rows",
        "Median error",
        "Relative",
        "Rank corr.",
        "of fixed",
        "of learned",
    )
    return Table(header, rows)


def provenance(rows: Sequence[Row]) -> str:
    """Where recorded rows come from, in words: epochs, devices, code and versions."""
    if not rows:
        return "no runs yet"

    def values(column: str) -> str:
        return " / ".join(map(str, sorted({row[column] for row in rows})))

    commits = " / ".join(sorted({str(row["commit"])[:7] for row in rows}))
    return (
        f"{len(rows)} runs of {values('epochs')} epochs, seeds {values('seed')}, "
        f"{values('device')}, commit {commits}, {values('versions')}"
    )


def _printed(value: float | tuple[float, float]) -> Entry:
    centre, spread = value if isinstance(value, tuple) else (value, 0.0)
    return Entry(centre, centre - spread, centre + spread, printed=True)


def _median(values: Sequence[float]) -> float:
    if not values or any(math.isnan(value) for value in values):
        return math.nan
    return statistics.median(values)


def _shown(entry: Entry, digits: int) -> str:
    text = _number(entry.value, digits)
    if entry.printed and entry.low < entry.high:
        return f"{text} ±\u00a0{_number((entry.high - entry.low) / 2, digits)}"
    ends = [_number(end, digits) for end in (entry.low, entry.high)]
    # In a narrow column it takes two lines and not three.
    return "\u00a0to ".join(ends) if ends[0] != ends[1] else text


def _number(value: float, digits: int) -> str:
    return typeset(f"{value:,.{digits}f}")


def _correlation(value: float) -> str:
    return "undefined" if math.isnan(value) else typeset(f"{value:.2f}")
