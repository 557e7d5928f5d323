"""The spectrum of a data set: all that the closed forms of pPCA need to know of it.

The covariance S = (1/N) sum_i (x_i - mean)(x_i - mean)^T divides by N, the maximum likelihood
estimate, never by N - 1: with N - 1 the ELBO can seem to exceed the likelihood's maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vae_lib import checks


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
    centred = data - mean
    if num_samples >= dim:
        return _diagonalise(centred.T @ centred / num_samples, mean)
    _, singular_values, vectors = torch.linalg.svd(centred, full_matrices=False)
    eigenvalues = data.new_zeros(dim)
    eigenvalues[:num_samples] = singular_values.square() / num_samples
    return Spectrum(mean, eigenvalues, _fix_signs(vectors.T))


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
    checks.tensor("data", data, None, None)
    centred = data - data.mean(0)
    return centred.T @ centred / len(data)


def _diagonalise(cov: Tensor, mean: Tensor) -> Spectrum:
    eigenvalues, vectors = torch.linalg.eigh(cov)
    # eigh ascends, and rounding leaves eigenvalues of a singular matrix at about -1e-16.
    return Spectrum(mean, eigenvalues.flip(0).clamp_min(0), _fix_signs(vectors.flip(1)))


def _fix_signs(vectors: Tensor) -> Tensor:
    largest = vectors.abs().argmax(0, keepdim=True)
    return vectors * vectors.gather(0, largest).sign()
