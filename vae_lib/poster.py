"""The poster's table, as printed: what the book sets out to reproduce.

J. Lucas, G. Tucker, R. Grosse and M. Norouzi, "Don't Blame the ELBO! A Linear VAE Perspective on
Posterior Collapse", NeurIPS 2019, arXiv 1911.02469. The poster does not say what the numbers
behind its ± are. ELBO, KL and J are in nats.
"""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from vae_lib.rows import identity, row_name

DIMS = {"mnist": 784, "celeba": 12_288}
LATENT_DIMS = {"mnist": 200, "celeba": 500}


class PosterRow(NamedTuple):
    """A row of the table; a pair is a value and what is printed after its ±."""

    dataset: str
    learned: bool
    sigma_sq_init: float
    sigma_sq: float  # at the end of training
    elbo: tuple[float, float]
    tuned_elbo: tuple[float, float]
    tuned_sigma_sq: float
    collapse_percent: float
    kl: tuple[float, float]

    @property
    def name(self) -> str:
        """For instance "fixed 0.1"."""
        return row_name(sigma_sq_init=self.sigma_sq_init, learned=self.learned)

    def implied_log_abs_det(self) -> tuple[float, float]:
        """The J with which the ELBO and the tuned ELBO would satisfy their identities."""
        elbo, tuned = identity(
            kl=self.kl[0],
            sigma_sq=self.sigma_sq,
            tuned_sigma_sq=self.tuned_sigma_sq,
            log_abs_det=0.0,
            dim=DIMS[self.dataset],
        )
        return self.elbo[0] - elbo, self.tuned_elbo[0] - tuned

    @property
    def scaled_error(self) -> float:
        """n s / (2 sigma_sq): what the squared error costs, in nats."""
        return DIMS[self.dataset] / 2 * self.tuned_sigma_sq / self.sigma_sq


def rows(dataset: str) -> tuple[PosterRow, ...]:
    """The ten rows of "mnist" or "celeba", in the table's order.

    Raises:
        ValueError: the table has no such data set.
    """
    if dataset not in DIMS:
        raise ValueError(f"dataset must be one of {sorted(DIMS)}, got {dataset!r}")
    return tuple(row for row in TABLE if row.dataset == dataset)


def table_log_abs_det(dataset: str) -> float:
    """J of a data set's preprocessing as its rows imply it: the median, which few rows move.

    Raises:
        ValueError: the table has no such data set.
    """
    return median(j for row in rows(dataset) for j in row.implied_log_abs_det())


# dataset, learned, sigma_sq_init, final sigma_sq, ELBO, tuned ELBO, tuned sigma_sq, collapse, KL
TABLE = (
    PosterRow(
        "mnist", False, 10.0, 10.0, (-1450.3, 4.2), (-1098.2, 28.3), 1.797, 89.88, (28.8, 1.4)
    ),
    PosterRow("mnist", False, 1.0, 1.0, (-1022.1, 5.4), (-1018.3, 5.3), 1.145, 27.38, (125.4, 4.2)),
    PosterRow(
        "mnist", False, 0.1, 0.1, (-3697.3, 493.3), (-1190.8, 37.4), 0.968, 3.25, (368.7, 94.6)
    ),
    PosterRow(
        "mnist", False, 0.01, 0.01, (-38612.5, 1189.8), (-2090.8, 975.1), 0.877, 0.0, (695.9, 118.1)
    ),
    PosterRow(
        "mnist",
        False,
        0.001,
        0.001,
        (-504259.1, 49149.8),
        (-1744.7, 48.4),
        0.81,
        0.0,
        (756.2, 12.6),
    ),
    PosterRow("mnist", True, 10.0, 1.32, (-1022.2, 4.5), (-1022.3, 4.6), 1.318, 73.75, (73.8, 9.8)),
    PosterRow(
        "mnist", True, 1.0, 1.183, (-1011.1, 2.7), (-1011.1, 2.8), 1.182, 47.88, (106.3, 2.5)
    ),
    PosterRow(
        "mnist", True, 0.1, 1.194, (-1025.4, 8.6), (-1025.4, 8.6), 1.195, 29.25, (116.1, 11.4)
    ),
    PosterRow(
        "mnist", True, 0.01, 1.194, (-1030.6, 3.5), (-1030.5, 3.5), 1.191, 23.0, (121.9, 7.7)
    ),
    PosterRow(
        "mnist", True, 0.001, 1.208, (-1038.7, 5.6), (-1038.8, 5.6), 1.209, 27.0, (124.9, 1.6)
    ),
    PosterRow(
        "celeba", False, 10.0, 10.0, (-73328.4, 0.49), (-55186.7, 35.1), 0.204, 80.56, (56.12, 0.42)
    ),
    PosterRow(
        "celeba", False, 1.0, 1.0, (-59841.8, 30.1), (-51294.8, 333.7), 0.102, 2.52, (213.4, 6.3)
    ),
    PosterRow(
        "celeba",
        False,
        0.1,
        0.1,
        (-50760.3, 353.4),
        (-50698.5, 393.9),
        0.0883,
        32.72,
        (483.8, 36.2),
    ),
    PosterRow(
        "celeba",
        False,
        0.01,
        0.01,
        (-82478.7, 1823.3),
        (-51373.9, 213.3),
        0.0817,
        0.0,
        (1624.2, 8.78),
    ),
    PosterRow(
        "celeba",
        False,
        0.001,
        0.001,
        (-531924.5, 17177.6),
        (-57381.5, 512.6),
        0.0296,
        0.0,
        (2680.2, 41.45),
    ),
    PosterRow(
        "celeba",
        True,
        10.0,
        0.0962,
        (-51109.5, 408.2),
        (-51109.5, 408.3),
        0.0963,
        53.32,
        (364.5, 26.4),
    ),
    PosterRow(
        "celeba",
        True,
        1.0,
        0.0875,
        (-50631.2, 163.4),
        (-50631.0, 163.3),
        0.0875,
        54.76,
        (462.2, 20.0),
    ),
    PosterRow(
        "celeba",
        True,
        0.1,
        0.0863,
        (-50646.9, 269.0),
        (-50645.9, 267.5),
        0.0869,
        28.84,
        (520.9, 11.7),
    ),
    PosterRow(
        "celeba",
        True,
        0.01,
        0.0911,
        (-51285.0, 708.1),
        (-51284.8, 708.1),
        0.0963,
        5.64,
        (557.0, 50.5),
    ),
    PosterRow(
        "celeba",
        True,
        0.001,
        0.104,
        (-51695.1, 322.4),
        (-51694.8, 322.7),
        0.0974,
        0.0,
        (537.5, 46.2),
    ),
)
