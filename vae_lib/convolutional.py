"""Ensembles of convolutional networks, of the kind that beta-VAE has for 64 x 64 images.

4 x 4 kernels, stride 2, padding 1: each layer halves a side, or doubles it on the way back
(Higgins et al. 2017). As in :mod:`vae_lib.vae`, every tensor that enters or leaves has a leading
axis of E members, every parameter too, and no operation mixes members.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL, STRIDE, PADDING = 4, 2, 1

Shape = tuple[int, int, int]  # channels, height, width


class EnsembleConv(nn.Module):
    """E convolutions, or transposed ones, as one with E groups.

    It takes (B, E * in, H, W) to (B, E * out, H / 2, W / 2), or to twice the sides. ``weight`` is
    (E, out, in, 4, 4), or (E, in, out, 4, 4) if transposed; ``bias`` is (E, out).
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        generators: Sequence[torch.Generator],
        *,
        transposed: bool = False,
    ):
        """Draw U(-b, b), b = 1 / sqrt(fan in), PyTorch's own default; one generator a member."""
        super().__init__()
        self.transposed = transposed
        channels = (num_inputs, num_outputs) if transposed else (num_outputs, num_inputs)
        bound = 1 / math.sqrt(channels[1] * KERNEL**2)
        weights, biases = [], []
        for generator in generators:
            weights.append(torch.empty(*channels, KERNEL, KERNEL))
            biases.append(torch.empty(num_outputs))
            weights[-1].uniform_(-bound, bound, generator=generator)
            biases[-1].uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(torch.stack(weights))
        self.bias = nn.Parameter(torch.stack(biases))

    def forward(self, maps: Tensor) -> Tensor:
        """``maps`` (B, E * in, H, W)."""
        convolve = functional.conv_transpose2d if self.transposed else functional.conv2d
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return convolve(maps, weight, bias, stride=STRIDE, padding=PADDING, groups=len(self.weight))


class _Convolutions(nn.Module):
    """Layers of convolutions with ReLUs between them, on flat images of E members."""

    def __init__(
        self,
        shape: Shape,
        channels: Sequence[int],
        generators: Sequence[torch.Generator],
        *,
        transposed: bool,
    ):
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise(channels):
            layer = EnsembleConv(num_inputs, num_outputs, generators, transposed=transposed)
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, inputs: Tensor) -> Tensor:
        """(E, B, features) to (E, B, features)."""
        members, batch, _ = inputs.shape
        _, height, width = self.shape
        maps = inputs.unflatten(2, self.shape).transpose(0, 1).reshape(batch, -1, height, width)
        # A third faster on a CPU than with the channels before the pixels.
        maps = self.layers(maps.contiguous(memory_format=torch.channels_last))
        return maps.reshape(batch, members, -1).transpose(0, 1)


def encoded_shape(shape: Shape, channels: Sequence[int]) -> Shape:
    """What is left of an image of ``shape`` after a layer for each of ``channels``.

    Raises:
        ValueError: a side is not divisible by 2 as often as there are layers.
    """
    factor = STRIDE ** len(channels)
    if shape[1] % factor or shape[2] % factor:
        raise ValueError(
            f"image_size must be a multiple of {factor} for {len(channels)} channels, "
            f"got {shape[1]} x {shape[2]}"
        )
    return ((shape[0], *channels)[-1], shape[1] // factor, shape[2] // factor)


def conv_encoder(
    shape: Shape, channels: Sequence[int], generators: Sequence[torch.Generator]
) -> nn.Module:
    """Flat images (E, B, n) to features (E, B, prod(encoded_shape)); ReLUs after every layer."""
    encoded_shape(shape, channels)
    stack = _Convolutions(shape, (shape[0], *channels), generators, transposed=False)
    return nn.Sequential(stack, nn.ReLU())


def conv_decoder(
    shape: Shape, channels: Sequence[int], generators: Sequence[torch.Generator]
) -> nn.Module:
    """The mirror of :func:`conv_encoder`: ReLU, then features (E, B, ...) to images (E, B, n)."""
    inner = encoded_shape(shape, channels)
    mirrored = (*reversed(channels), shape[0])
    return nn.Sequential(nn.ReLU(), _Convolutions(inner, mirrored, generators, transposed=True))
