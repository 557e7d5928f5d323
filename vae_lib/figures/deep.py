"""Figures of the chapters on deep VAEs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vae_lib import collapse
from vae_lib.figures import style

# Kind of row ("fixed" or "learned") -> sigma_sq_init -> one entry a run.
Panels = Mapping[str, Mapping[float, Sequence[Tensor]]]
# Label -> (epochs, {quantity: values}), all of the same quantities.
Curves = Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[float]]]]
_LINES = {"fixed": "--", "learned": "-"}
# Of a legend; its letters are smaller, or five columns would be wider than the figure.
_BELOW = {"loc": "outside lower center", "ncols": 5, "fontsize": 9.5}


def collapse_against_epsilon(panels: Panels) -> Figure:
    """Share of collapsed latents against epsilon at delta = 0.01; entries are thresholds (k,)."""
    fig, axes = plt.subplots(1, len(panels), figsize=(style.WIDTH, 3.7), sharey=True)
    epsilons = torch.logspace(-4, 0, 200, dtype=torch.float64)
    for ax, (kind, rows) in zip(axes, panels.items(), strict=True):
        for sigma_sq, runs in rows.items():
            shares = torch.stack([collapse.fraction_below(run, epsilons) for run in runs])
            color = style.SIGMA_SQ_COLORS[sigma_sq]
            ax.plot(epsilons, 100 * shares.mean(0), color=color, label=f"{sigma_sq:g}")
            if len(runs) > 1:
                low, high = 100 * shares.amin(0), 100 * shares.amax(0)
                ax.fill_between(epsilons, low, high, color=color, alpha=0.2, linewidth=0)
        ax.axvline(0.01, color=style.GREY, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="ε (nats)", title=f"σ² {kind}")
        ax.set(xlim=(1e-4, 1), ylim=(-3, 103))
    axes[0].set_ylabel("collapsed latents (%)")
    _legend_below(fig, axes)
    return fig


def kl_of_latents(panels: Panels) -> Figure:
    """KL of each latent in descending order; entries are means over images (k,), in nats."""
    fig, axes = plt.subplots(1, len(panels), figsize=(style.WIDTH, 3.7), sharey=True)
    for ax, (kind, rows) in zip(axes, panels.items(), strict=True):
        for sigma_sq, runs in rows.items():
            for number, run in enumerate(runs):
                values = run.sort(descending=True).values.clamp(min=1e-6)
                ax.plot(
                    range(1, len(values) + 1),
                    values,
                    color=style.SIGMA_SQ_COLORS[sigma_sq],
                    label=f"{sigma_sq:g}" if number == 0 else None,
                )
        ax.axhline(0.01, color=style.GREY, linewidth=0.8, linestyle=":")
        ax.set(yscale="log", xlabel="latent, by its KL", title=f"σ² {kind}")
    axes[0].set_ylabel("KL (nats)")
    _legend_below(fig, axes)
    return fig


def _legend_below(fig: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels; the rows of all of them are named in it."""
    named = {}
    for ax in axes:
        named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    fig.legend(named.values(), named, title="σ² at the start", **_BELOW)


def noise_over_training(
    curves: Mapping[float, tuple[Sequence[float], Sequence[float]]], *, predicted: float
) -> Figure:
    """Learned noise variance over epochs; ``curves`` maps initial values to (epochs, values)."""
    fig, ax = plt.subplots()
    for start, (epochs, values) in curves.items():
        ax.plot(
            [0, *epochs],
            [start, *values],
            color=style.SIGMA_SQ_COLORS[start],
            label=f"{start:g}",
        )
    ax.axhline(predicted, color="black", linewidth=1, linestyle="--", label="linear theory")
    ax.set(yscale="log", xlabel="epoch", ylabel="learned σ²")
    fig.legend(title="σ² at the start", loc="outside right center")
    return fig


def elbo_over_training(
    panels: Mapping[str, Mapping[float, tuple[Sequence[float], Sequence[float]]]],
    *,
    zoom: tuple[float, float],
) -> Figure:
    """-ELBO over epochs, both kinds of rows on one logarithmic scale, and the best ones closer."""
    fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 3.6))
    for kind, rows in panels.items():
        for sigma_sq, (epochs, values) in rows.items():
            for ax in axes:
                ax.plot(
                    epochs,
                    -np.asarray(values),
                    _LINES[kind],
                    color=style.SIGMA_SQ_COLORS[sigma_sq],
                    linewidth=1.4,
                    label=f"{kind} {sigma_sq:g}",
                )
    axes[0].set(yscale="log", ylabel="−ELBO (nats)", xlabel="epoch")
    axes[1].set(xlabel="epoch", ylim=zoom)
    fig.legend(*axes[0].get_legend_handles_labels(), **_BELOW)
    return fig


def over_training(curves: Curves, *, sigma_sq: float) -> Figure:
    """A run of the table and its twin over epochs, one panel a quantity, "KL (nats)" among them."""
    # The table's run in its colour, its twin beside it.
    looks = (("-", style.SIGMA_SQ_COLORS[sigma_sq]), ("--", "black"))
    fig, axes = _quantities_over_training(curves, looks)
    # A KL that falls from thousands to tens, or to nothing.
    axes["KL (nats)"].set_yscale("symlog", linthresh=1)
    fig.axes[0].legend()
    return fig


def rows_over_training(curves: Curves) -> Figure:
    """Rows of the table over epochs, one panel a quantity; their labels are their names."""
    named = (name.split() for name in curves)
    looks = [(_LINES[kind], style.SIGMA_SQ_COLORS[float(start)]) for kind, start in named]
    fig, _ = _quantities_over_training(curves, looks)
    fig.legend(*fig.axes[0].get_legend_handles_labels(), **_BELOW)
    return fig


def _quantities_over_training(
    curves: Curves, looks: Sequence[tuple[str, str]]
) -> tuple[Figure, dict[str, Axes]]:
    quantities = list(next(iter(curves.values()))[1])
    fig, axes = plt.subplots(1, len(quantities), figsize=(style.WIDTH, 3.2))
    for (label, (epochs, values)), (line, color) in zip(curves.items(), looks, strict=True):
        for ax, quantity in zip(axes, quantities, strict=True):
            ax.plot(epochs, values[quantity], line, color=color, label=label)
    for ax, quantity in zip(axes, quantities, strict=True):
        ax.set(xlabel="epoch", ylabel=quantity)
    return fig, dict(zip(quantities, axes, strict=True))


def image_grid(rows: Mapping[str, Tensor], *, shape: tuple[int, ...], top: float) -> Figure:
    """Rows of images in pixel values 0 to ``top``, (m, n) each, with labels.

    ``shape`` is (height, width), where 0 is white and ``top`` black, or (3, height, width).
    """
    count = max(len(images) for images in rows.values())
    size = (style.WIDTH, 0.8 * style.WIDTH * len(rows) / count + 0.1)
    fig, axes = plt.subplots(len(rows), count, figsize=size, squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=False):
            picture = image.reshape(shape)
            if len(shape) == 3:
                picture = (picture.permute(1, 2, 0) / top).clamp(0, 1)
            ax.imshow(picture, vmin=0, vmax=top)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
        style.bare(line)
    return fig
