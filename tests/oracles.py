"""Brute force that the closed forms are held against, and random problems, all in float64.

Nothing here is clever: n x n matrices are formed, inverted and factorised.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor
from torch.distributions import MultivariateNormal

EPS = torch.finfo(torch.float64).eps


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Independent standard normal numbers."""
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def log_uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers in [low, high] whose logarithm is uniform."""
    uniform = torch.rand(shape, dtype=torch.float64, generator=generator)
    return low * (high / low) ** uniform


def orthogonal(generator: torch.Generator, size: int) -> Tensor:
    """A random orthogonal matrix (size, size)."""
    return torch.linalg.qr(normal(generator, size, size))[0]


def covariance_of(eigenvalues: Tensor | list[float], basis: Tensor) -> Tensor:
    """A covariance with the given eigenvalues and, as columns, eigenvectors."""
    eigenvalues = torch.as_tensor(eigenvalues, dtype=torch.float64)
    cov = (basis * eigenvalues) @ basis.T
    return 0.5 * (cov + cov.T)


def random_covariance(generator: torch.Generator, dim: int) -> Tensor:
    """A positive definite covariance whose eigenvalues lie between 0.1 and 10."""
    return covariance_of(log_uniform(generator, 0.1, 10, dim), orthogonal(generator, dim))


def points_with_covariance(cov: Tensor) -> Tensor:
    """2n observations (2n, n) with mean 0 and covariance ``cov``, divided by N = 2n, exactly.

    Averages over them of any function that is quadratic in x are those over any other data with
    the same mean and covariance.
    """
    root = math.sqrt(len(cov)) * torch.linalg.cholesky(cov).T
    return torch.cat([root, -root])


def model_covariance(weights: Tensor, sigma_sq: float | Tensor) -> Tensor:
    """C = W W^T + sigma_sq I, (..., n, n)."""
    sigma_sq = torch.as_tensor(sigma_sq, dtype=torch.float64)
    eye = torch.eye(weights.shape[-2], dtype=torch.float64)
    return weights @ weights.mT + sigma_sq[..., None, None] * eye


def dense_log_likelihood(weights: Tensor, sigma_sq: float | Tensor, cov: Tensor) -> Tensor:
    """-1/2 [n log 2 pi + log|C| + tr(C^-1 S)] by an n x n determinant and solve, (...)."""
    model = model_covariance(weights, sigma_sq)
    distance = torch.linalg.solve(model, cov).diagonal(dim1=-2, dim2=-1).sum(-1)
    return -0.5 * (len(cov) * math.log(2 * math.pi) + torch.linalg.slogdet(model)[1] + distance)


def dense_posterior(weights: Tensor, sigma_sq: float, centred: Tensor) -> MultivariateNormal:
    """p(z|x) of each row of ``centred``, from the joint Gaussian of (x, z) alone."""
    gain = weights.T @ torch.linalg.inv(model_covariance(weights, sigma_sq))
    cov = torch.eye(weights.shape[1], dtype=torch.float64) - gain @ weights
    return MultivariateNormal(centred @ gain.T, 0.5 * (cov + cov.T))


def dense_gap(weights: Tensor, sigma_sq: float | Tensor) -> Tensor:
    """1/2 [sum_i log M_ii - log|M|], the two terms one by one, (...)."""
    inner = model_covariance(weights.mT, sigma_sq)
    diagonal = inner.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return 0.5 * (diagonal - torch.linalg.slogdet(inner)[1])


def condition(weights: Tensor, sigma_sq: float | Tensor) -> Tensor:
    """Condition number of C = W W^T + sigma_sq I, (...); that of M is no larger.

    C's eigenvalues run from sigma_sq, as k < n, to sigma_sq plus the squared norm of W.
    """
    return 1 + torch.linalg.matrix_norm(weights, 2).square() / sigma_sq


def difference(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference of two tensors, which must have the same shape."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == torch.float64
    return (actual - expected).abs().max().item()


def standard_error(draws: Tensor) -> Tensor:
    """Standard error of the mean over the first axis."""
    return draws.std(0) / math.sqrt(len(draws))


def autograd_gradient(function: Callable[..., Tensor], *at: Tensor) -> list[Tensor]:
    """Gradients of the sum of ``function`` in each argument."""
    leaves = [value.detach().clone().requires_grad_() for value in at]
    return list(torch.autograd.grad(function(*leaves).sum(), leaves))


def autograd_hessian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Hessian of a scalar ``function``, flattened, by differentiating its gradient row by row."""
    leaf = at.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, create_graph=True)
    rows = [
        torch.autograd.grad(entry, leaf, retain_graph=True)[0].flatten()
        for entry in gradient.flatten()
    ]
    return torch.stack(rows)


def blocks_with_spectrum(
    values: np.ndarray, *, rows: int, dim: int, block: int = 500, workers: int = 1
) -> Iterator[Tensor]:
    """Data (rows, dim) whose covariance has exactly these leading eigenvalues, and then zeros.

    X = sqrt(N) A diag(sqrt(values)) B^T, where the columns of A and B are cosines. Those of A
    are orthogonal to the constant one, so that the mean is zero before 3 is added. Nothing is
    kept, so that the data may be larger than the memory.
    """
    ranks = np.arange(1, len(values) + 1)
    for start in range(0, rows, block):
        i = np.arange(start, min(start + block, rows))[:, None]
        coefficients = np.zeros((len(i), dim))
        cosines = np.sqrt(2 / rows) * np.cos(np.pi * (2 * i + 1) * ranks / (2 * rows))
        coefficients[:, : len(values)] = cosines * np.sqrt(rows * values)
        yield torch.from_numpy(dct(coefficients, norm="ortho", workers=workers) + 3.0)
