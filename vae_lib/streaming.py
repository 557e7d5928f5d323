"""Spectra of data sets that do not fit into memory: exact trace, leading eigenvalues from below.

The covariance is known only through passes over the data, block by block. Its trace is summed;
its leading eigenvalues come from LOBPCG (Knyazev 2001), as SciPy has it, which asks for nothing
but products of the covariance with a few hundred vectors. What it returns are Rayleigh quotients
on an orthonormal basis: by the Poincaré separation theorem each is at most the eigenvalue of its
rank, so that the number of them above sigma_sq bounds that of the eigenvalues from below.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, lobpcg
from torch import Tensor

from vae_lib import checks

Blocks = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class LeadingSpectrum:
    """Trace and leading eigenvalues of a covariance (divided by N).

    Attributes:
        mean: (n,), the data's mean.
        trace: sum of all eigenvalues, up to rounding.
        leading: (m,), descending; none exceeds the eigenvalue of its rank.
        residuals: (m,), norms of S v - leading v; an eigenvalue lies within each of them.
        passes: how often the data were read.
    """

    mean: Tensor
    trace: float
    leading: Tensor
    residuals: Tensor
    passes: int

    def count_above(self, sigma_sq: float) -> int:
        """At least so many eigenvalues exceed ``sigma_sq``; of more than m nothing is known."""
        return int((self.leading > sigma_sq).sum())

    def eigenvalues(self) -> Tensor:
        """(n,), descending: the leading ones, and for each of the others their mean.

        Their sum is the trace. Closed forms that keep at most m components depend on the others
        through their sum alone. Where a leading one has not converged and is below that mean, it
        is counted among the others. The result is majorised by the spectrum, and the largest
        likelihood is a convex function of the covariance, so that its value here is a bound from
        below.
        """
        dim, kept = len(self.mean), self.leading
        while len(kept) and (self.trace - kept.sum()) / (dim - len(kept)) > kept[-1]:
            kept = kept[:-1]
        rest = ((self.trace - kept.sum()) / (dim - len(kept))).clamp(min=0)  # rounding
        return torch.cat([kept, rest.expand(dim - len(kept))])


def leading_spectrum(
    blocks: Blocks,
    *,
    num_components: int,
    generator: torch.Generator,
    tolerance: float,
    max_passes: int = 40,
    progress: Callable[[int], object] | None = None,
) -> LeadingSpectrum:
    """The leading part of the spectrum of data that come in blocks.

    Args:
        blocks: called for each pass; yields the same blocks (B, n), float64, every time.
        num_components: m, at least 1 and less than n / 5, which is what LOBPCG can do.
        generator: of the starting vectors.
        tolerance: stop when no residual exceeds it, > 0, in the units of the data's variance. An
            eigenvalue's error is at most its residual; an ELBO's is about half the sum of errors
            over sigma_sq, so choose it well below the smallest sigma_sq asked about.
        max_passes: stop after about so many in any case, >= 6.
        progress: called with 1 after each pass but the first two.

    Raises:
        ValueError: an argument outside its range, or blocks that are not float64 matrices of one
            width, are empty, or differ in number between two passes.
    """
    checks.positive("tolerance", tolerance)
    checks.integer("max_passes", max_passes, low=6)
    checks.integer("num_components", num_components, low=1)
    mean, trace, count = _moments(blocks)
    dim = len(mean)
    num_components = checks.integer("num_components", num_components, low=1, high=(dim - 1) // 5)
    passes = 2

    def product(vectors: np.ndarray) -> np.ndarray:
        """S @ vectors (n, m)."""
        nonlocal passes
        matrix, seen = torch.from_numpy(vectors), 0
        total = torch.zeros(vectors.shape, dtype=torch.float64)
        for block in blocks():
            centred = block - mean
            total += centred.T @ (centred @ matrix)
            seen += len(block)
        _same_number(count, seen)
        passes += 1
        if progress is not None:
            progress(1)
        return (total / count).numpy()

    start = torch.randn(dim, num_components, generator=generator, dtype=torch.float64).numpy()
    operator = LinearOperator((dim, dim), matvec=product, matmat=product, dtype=np.float64)
    with warnings.catch_warnings():
        # It warns where it stops short of the tolerance; the residuals say so.
        warnings.filterwarnings("ignore", "Exited", UserWarning)
        _, vectors = lobpcg(
            operator,
            start,
            largest=True,
            tol=tolerance,
            maxiter=max_passes - passes - 4,  # it reads thrice besides, and we once more
        )
    # Rayleigh and Ritz once more, on a basis orthonormal to rounding: the bounds rest on that.
    basis, _ = np.linalg.qr(vectors)
    image = product(basis)
    values, rotation = np.linalg.eigh(basis.T @ image)
    residuals = np.linalg.norm(image @ rotation - basis @ rotation * values, axis=0)
    return LeadingSpectrum(
        mean,
        trace,
        torch.from_numpy(values[::-1].copy()),
        torch.from_numpy(residuals[::-1].copy()),
        passes,
    )


def _moments(blocks: Blocks) -> tuple[Tensor, float, int]:
    """Mean (n,), trace of the covariance, and N."""
    total, count = None, 0
    for block in blocks():
        checks.matrix("blocks", block, None, None if total is None else len(total))
        total = block.sum(0) if total is None else total + block.sum(0)
        count += len(block)
    if total is None or count < 2:
        raise ValueError(f"blocks must hold at least two rows, got {count}")
    mean = total / count
    # About the mean, in a second pass: the difference of two sums would lose digits.
    squares, seen = 0.0, 0
    for block in blocks():
        squares += (block - mean).square().sum().item()
        seen += len(block)
    _same_number(count, seen)
    return mean, squares / count, count


def _same_number(count: int, seen: int) -> None:
    if seen != count:
        raise ValueError(f"blocks must yield the same data every time: {count} rows, then {seen}")
