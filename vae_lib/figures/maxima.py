"""Figures of the chapter on local maxima."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from vae_lib.figures import style


def catalogue(
    names: Sequence[str], values: Sequence[float], escapes: Sequence[int], shared: Sequence[bool]
) -> Figure:
    """Stationary points by value and by the number of directions in which the ELBO rises."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 4.2))
    for common, marker, color, label in (
        (True, "o", style.LIKELIHOOD, "stationary for both objectives"),
        (False, "D", style.ELBO, "stationary for the ELBO alone"),
    ):
        chosen = [
            p for p, s in zip(zip(escapes, values, strict=True), shared, strict=True) if s == common
        ]
        ax.scatter(
            *zip(*chosen, strict=True), marker=marker, color=color, s=45, label=label, zorder=2
        )
    for name, value, count, both in zip(names, values, escapes, shared, strict=True):
        above = (0, 7) if both else (0, -14)
        narrow = name.replace(", ", ",")  # neighbours are no wider apart than their names
        ax.annotate(
            narrow, (count, value), above, textcoords="offset points", ha="center", fontsize=8.5
        )
    ax.set(xlabel="directions in which the ELBO rises", ylabel="ELBO (nats)")
    ax.margins(x=0.1, y=0.12)
    ax.legend(loc="upper right")
    return fig


def starts(steps: Tensor, deficits: Tensor, saddles: Mapping[str, float]) -> Figure:
    """What many runs still lack against the global maximum, and where saddles lie below it."""
    fig, ax = plt.subplots()
    ordered = deficits.clamp_min(1e-16).sort(dim=1).values
    count = ordered.shape[1]
    for low, high, alpha in ((0.0, 1.0, 0.25), (0.25, 0.75, 0.45)):
        lower, upper = ordered[:, int(low * (count - 1))], ordered[:, int(high * (count - 1))]
        name = "all runs" if low == 0 else "middle half"
        ax.fill_between(steps, lower, upper, color=style.ELBO, alpha=alpha, linewidth=0, label=name)
    ax.plot(steps, ordered[:, count // 2], color=style.ELBO, label="median")
    ax.plot(steps, ordered[:, -1], color=style.VERMILION, linewidth=1, label="slowest at each step")
    for (name, height), line in zip(saddles.items(), (":", "-.", (0, (1, 4))), strict=False):
        ax.axhline(height, color="black", linestyle=line, linewidth=1, label=name)
    ax.set(yscale="log", xlabel="step", ylabel="global maximum less ELBO (nats)")
    ax.legend(fontsize=9.5, ncols=2)
    return fig


def saddle(angles: Tensor, scales: Tensor, elbo: Tensor, likelihood: Tensor) -> Figure:
    """ELBO and likelihood around a mixed saddle, over the columns' angle and a common length."""
    fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 3.4), sharey=True)
    levels = torch.linspace(float(elbo.min()), float(likelihood.max()), 26)
    for ax, grid, title in zip(axes, (elbo, likelihood), ("best ELBO", "likelihood"), strict=True):
        filled = ax.contourf(angles, scales, grid.T, levels=levels, cmap="viridis", extend="both")
        ax.plot(45, 1, "w+", markersize=11, markeredgewidth=2)
        ax.set(title=title, xlabel="angle (degrees)", xticks=range(0, 91, 45))
        ax.grid(False)
    fig.colorbar(filled, ax=axes, label="nats", format="%.2f")
    axes[0].set_ylabel("length over the saddle's")
    return fig


def saddle_escape(times: Tensor, distances: Tensor, predicted: Tensor) -> Figure:
    """Distance from the saddle under gradient ascent, and exponential growth at its curvature."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.2))
    ax.plot(times, distances, color=style.ELBO, label="gradient ascent")
    ax.plot(
        times,
        predicted,
        color="black",
        linestyle="--",
        linewidth=1.2,
        label="growth at the Hessian's positive eigenvalue",
    )
    ax.set(yscale="log", xlabel="time (step size × steps)", ylabel="distance from the saddle")
    ax.set_ylim(float(distances.min()) / 2, float(distances.max()) * 4)
    ax.legend()
    return fig
