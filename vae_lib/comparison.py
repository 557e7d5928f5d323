"""Rows of the table as measured over runs, and whether they agree with the published ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from vae_lib import poster
from vae_lib.claims import VERDICTS, Claim
from vae_lib.poster import PosterRow
from vae_lib.results import LEDGER, Row, read_ledger

# How close a measured column must come to the printed one: relative, but for the collapse. That
# of the ELBO is relative to what a model has a say in, KL plus scaled error: the rest, most of an
# ELBO where sigma_sq is large, is a constant, and 5 % of that would pass what has learned nothing.
RELATIVE_TOLERANCE = {"elbo": 0.05, "tuned_sigma_sq": 0.2, "kl": 0.2}
COLLAPSE_TOLERANCE = 10.0  # percentage points
PARTLY = 2  # so many judged columns must agree, or a row is not even reproduced in part
SAME_NOISE = 1.2  # learned noise variances whose ratio is no larger stand near one value
COLUMNS = (
    "elbo",
    "tuned_elbo",
    "sigma_sq",
    "tuned_sigma_sq",
    "kl",
    "log_abs_det",
    "collapse_percent",
)


@dataclass(frozen=True)
class Measured:
    """A row of the table, measured on one run or several.

    Attributes:
        runs: how many, those that diverged not among them.
        mean: column of the table -> mean over the runs.
        low, high: the same for the smallest and largest.
    """

    runs: int
    mean: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]


def is_table_run(row: Row) -> bool:
    """Whether a ledger's row is a finished run of the table, not an aside or a diverged one."""
    plain = row["beta"] == 1 and row["anneal_epochs"] == 0 and not row["centred"]
    return plain and row["status"] == "finished"


def twins(rows: Sequence[Row], column: str) -> tuple[Row, Row] | None:
    """A finished run for which ``column`` ("centred", "anneal_epochs") is set, and its twin.

    The twin is the table's run of the same row, seed and learning rate. None where there is no
    such pair; the first one where there are several.
    """
    shared = ("dataset", "row", "seed", "learning_rate", "hidden", "images", "epochs")
    for row in rows:
        if row["status"] != "finished" or not row[column]:
            continue
        for plain in rows:
            if is_table_run(plain) and all(plain[name] == row[name] for name in shared):
                return row, plain
    return None


def measured(rows: Iterable[Row]) -> dict[str, Measured]:
    """The table's rows by name, each over its runs; rows without a finished run are left out."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if is_table_run(row):
            groups.setdefault(str(row["row"]), []).append(row)
    return {
        name: Measured(
            runs=len(group),
            mean={column: fmean(row[column] for row in group) for column in COLUMNS},
            low={column: min(row[column] for row in group) for column in COLUMNS},
            high={column: max(row[column] for row in group) for column in COLUMNS},
        )
        for name, group in groups.items()
    }


def recorded_folder(dataset: str, recorded: Path) -> Path:
    """The ledger of a data set's rows among those below ``recorded``.

    The paper's own length of training where it has a finished run of every row, and otherwise the
    two hours of a laptop.

    Raises:
        ValueError: the table has no such data set.
        LedgerError: the ledger is damaged.
    """
    names = {row.name for row in poster.rows(dataset)}
    paper = recorded / f"{dataset}-paper"
    if (paper / LEDGER).is_file() and names <= measured(read_ledger(paper)).keys():
        return paper
    return recorded / f"{dataset}-laptop"


def over_seeds(
    rows: Sequence[Row], statistic: Callable[[Mapping[str, Measured]], float]
) -> dict[str, float | None]:
    """A statistic of the table, and how it varies: arguments ``measured`` and ``uncertainty`` of
    a :class:`~vae_lib.claims.Claim`.

    Args:
        rows: of a ledger, with all rows of the table that the statistic needs.
        statistic: of the table by rows. It is taken of the means over the runs, and for the
            uncertainty, which is half its range, of each seed that has all rows; of one such
            seed or none there is no uncertainty.
    """
    table = measured(rows)
    seeds = [
        measured(row for row in rows if row["seed"] == seed)
        for seed in sorted({row["seed"] for row in rows})
    ]
    values = [statistic(one) for one in seeds if one.keys() == table.keys()]
    spread = (max(values) - min(values)) / 2 if len(values) > 1 else None
    return {"measured": statistic(table), "uncertainty": spread}


def judged(published: PosterRow, found: Measured) -> dict[str, Claim]:
    """For each column that is judged, the claim that the mean is close to the printed value.

    Differences up to ``RELATIVE_TOLERANCE``, or up to what is printed after ±; for the collapse,
    percentage points up to ``COLLAPSE_TOLERANCE``. The ELBO is judged without J, on each side its
    own, because J belongs to the images and not to the model. The uncertainty is half the range
    over the runs.
    """
    relative = RELATIVE_TOLERANCE
    elbo, elbo_spread = published.elbo
    kl, kl_spread = published.kl
    fit = kl + published.scaled_error
    table_j, own_j = poster.table_log_abs_det(published.dataset), found.mean["log_abs_det"]
    columns = {  # heading, unit, printed, measured, allowed difference
        "elbo": (
            "ELBO less J",
            "nats",
            elbo - table_j,
            found.mean["elbo"] - own_j,
            max(relative["elbo"] * fit, elbo_spread),
        ),
        "tuned_sigma_sq": (
            "tuned σ²",
            "",
            published.tuned_sigma_sq,
            found.mean["tuned_sigma_sq"],
            relative["tuned_sigma_sq"] * published.tuned_sigma_sq,
        ),
        "kl": ("KL", "nats", kl, found.mean["kl"], max(relative["kl"] * kl, kl_spread)),
        "collapse_percent": (
            "collapse",
            "%",
            published.collapse_percent,
            found.mean["collapse_percent"],
            COLLAPSE_TOLERANCE,
        ),
    }
    return {
        column: Claim(
            heading,
            measured,
            low=printed - allowed,
            high=printed + allowed,
            unit=unit,
            uncertainty=(found.high[column] - found.low[column]) / 2 if found.runs > 1 else None,
        )
        for column, (heading, unit, printed, measured, allowed) in columns.items()
    }


def verdict_of(columns: Mapping[str, Claim]) -> str:
    """One of ``claims.VERDICTS`` for the judged columns of a row.

    All must agree to make it reproduced, ``PARTLY`` of them to make it so in part; without
    columns it is not yet run.
    """
    if not columns:
        return VERDICTS[3]
    held = sum(claim.holds for claim in columns.values())
    if held == len(columns):
        return VERDICTS[0]
    return VERDICTS[1] if held >= PARTLY else VERDICTS[2]


def row_verdict(published: PosterRow, found: Measured | None) -> str:
    """The verdict for a row and what was measured of it, None where nothing was."""
    return verdict_of({} if found is None else judged(published, found))
