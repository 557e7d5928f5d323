"""Rows of the poster's table: their names, and the identities between their columns."""

from __future__ import annotations

import math
from collections.abc import Mapping

SIGMA_SQ_INITS = (10.0, 1.0, 0.1, 0.01, 0.001)


def row_name(*, sigma_sq_init: float, learned: bool) -> str:
    """Name of a row of the table, for instance "fixed 0.1"."""
    return f"{'learned' if learned else 'fixed'} {sigma_sq_init:g}"


def parse_row(name: str) -> tuple[float, bool]:
    """``sigma_sq_init`` and ``learned`` of a row's name.

    Raises:
        ValueError: the table has no such row.
    """
    known = {
        row_name(sigma_sq_init=value, learned=learned): (value, learned)
        for learned in (False, True)
        for value in SIGMA_SQ_INITS
    }
    if name not in known:
        raise ValueError(f"row must be one of {', '.join(known)}; got {name!r}")
    return known[name]


def identity_errors(row: Mapping[str, float], dim: int) -> tuple[float, float]:
    """Relative errors of a row in the two identities of :mod:`vae_lib.evaluation`."""
    elbo, tuned = identity(
        kl=row["kl"],
        sigma_sq=row["sigma_sq"],
        tuned_sigma_sq=row["tuned_sigma_sq"],
        log_abs_det=row["log_abs_det"],
        dim=dim,
    )
    return abs(elbo / row["elbo"] - 1), abs(tuned / row["tuned_elbo"] - 1)


def identity(
    *, kl: float, sigma_sq: float, tuned_sigma_sq: float, log_abs_det: float, dim: int
) -> tuple[float, float]:
    """ELBO and tuned ELBO that the other columns of a row imply, in nats."""
    two_pi = 2 * math.pi
    elbo = -kl - dim / 2 * (math.log(two_pi * sigma_sq) + tuned_sigma_sq / sigma_sq) + log_abs_det
    tuned = -kl - dim / 2 * (math.log(two_pi * tuned_sigma_sq) + 1) + log_abs_det
    return elbo, tuned
