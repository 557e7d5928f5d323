"""The spectrum of a data set: all that the closed forms of pPCA need to know of it.

The covariance S = (1/N) sum_i (x_i - mean)(x_i - mean)^T divides by N, the maximum likelihood
estimate, never by N - 1: with N - 1 the ELBO can seem to exceed the likelihood's maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_lib import checks

BLOCK_ROWS = 8192  # rows centred at a time, about 50 MB of MNIST


@dataclass(frozen=True)
class Spectrum:
    """Mean, eigenvalues and eigenvectors of a covariance S = U diag(eigenvalues) U^T.

    Attributes:
        mean: (n,), the data's mean.
        eigenvalues: (n,), descending and >= 0; the ones past the r-th are exactly 0.
        eigenvectors: (n, r), orthonormal columns, r = min(N, n). The sign of each column makes
            its largest entry positive.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor

    @property
    def dim(self) -> int:
        """The data's dimension n."""
        return len(self.mean)

    def covariance(self) -> Tensor:
        """S, of shape (n, n). It needs n^2 numbers: for small n only."""
        vectors = self.eigenvectors
        return (vectors * self.eigenvalues[: vectors.shape[1]]) @ vectors.T

    def count_above(self, sigma_sq: float) -> int:
        """How many eigenvalues exceed ``sigma_sq``: components that fixed noise can keep."""
        return int((self.eigenvalues > sigma_sq).sum())


def spectrum(data: Tensor) -> Spectrum:
    """Spectrum of ``data`` (N, n), float64, about its mean.

    Where N < n a thin singular value decomposition of the centred data is used, so that no
    n x n matrix is formed; otherwise the covariance is diagonalised.

    Raises:
        ValueError: ``data`` is not a finite float64 tensor of shape (N >= 2, n >= 2).
    """
    checks.tensor("data", data, None, None)
    if data.ndim != 2 or min(data.shape) < 2:
        raise ValueError(f"data must have shape (N >= 2, n >= 2), got {tuple(data.shape)}")
    num_samples, dim = data.shape
    mean = data.mean(0)
    if num_samples >= dim:
        return _diagonalise(_covariance(data, mean), mean)
    # A thin decomposition by way of the triangle: several times faster where N is far below n.
    basis, triangle = torch.linalg.qr((data - mean).T)
    inner, singular_values, _ = torch.linalg.svd(triangle)
    eigenvalues = data.new_zeros(dim)
    eigenvalues[:num_samples] = singular_values.square() / num_samples
    eigenvalues = _without_rounding(eigenvalues, max(num_samples, dim))
    return Spectrum(mean, eigenvalues, _fix_signs(basis @ inner))


def span_coordinates(data: Tensor) -> Tensor:
    """Rows of ``data`` (N, n) in an orthonormal basis of a space that holds them, (N, min(N, n)).

    Distances stay as they are. So do the non-zero eigenvalues of any subset of the rows, which
    take a fraction of the time where N is far below n.

    Raises:
        ValueError: ``data`` is not a finite float64 matrix.
    """
    checks.matrix("data", data, None, None)
    return torch.linalg.qr(data.T, mode="r")[1].T


def spectrum_of_covariance(cov: Tensor, mean: Tensor | None = None) -> Spectrum:
    """Spectrum of a covariance matrix (n, n); ``mean`` (n,) is 0 where it is not given.

    Raises:
        ValueError: ``cov`` is not finite, symmetric and positive semi-definite, or ``mean``
            has another length.
    """
    checks.covariance("cov", cov)
    mean = torch.zeros_like(cov[0]) if mean is None else checks.tensor("mean", mean, len(cov))
    return _diagonalise(cov, mean)


def covariance(data: Tensor) -> Tensor:
    """Covariance (n, n) of ``data`` (N, n), divided by N.

    Raises:
        ValueError: ``data`` is not a finite float64 matrix.
    """
    checks.matrix("data", data, None, None)
    return _covariance(data, data.mean(0))


def _covariance(data: Tensor, mean: Tensor) -> Tensor:
    # Block by block: no second copy of the data, and NumPy sees that a product is symmetric and
    # computes half of it. Centring first, rather than subtracting mean mean^T from X^T X, keeps
    # the digits where the mean is large.
    total = np.zeros((len(mean), len(mean)))
    for block in data.split(BLOCK_ROWS):
        centred = (block - mean).numpy()
        total += centred.T @ centred
    return torch.from_numpy(total / len(data))


def _diagonalise(cov: Tensor, mean: Tensor) -> Spectrum:
    eigenvalues, vectors = torch.linalg.eigh(cov)
    # eigh ascends, and rounding leaves eigenvalues of a singular matrix at about -1e-16.
    eigenvalues = _without_rounding(eigenvalues.flip(0), len(cov))
    return Spectrum(mean, eigenvalues, _fix_signs(vectors.flip(1)))


def _without_rounding(eigenvalues: Tensor, size: int) -> Tensor:
    floor = size * torch.finfo(eigenvalues.dtype).eps * eigenvalues[0]
    return torch.where(eigenvalues > floor, eigenvalues, 0.0)


def _fix_signs(vectors: Tensor) -> Tensor:
    largest = vectors.abs().argmax(0, keepdim=True)
    return vectors * vectors.gather(0, largest).sign()
