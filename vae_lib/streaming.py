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
        """At least so many eigenvalues exceed ``sigma_sq``."""
        return int((self.leading > sigma_sq).sum())

    def eigenvalues(self) -> Tensor:
        """(n,): the leading ones, and for each of the others their mean.

        Closed forms that keep at most m components depend on the others through their sum alone,
        so that they are as exact as the leading ones.
        """
        dim, count = len(self.mean), len(self.leading)
        rest = (self.trace - self.leading.sum()) / (dim - count)
        # Rounding, or a bound that is not reached, must not make the order ascend.
        rest = rest.clamp(min=torch.zeros_like(rest), max=self.leading[-1])
        return torch.cat([self.leading, rest.expand(dim - count)])


def leading_spectrum(
    blocks: Blocks,
    *,
    num_components: int,
    generator: torch.Generator,
    tolerance: float = 1e-3,
    max_passes: int = 40,
    progress: Callable[[int], object] | None = None,
) -> LeadingSpectrum:
    """The leading part of the spectrum of data that come in blocks.

    Args:
        blocks: called for each pass; yields the same blocks (B, n), float64, every time.
        num_components: m, at least 1 and less than n / 5, which is what LOBPCG can do.
        generator: of the starting vectors.
        tolerance: stop when no residual exceeds this share of the mean eigenvalue, > 0.
        max_passes: stop after so many in any case, >= 6.
        progress: called with 1 after each pass.

    Raises:
        ValueError: an argument outside its range, or blocks that are not float64 matrices of one
            width, are empty, or differ in number between two passes.
    """
    checks.positive("tolerance", tolerance)
    checks.integer("max_passes", max_passes, low=6)
    mean, trace, count = _moments(blocks)
    dim = len(mean)
    num_components = checks.integer("num_components", num_components, low=1, high=(dim - 1) // 5)
    passes = 2

    def product(vectors: np.ndarray) -> np.ndarray:
        """S @ vectors (n, m)."""
        nonlocal passes
        matrix, total, seen = torch.from_numpy(vectors), torch.zeros(vectors.shape), 0
        total = total.to(torch.float64)
        for block in blocks():
            centred = block - mean
            total += centred.T @ (centred @ matrix)
            seen += len(block)
        if seen != count:
            raise ValueError(f"blocks must yield the same data every time: {count}, then {seen}")
        passes += 1
        if progress is not None:
            progress(1)
        return (total / count).numpy()

    start = torch.randn(dim, num_components, generator=generator, dtype=torch.float64).numpy()
    operator = LinearOperator((dim, dim), matvec=product, matmat=product, dtype=np.float64)
    with warnings.catch_warnings():
        # It warns where it stops short of the tolerance; the residuals say so.
        warnings.simplefilter("ignore", UserWarning)
        _, vectors = lobpcg(
            operator,
            start,
            largest=True,
            tol=tolerance * trace / dim,
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
    trace = sum((block - mean).square().sum().item() for block in blocks()) / count
    return mean, trace, count
