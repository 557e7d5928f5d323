"""The likelihood around a collapsed column: slices, curvature, and the time an escape takes.

All of it is closed form in the eigenvalues. A column of W that is zero is a collapsed latent
dimension: its posterior equals the prior. Moved along an eigenvector u_j that no other column
uses, its curvature is (lambda_j - sigma_sq) / sigma_sq^2, so that sigma_sq against lambda_j
decides between escape and collapse. The ELBO at its best encoder has the same slices, because
the columns stay orthogonal and the gap is 0 (see ``linear_vae``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from vae_lib import checks

Kind = Literal["maximum", "saddle", "minimum", "degenerate"]


def curvature(
    eigenvalues: Tensor, sigma_sq: float | Tensor, column_scale: float | Tensor
) -> Tensor:
    """Second derivative of the likelihood as one column moves along an unused eigenvector.

    Args:
        eigenvalues: lambda_j of the direction, any shape.
        sigma_sq: noise variance, broadcastable.
        column_scale: k_i, the eigenvalue that column i holds, or ``sigma_sq`` if it is zero.

    Returns:
        (lambda_j - k_i) / (k_i sigma_sq), nats per squared unit of W.

    Raises:
        ValueError: ``sigma_sq`` or ``column_scale`` is not > 0.
    """
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    column_scale = checks.positive("column_scale", column_scale)
    return (eigenvalues - column_scale) / (column_scale * sigma_sq)


def collapsed_curvature(eigenvalues: Tensor, sigma_sq: float | Tensor) -> Tensor:
    """:func:`curvature` of a zero column: (lambda_j - sigma_sq) / sigma_sq^2."""
    return curvature(eigenvalues, sigma_sq, sigma_sq)


def kind(curvatures: Tensor, *, zero: float = 0.0) -> Kind:
    """Name a stationary point from its curvatures, those within ``zero`` of 0 set aside.

    Directions in which nothing changes (rotations of W) have curvature 0 and do not count. If
    none is left the second order says nothing and the point is "degenerate".
    """
    checks.number("zero", zero, low=0)
    rises, falls = bool((curvatures > zero).any()), bool((curvatures < -zero).any())
    return {(False, True): "maximum", (True, True): "saddle", (True, False): "minimum"}.get(
        (rises, falls), "degenerate"
    )


def pair_slice(
    eigenvalue_i: float,
    eigenvalue_j: float,
    sigma_sq: float | Tensor,
    along_i: Tensor,
    along_j: Tensor,
) -> Tensor:
    """Likelihood less its value at the collapsed point, two zero columns moved apart.

    Column one is a u_i and column two b u_j; other columns hold other eigenvectors or nothing,
    which only shifts the likelihood. The slice is a sum of one function of a and one of b, which
    is why a whole grid costs no more than its two edges.

    Args:
        eigenvalue_i: lambda_i, >= 0.
        eigenvalue_j: lambda_j, >= 0.
        sigma_sq: noise variance.
        along_i: values of a, (A,).
        along_j: values of b, (B,).

    Returns:
        (A, B), in nats.

    Raises:
        ValueError: ``sigma_sq`` <= 0 or a negative eigenvalue.
    """
    rise_i = column_rise(eigenvalue_i, sigma_sq, along_i)
    return rise_i[..., :, None] + column_rise(eigenvalue_j, sigma_sq, along_j)[..., None, :]


def column_rise(eigenvalue: float | Tensor, sigma_sq: float | Tensor, length: Tensor) -> Tensor:
    """Likelihood gained as a zero column grows to ``length`` along an unused eigenvector:

    1/2 [lambda (1/sigma_sq - 1/(a^2 + sigma_sq)) - log((a^2 + sigma_sq) / sigma_sq)], in nats.

    Raises:
        ValueError: ``sigma_sq`` <= 0 or a negative eigenvalue.
    """
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    eigenvalue = torch.as_tensor(eigenvalue, dtype=torch.float64)
    if bool((eigenvalue < 0).any()):
        raise ValueError(f"eigenvalue must be >= 0, got {eigenvalue.min().item()}")
    ratio = length.square() / sigma_sq
    return 0.5 * (eigenvalue / sigma_sq * ratio / (1 + ratio) - ratio.log1p())


def condition_number(eigenvalues: Tensor, sigma_sq: float | Tensor) -> Tensor:
    """Largest over smallest curvature of a collapsed column among the directions given.

    (max lambda - sigma_sq) / (min lambda - sigma_sq): how many times slower the slowest of these
    directions escapes than the fastest. It falls to max lambda / min lambda as sigma_sq falls
    to 0, and grows without bound as sigma_sq rises to the smallest lambda.

    Raises:
        ValueError: ``sigma_sq`` is not in (0, min lambda).
    """
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    lowest = eigenvalues.min()
    if bool((sigma_sq >= lowest).any()):
        raise ValueError(
            f"sigma_sq must be below the smallest eigenvalue {lowest.item():.6g}, "
            f"got {sigma_sq.max().item():.6g}"
        )
    return (eigenvalues.max() - sigma_sq) / (lowest - sigma_sq)


def escape_time(
    eigenvalue: float | Tensor, sigma_sq: float | Tensor, *, start: float, fraction: float = 0.5
) -> Tensor:
    """Time gradient flow of the likelihood needs to grow a column along one eigenvector.

    The column a u_j obeys da/dt = a (c - a^2) / (a^2 + sigma_sq)^2 with c = lambda - sigma_sq.
    With s = a^2 partial fractions give the time from s0 to s1:

        1/2 [(sigma_sq^2 / c) log(s1/s0) + (lambda^2 / c) log((c - s0)/(c - s1)) - (s1 - s0)]

    Its leading term is log(a1/a0) over the curvature c / sigma_sq^2.

    Args:
        eigenvalue: lambda > sigma_sq.
        sigma_sq: noise variance.
        start: initial length a0, > 0.
        fraction: a1 as a fraction of the final length c^(1/2), in (0, 1).

    Raises:
        ValueError: ``eigenvalue`` <= ``sigma_sq`` (no escape), or a1 is not in (a0, c^(1/2)).
    """
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    start_sq = checks.positive("start", start).square()
    eigenvalue = checks.positive("eigenvalue", eigenvalue)
    rise = eigenvalue - sigma_sq
    if bool((rise <= 0).any()):
        raise ValueError(
            "eigenvalue must exceed sigma_sq for a column to escape, "
            f"got {eigenvalue.min().item()} against {sigma_sq.max().item()}"
        )
    end_sq = checks.number("fraction", fraction, low=0, high=1) ** 2 * rise
    if bool((end_sq <= start_sq).any()) or fraction >= 1:
        raise ValueError(
            f"fraction must put the end between start = {start} and the final length, "
            f"got {fraction}"
        )
    linear_phase = sigma_sq.square() / rise * (end_sq / start_sq).log()
    saturation = eigenvalue.square() / rise * ((rise - start_sq) / (rise - end_sq)).log()
    return 0.5 * (linear_phase + saturation - (end_sq - start_sq))


def elbo_escape_rate(eigenvalue: float | Tensor, sigma_sq: float | Tensor) -> Tensor:
    """Growth rate of a collapsed latent when W and V follow the ELBO's gradient together.

    Around W = 0, V = 0, D = I, the amplitudes w and v along one eigenvector obey the linear system
    dw/dt = (lambda v - w) / sigma_sq, dv/dt = lambda (w / sigma_sq - v); the rate is its larger
    eigenvalue, positive exactly if lambda > sigma_sq.

    Raises:
        ValueError: ``eigenvalue`` or ``sigma_sq`` is not > 0.
    """
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    eigenvalue = checks.positive("eigenvalue", eigenvalue)
    trace = -(1 / sigma_sq + eigenvalue)
    determinant = eigenvalue * (sigma_sq - eigenvalue) / sigma_sq.square()
    # The larger root, written so that nothing cancels where it is close to 0.
    return -2 * determinant / ((trace.square() - 4 * determinant).sqrt() - trace)


def ascend_until(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    step_size: float,
    done: Callable[[Tensor], bool],
    max_steps: int,
) -> int:
    """Plain gradient ascent from ``start`` until ``done``: the number of steps it took.

    Raises:
        ValueError: ``step_size`` <= 0 or ``max_steps`` < 1.
        RuntimeError: not done within ``max_steps``.
    """
    checks.positive("step_size", step_size)
    checks.integer("max_steps", max_steps, low=1)
    point = start.clone()
    for step in range(max_steps + 1):
        if done(point):
            return step
        if step < max_steps:
            point = point + step_size * gradient(point)
    raise RuntimeError(f"gradient ascent was not done after max_steps = {max_steps} steps")
