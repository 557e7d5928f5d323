"""Figures of the chapter on the linear VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vae_lib.figures import style
from vae_lib.linear_training import History


def rotation(
    angles: Tensor,
    likelihood: Tensor,
    elbo: Tensor,
    checked: Tensor,
    estimates: Tensor,
    errors: Tensor,
) -> Figure:
    """Likelihood and best ELBO as the columns are rotated, with Monte Carlo estimates."""
    fig, ax = plt.subplots()
    ax.plot(angles, likelihood, color=style.LIKELIHOOD, label="log-likelihood (closed form)")
    ax.plot(angles, elbo, color=style.ELBO, label="ELBO at its best encoder (closed form)")
    ax.errorbar(
        checked,
        estimates,
        yerr=2 * errors,
        fmt="o",
        color="black",
        markersize=4,
        capsize=3,
        linewidth=1.2,
        label="ELBO, Monte Carlo ± 2 standard errors",
    )
    ax.fill_between(angles, elbo, likelihood, color=style.SKY, alpha=0.25)
    ax.set(
        xlabel="rotation of two columns (degrees)",
        ylabel="nats per observation",
        xticks=range(0, 181, 45),
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.32))
    return fig


def deficits(curves: Mapping[str, tuple[Tensor, Tensor]], *, ylabel: str) -> Figure:
    """What each run still lacks against the optimum, on a logarithmic axis."""
    fig, ax = plt.subplots()
    colors = (style.ELBO, style.LIKELIHOOD, style.GREEN, style.PURPLE)
    for (name, (steps, deficit)), color in zip(curves.items(), colors, strict=False):
        ax.plot(steps, deficit, label=name, color=color, linewidth=1.4)
    ax.set(yscale="log", xlabel="step", ylabel=ylabel)
    ax.legend()
    return fig


def gram_matrices(matrices: Mapping[str, Tensor]) -> Figure:
    """Cosines between the columns of W, one panel for each way of training."""
    fig, axes = plt.subplots(1, len(matrices), figsize=(style.WIDTH, 3.1))
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
        image = ax.imshow(matrix, cmap=style.DIVERGING, vmin=-1, vmax=1)
        ax.set(title=name, xticks=range(len(matrix)), yticks=range(len(matrix)))
        ax.set_xticklabels(range(1, len(matrix) + 1))
        ax.set_yticklabels(range(1, len(matrix) + 1))
        ax.grid(False)
    fig.colorbar(image, ax=axes, label="cosine between columns", shrink=0.8)
    return fig


def digit_rows(rows: Mapping[str, Tensor], *, side: int = 28) -> Figure:
    """Columns of W (n, k) as images, one row for each matrix, each column on its own scale."""
    count = next(iter(rows.values())).shape[1]
    fig, axes = plt.subplots(
        len(rows), count, figsize=(style.WIDTH, 1.25 * len(rows) + 0.2), squeeze=False
    )
    for line, (name, weights) in zip(axes, rows.items(), strict=True):
        for ax, column in zip(line, weights.T, strict=True):
            limit = float(column.abs().max())
            ax.imshow(column.reshape(side, side), cmap=style.DIVERGING, vmin=-limit, vmax=limit)
        # Wider than its axes: the title must not push the columns apart.
        line[0].set_title(name, loc="left", fontsize=9.5).set_in_layout(False)
    style.bare(axes.flat)
    return fig


def demo(history: History, bounds: Sequence[tuple[str, float, str]], *, last: int) -> Figure:
    """ELBO over the demo's training, whole and near the end, against two candidate bounds."""
    fig, (whole, near) = plt.subplots(1, 2, figsize=(style.WIDTH, 3.2))
    for ax in (whole, near):
        ax.plot(history.steps, history.values, color=style.ELBO, label="ELBO")
        ax.set(xlabel="step")
        for (name, value, line), color in zip(bounds, (style.LIKELIHOOD, style.GREY), strict=True):
            ax.axhline(value, color=color, linestyle=line, linewidth=1.3, label=name)
    whole.set(ylabel="nats per image")
    start = float(history.steps[-1]) - last
    near.set_xlim(start, float(history.steps[-1]))
    values = [value for _, value, _ in bounds]
    near.set_ylim(min(values) - 1.0, max(values) + 0.3)
    near.set_title("the last steps, magnified")
    whole.legend(loc="lower right")
    return fig
