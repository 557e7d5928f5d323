"""Argument checks: a ``ValueError`` that names the argument, its value and what is allowed."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor

# Relative asymmetry, and relative size of a negative eigenvalue, that rounding in a float64
# covariance of up to about 10^4 dimensions can explain.
COVARIANCE_RTOL = 1e-10


def integer(name: str, value: object, *, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int in [low, high]."""
    allowed = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return int(value)


def latent_dim(value: object, dim: int) -> int:
    """Return the latent dimension k, which must satisfy 1 <= k < n."""
    try:
        return integer("k", value, low=1, high=dim - 1)
    except ValueError as error:
        raise ValueError(f"{error} (the data have n = {dim} dimensions)") from None


def positive(name: str, value: float | Tensor) -> Tensor:
    """Return ``value`` as a float64 tensor whose entries are finite and > 0."""
    is_number = isinstance(value, Real | Tensor) and not isinstance(value, bool)
    if not is_number:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    tensor = torch.as_tensor(value, dtype=torch.float64)
    if not bool((torch.isfinite(tensor) & (tensor > 0)).all()):
        shown = value if tensor.ndim == 0 else f"minimum {tensor.min().item()}"
        raise ValueError(f"{name} must be finite and > 0, got {shown}")
    return tensor


def number(name: str, value: object, *, low: float, high: float = math.inf) -> float:
    """Return ``value`` as a finite float in [low, high]."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name} must be a finite number in [{low}, {high}], got {value!r}")
    return float(value)


def tensor(name: str, value: object, *shape: int | None) -> Tensor:
    """Return ``value`` if it is a finite float64 tensor whose last axes have the given sizes.

    ``None`` stands for any size. Leading (batch) axes are free.
    """
    allowed = "(..., " + ", ".join("any" if size is None else str(size) for size in shape) + ")"
    if not isinstance(value, Tensor) or value.dtype != torch.float64:
        found = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must be a float64 tensor of shape {allowed}, got {found}")
    trailing = value.shape[value.ndim - len(shape) :] if value.ndim >= len(shape) else None
    if trailing is None or any(
        want not in (None, got) for want, got in zip(shape, trailing, strict=True)
    ):
        raise ValueError(f"{name} must have shape {allowed}, got {tuple(value.shape)}")
    # A NaN or an infinite entry makes the sum so; the sum costs a tenth of looking at each entry.
    if not bool(torch.isfinite(value.sum())) and not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries")
    return value


def matrix(name: str, value: object, rows: int | None, columns: int | None) -> Tensor:
    """As :func:`tensor`, for a single matrix: no batch axes."""
    tensor(name, value, rows, columns)
    if value.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix, of shape (rows, columns), got {tuple(value.shape)}"
        )
    return value


def orthogonal(name: str, value: object, size: int) -> Tensor:
    """Return ``value`` if it is an orthogonal (size, size) float64 matrix."""
    matrix(name, value, size, size)
    error = (value.T @ value - torch.eye(size, dtype=value.dtype)).abs().max().item()
    if error > COVARIANCE_RTOL:
        raise ValueError(f"{name} must be orthogonal, got a product off by {error:.3g}")
    return value


def covariance(name: str, value: object) -> Tensor:
    """Return ``value`` if it is an (n, n) float64 symmetric positive semi-definite matrix."""
    matrix = tensor(name, value, None, None)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise ValueError(f"{name} must be square, of shape (n, n), got {tuple(matrix.shape)}")
    scale = matrix.abs().max().item()
    asymmetry = (matrix - matrix.T).abs().max().item()
    if asymmetry > COVARIANCE_RTOL * scale:
        raise ValueError(
            f"{name} must be symmetric, got entries that differ by {asymmetry:.3g} "
            "across the diagonal"
        )
    lowest = torch.linalg.eigvalsh(matrix.detach())[0].item()
    if lowest < -COVARIANCE_RTOL * scale * matrix.shape[0]:
        raise ValueError(
            f"{name} must be positive semi-definite, got an eigenvalue of {lowest:.3g}"
        )
    return matrix


def eigenvalues(name: str, value: object) -> Tensor:
    """Return ``value`` if it is a descending, non-negative float64 vector of length n >= 2."""
    vector = tensor(name, value, None)
    if vector.ndim != 1 or len(vector) < 2:
        raise ValueError(f"{name} must have shape (n,) with n >= 2, got {tuple(vector.shape)}")
    if bool((vector < 0).any()):
        raise ValueError(f"{name} must be >= 0, got a minimum of {vector.min().item():.3g}")
    if bool((vector.diff() > 0).any()):
        raise ValueError(f"{name} must be in descending order, got {vector.tolist()[:8]} ...")
    return vector
