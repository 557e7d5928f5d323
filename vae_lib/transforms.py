"""Images of bytes to real vectors and back: uniform dequantisation, then the logit.

A byte x becomes the pixel value x + u in [0, 256), u ~ U[0, 1), and the model sees

    y = logit(s),   s = alpha + (1 - 2 alpha) (x + u) / 256

(Dinh, Sohl-Dickstein and Bengio, 2017; Papamakarios, Pavlakou and Murray, 2017). A density of y
becomes one of the pixel values by adding log|dy / d(x + u)|, whose mean over the data is J.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vae_lib import checks

LEVELS = 256.0
_BLOCK_ROWS = 4096
_BLOCK_NUMBERS = 2**22


def uniform_noise(
    shape: tuple[int, ...],
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Noise of U(0, 1), of any ``shape``, on the generator's device.

    It is never 0. In float32 the largest values round to 1.
    """
    # On a CPU torch.rand gives multiples of 2^-24 in [0, 1); half a step keeps it off zero.
    return _rand(shape, generator).to(dtype).add_(2.0**-25)


def dequantise(images: Tensor, noise: Tensor) -> Tensor:
    """Pixel values x + u in (0, 256).

    Args:
        images: (..., n), uint8.
        noise: of a shape that broadcasts to that of ``images``, in (0, 1]; its dtype is the
            result's.

    Raises:
        ValueError: ``images`` is not of dtype uint8.
    """
    bytes_only("images", images)
    # In float32, 255 + u can round to 256, which is outside.
    below = torch.tensor(LEVELS, dtype=noise.dtype).nextafter(torch.zeros((), dtype=noise.dtype))
    return (images + noise).clamp_(max=below.item())


def logit(pixels: Tensor, *, alpha: float) -> Tensor:
    """The model's data y (..., n), of pixel values (..., n) in (0, 256).

    Raises:
        ValueError: ``alpha`` is outside [0, 1/2).
    """
    s, rest = _shares(pixels, check_alpha(alpha))
    return s.div_(rest).log_()


def inverse_logit(values: Tensor, *, alpha: float) -> Tensor:
    """Pixel values (..., n) of the model's data y (..., n); the inverse of :func:`logit`.

    Values outside logit(alpha) to logit(1 - alpha), which a model can produce, give pixel values
    outside [0, 256].

    Raises:
        ValueError: ``alpha`` is outside [0, 1/2).
    """
    alpha = check_alpha(alpha)
    return (torch.sigmoid(values) - alpha) * (LEVELS / (1 - 2 * alpha))


def log_abs_det(pixels: Tensor, *, alpha: float) -> Tensor:
    """log|det dy / d(x + u)| of each row of ``pixels`` (..., n), shape (...), in nats.

    sum_i [log(1 - 2 alpha) - log s_i - log(1 - s_i)] - n log 256.

    Raises:
        ValueError: ``alpha`` is outside [0, 1/2).
    """
    alpha = check_alpha(alpha)
    s, rest = _shares(pixels, alpha)
    constant = math.log1p(-2 * alpha) - math.log(LEVELS)
    return s.log_().neg_().add_(constant).sub_(rest.log_()).sum(-1)


def mean_log_abs_det(
    images: Tensor, *, alpha: float, generator: torch.Generator
) -> tuple[float, float]:
    """J, the mean of :func:`log_abs_det` over ``images`` (N, n), and its standard error.

    One draw of the noise an image, in float64. The standard error is over the images.

    Raises:
        ValueError: ``images`` is not of dtype uint8, or ``alpha`` is outside [0, 1/2).
    """
    bytes_only("images", images)
    values = torch.empty(len(images), dtype=torch.float64, device=generator.device)
    for part, pixels in _dequantised(images, generator, torch.float64):
        values[part] = log_abs_det(pixels, alpha=alpha)
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def preprocess(
    images: Tensor,
    *,
    alpha: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """The model's data y (N, n) of ``images`` (N, n), with one draw of the noise.

    Raises:
        ValueError: ``images`` is not of dtype uint8, or ``alpha`` is outside [0, 1/2).
    """
    bytes_only("images", images)
    data = torch.empty(images.shape, dtype=dtype, device=generator.device)
    for part, pixels in _dequantised(images, generator, dtype):
        data[part] = logit(pixels, alpha=alpha)
    return data


def block_rows(dim: int, *, at_most: int) -> int:
    """How many rows of ``dim`` numbers to take at a time, so that a block stays small."""
    return max(1, min(at_most, _BLOCK_NUMBERS // dim))


def bytes_only(name: str, images: object) -> Tensor:
    """Return ``images`` if it is a tensor of bytes.

    Raises:
        ValueError: it is not; images in [0, 1] would pass for almost black ones.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        found = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"{name} must be a tensor of dtype uint8 (0 to 255), got {found}")
    return images


def check_alpha(alpha: float) -> float:
    """Return ``alpha`` if it is in [0, 1/2)."""
    checks.number("alpha", alpha, low=0.0)
    if alpha >= 0.5:
        raise ValueError(f"alpha must be in [0, 0.5), got {alpha!r}")
    return float(alpha)


def _dequantised(
    images: Tensor, generator: torch.Generator, dtype: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the images and their pixel values, block by block.

    What is made of a block belongs in one array for all. Small results that are kept one by one
    come to lie between the blocks' large buffers, and the heap, which can then use none of these
    again, grew to 17 GB for the 202,599 images of CelebA.
    """
    start = 0
    for block in images.split(block_rows(images.shape[-1], at_most=_BLOCK_ROWS)):
        part = slice(start, start := start + len(block))
        yield part, dequantise(block, uniform_noise(block.shape, generator=generator, dtype=dtype))


def _shares(pixels: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    # 1 - s from 256 - pixels, which is exact, and not from s: near white, 1 - s is about alpha,
    # of which float32's 1 - s would keep no more than one digit.
    scale = (1 - 2 * alpha) / LEVELS
    return (pixels * scale).add_(alpha), (LEVELS - pixels).mul_(scale).add_(alpha)


def _rand(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The numbers of torch.rand in float32, sooner on a CPU, where its generator is serial.

    torch.rand makes a number of the lower 24 bits of one draw of 32. A draw of 64 bits is two of
    those, the earlier one in the upper half, and takes as long as one.
    """
    count, device = math.prod(shape), generator.device
    if device.type != "cpu" or count % 2:
        return torch.rand(shape, generator=generator, device=device, dtype=torch.float32)
    pairs = torch.empty(count // 2, dtype=torch.int64)
    pairs.random_(-(2**63), None, generator=generator)
    bits = torch.stack([pairs >> 32, pairs], dim=-1).bitwise_and_(2**24 - 1)
    return bits.view(shape).to(torch.float32).mul_(2.0**-24)
