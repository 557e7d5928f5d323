"""Stationary points of the ELBO that pPCA lacks, a search for them, and their classification.

Objectives here are functions of W (n, k) at a fixed ``sigma_sq``: the likelihood, or the ELBO at
its best encoder. The full ELBO in (W, V, D) is strictly concave in (V, log D) for positive
definite S, so that its stationary points are the same and its Hessian has as many positive
eigenvalues.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lib import checks, landscape, ppca
from vae_lib.spectrum import Spectrum

Objective = Callable[[Tensor], Tensor]

# Hessian entries carry rounding of about 1e-16 times the largest; symmetry directions come out
# at 1e-15 or so, true curvatures of the models studied here at 1e-3 or more.
ZERO_CURVATURE_RTOL = 1e-9
# Keeps the search's normal equations solvable where the Jacobian is singular.
MIN_DAMPING = 1e-12


class ExtraPoint(NamedTuple):
    """A stationary point of the ELBO, k = 2, that is none of the likelihood.

    ``components`` are the eigenvectors it uses: two for two components mixed at 45 degrees, one
    for a component that both columns hold alike. ``weights`` is (n, 2).
    """

    components: tuple[int, ...]
    weights: Tensor


def hessian(objective: Objective, weights: Tensor) -> Tensor:
    """Hessian of ``objective`` at ``weights`` (n, k), flattened: (n k, n k)."""
    size = weights.numel()
    return _second_derivative(objective)(weights).reshape(size, size)


def classify(objective: Objective, weights: Tensor) -> tuple[landscape.Kind, Tensor]:
    """Kind of a stationary point and its Hessian's eigenvalues, (n k,), ascending."""
    curvatures = torch.linalg.eigvalsh(hessian(objective, weights))
    return landscape.kind(
        curvatures, zero=ZERO_CURVATURE_RTOL * curvatures.abs().max().item()
    ), curvatures


def predicted_kind(
    eigenvalues: Tensor, active: tuple[int, ...], k: int, sigma_sq: float
) -> landscape.Kind:
    """Kind of a pPCA stationary point from its active set alone, no Hessian.

    Each column of scale k_i has curvature (lambda_j - k_i)/(k_i sigma_sq) along each unused u_j;
    active columns are maxima along themselves.

    Raises:
        ValueError: bad arguments.
    """
    checks.eigenvalues("eigenvalues", eigenvalues)
    k = checks.latent_dim(k, len(eigenvalues))
    noise = checks.positive("sigma_sq", sigma_sq)
    if len(active) > k:
        raise ValueError(f"active must hold at most k = {k} components, got {len(active)}")
    ppca.active_mask(eigenvalues, active, noise)
    unused = eigenvalues[[j for j in range(len(eigenvalues)) if j not in active]]
    scales = eigenvalues[list(active)].tolist() + [noise.item()] * (k > len(active))
    moves = [landscape.curvature(unused, noise, scale) for scale in scales]
    radial = [torch.full((len(active),), -1.0, dtype=torch.float64)]
    return landscape.kind(torch.cat(moves + radial))


def extra_points(spectrum: Spectrum, sigma_sq: float) -> list[ExtraPoint]:
    """Stationary points of the best-encoder ELBO with k = 2 that the likelihood does not have.

    Up to signs and the order of columns (chapter 4 shows that there are no others for k = 2 where
    the eigenvalues differ):

    * two components i, j mixed at 45 degrees, with singular values^2 m_i - sigma_sq, where
      m_i = (lambda_i + (lambda_i lambda_j)^(1/2)) / 2, provided both m exceed sigma_sq;
    * one component doubled, in both columns alike, with singular value^2 m - sigma_sq, where
      m = (lambda + (lambda^2 + 8 lambda sigma_sq)^(1/2)) / 4, provided lambda > sigma_sq.

    Raises:
        ValueError: ``sigma_sq`` <= 0.
    """
    checks.positive("sigma_sq", sigma_sq)
    values, vectors = spectrum.eigenvalues, spectrum.eigenvectors
    mixing = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    points = []
    for i, j in combinations(range(vectors.shape[1]), 2):
        pair = values[[i, j]]
        scales = 0.5 * (pair + (values[i] * values[j]).sqrt())
        if bool((scales > sigma_sq).all()):
            weights = vectors[:, [i, j]] * (scales - sigma_sq).sqrt() @ mixing
            points.append(ExtraPoint((i, j), weights))
    for i in range(vectors.shape[1]):
        value = values[i]
        if value > sigma_sq:
            scale = 0.25 * (value + (value.square() + 8 * value * sigma_sq).sqrt())
            column = vectors[:, i : i + 1] * (scale - sigma_sq).sqrt()
            points.append(ExtraPoint((i,), column @ mixing[:1]))
    return points


class Search(NamedTuple):
    """``weights`` (B, n, k) where the search ended and ``gradient_norms`` (B,) there."""

    weights: Tensor
    gradient_norms: Tensor


def search(
    objective: Objective,
    starts: Tensor,
    *,
    steps: int = 200,
    progress: Callable[[int], object] | None = None,
) -> Search:
    """Look for stationary points of any kind from many ``starts`` (B, n, k) at once.

    Levenberg-Marquardt on the squared norm of (1 + |W|^2) times the gradient, with a damping of
    its own for each member: maxima, saddles and minima attract alike, and the factor, which
    changes no zero, keeps members from leaving for infinity, where the gradient vanishes too.
    A member can end at a positive local minimum of the norm, which its ``gradient_norms`` entry
    shows.

    Raises:
        ValueError: ``starts`` is not a finite (B, n, k) tensor, or ``steps`` < 1.
    """
    checks.tensor("starts", starts, None, None, None)
    checks.integer("steps", steps, low=1)
    shape = starts.shape[1:]

    def weighted_gradient(flat: Tensor) -> Tensor:
        gradient = torch.func.grad(lambda point: objective(point.reshape(shape)))(flat)
        return (1 + flat.square().sum()) * gradient

    residuals = torch.func.vmap(weighted_gradient)
    jacobians = torch.func.vmap(torch.func.jacrev(weighted_gradient))
    points = starts.reshape(len(starts), -1).clone()
    residual = residuals(points)
    damping = torch.ones(len(points), 1, 1, dtype=points.dtype)
    eye = torch.eye(points.shape[1], dtype=points.dtype)
    for _ in range(steps):
        jacobian = jacobians(points)
        normal = jacobian.mT @ jacobian + damping * eye
        trial = points - torch.linalg.solve(normal, jacobian.mT @ residual[..., None])[..., 0]
        trial_residual = residuals(trial)
        better = trial_residual.norm(dim=1) < residual.norm(dim=1)
        points = torch.where(better[:, None], trial, points)
        residual = torch.where(better[:, None], trial_residual, residual)
        factor = torch.where(better[:, None, None], 1 / 4, 4.0)
        damping = (damping * factor).clamp(MIN_DAMPING, 1 / MIN_DAMPING)
        if progress is not None:
            progress(1)
    norms = residual.norm(dim=1) / (1 + points.square().sum(1))
    return Search(points.reshape(starts.shape), norms)


def _second_derivative(objective: Objective) -> Objective:
    # Reverse over reverse: torch.func.hessian goes forward over reverse, which in torch 2.13
    # gives wrong second derivatives of logdet under vmap.
    return torch.func.jacrev(torch.func.grad(objective))


def invariants(weights: Tensor) -> Tensor:
    """(..., k + n k): what W and its images under signs and order of columns have in common.

    Sorted column lengths, and |W| with the columns in that order. Columns of equal length keep
    the order they have, so that points are comparable only if such columns also agree in their
    absolute values, as those of :func:`extra_points` do in the basis of the eigenvectors.
    """
    lengths = weights.norm(dim=-2)
    order = lengths.argsort(dim=-1, descending=True)
    columns = torch.take_along_dim(weights, order[..., None, :], dim=-1).abs()
    return torch.cat([lengths.sort(-1, descending=True).values, columns.flatten(-2)], dim=-1)
