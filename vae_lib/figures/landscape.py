"""Static figures of the chapter on the loss landscape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from vae_lib.figures import style


def three_regimes(along: Tensor, grids: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """The poster's figure: contours above, surfaces below, one column for each noise level."""
    fig = plt.figure(figsize=(style.WIDTH, 4.9))
    for place, (grid, title) in enumerate(zip(grids, titles, strict=True)):
        ax = fig.add_subplot(2, 3, place + 1)
        _contours(ax, along, grid)
        ax.set(title=title, xlabel="a (along uᵢ)")
        if place == 0:
            ax.set_ylabel("b (along uⱼ)")
        _surface(fig.add_subplot(2, 3, place + 4, projection="3d"), along, grid)
    return fig


def one_regime(along: Tensor, grid: Tensor) -> Figure:
    """One column of that figure, side by side and with its scale.

    What a page shows of the interactive figure where no script runs.
    """
    fig = plt.figure(figsize=(style.WIDTH, 2.9))
    ax = fig.add_subplot(1, 2, 1)
    filled = _contours(ax, along, grid)
    ax.set(xlabel="a (along uᵢ)", ylabel="b (along uⱼ)")
    fig.colorbar(filled, ax=ax, label="likelihood gained (nats)", shrink=0.9)
    _surface(fig.add_subplot(1, 2, 2, projection="3d"), along, grid)
    return fig


def _contours(ax: Axes, along: Tensor, grid: Tensor) -> QuadContourSet:
    ends, limit = float(along[-1]), float(grid.abs().max())
    filled = ax.contourf(
        along, along, grid.T, levels=21, cmap=style.DIVERGING, vmin=-limit, vmax=limit
    )
    ax.contour(along, along, grid.T, levels=[0.0], colors="black", linewidths=0.8)
    ax.plot(0, 0, "k+", markersize=8)
    ax.set(xticks=[-ends, 0, ends], yticks=[-ends, 0, ends])
    ax.set_xticklabels([f"{-ends:.1f}", "0", f"{ends:.1f}"])
    ax.set_yticklabels([f"{-ends:.1f}", "0", f"{ends:.1f}"])
    ax.set_aspect("equal")
    return filled


def _surface(ax: Axes3D, along: Tensor, grid: Tensor) -> None:
    limit = float(grid.abs().max())
    a, b = along[:, None].expand_as(grid), along[None, :].expand_as(grid)
    ax.plot_surface(
        a.numpy(),
        b.numpy(),
        grid.numpy(),
        cmap=style.DIVERGING,
        vmin=-limit,
        vmax=limit,
        rstride=2,
        cstride=2,
        linewidth=0,
        antialiased=True,
        rasterized=True,
    )
    ax.set(xticks=[], yticks=[])
    ax.tick_params(labelsize=8, pad=-2)
    ax.view_init(elev=28, azim=-55)


def curvatures(
    eigenvalues: Tensor,
    by_sigma_sq: Mapping[float, Tensor],
    sigma_sqs: Tensor,
    conditions: Mapping[int, Tensor],
) -> Figure:
    """Left: Hessian's spectrum at the collapsed point. Right: its conditioning."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(style.WIDTH, 3.4))
    colors = (*style.REGIMES, style.GREEN)
    for (sigma_sq, values), color in zip(by_sigma_sq.items(), colors, strict=False):
        left.plot(
            range(1, len(values) + 1),
            values,
            color=color,
            label=f"σ² = {sigma_sq:.2g}",
            linewidth=1.5,
        )
    left.axhline(0, color=style.GREY, linewidth=0.8)
    left.set(xscale="log", yscale="symlog", xlabel="component j", ylabel="curvature (λⱼ − σ²)/σ⁴")
    left.legend(fontsize=9.5)
    shades = (style.BLUE, style.GREEN, style.PURPLE)
    for (count, values), color in zip(conditions.items(), shades, strict=False):
        kept = values.isfinite()
        right.plot(
            sigma_sqs[kept], values[kept], color=color, label=f"leading {count}", linewidth=1.5
        )
        right.axhline(
            float(eigenvalues[0] / eigenvalues[count - 1]), color=color, linestyle=":", linewidth=1
        )
    right.set(
        xscale="log", yscale="log", xlabel="noise variance σ²", ylabel="fastest over slowest escape"
    )
    right.set_ylim(1, 1e4)
    right.legend(fontsize=9.5)
    return fig


def slices(
    lengths: Tensor,
    rises: Sequence[Sequence[Tensor]],
    parabolas: Sequence[Sequence[Tensor]],
    titles: Sequence[str],
) -> Figure:
    """Likelihood along each of two eigenvectors, with the parabola of the curvature formula."""
    fig, axes = plt.subplots(1, len(titles), figsize=(style.WIDTH, 2.7), sharey=True)
    for ax, pair, curved, title in zip(axes, rises, parabolas, titles, strict=True):
        for rise, parabola, color, name in zip(
            pair, curved, (style.PURPLE, style.GREEN), ("uᵢ", "uⱼ"), strict=True
        ):
            ax.plot(lengths, rise, color=color, label=f"along {name}")
            ax.plot(lengths, parabola, color=color, linestyle="--", linewidth=1.1)
        ax.axhline(0, color=style.GREY, linewidth=0.8)
        ax.set(title=title, xlabel="length")
    top = max(float(rise.max()) for pair in rises for rise in pair)
    low = min(float(rise.min()) for pair in rises for rise in pair)
    axes[0].set_ylim(1.25 * low, 1.25 * top)
    axes[0].set_ylabel("likelihood gained (nats)")
    axes[0].legend(fontsize=9.5)
    return fig


class Escape(NamedTuple):
    """Escape times of one series: ``predicted`` over ``curve``, ``measured`` over ``levels``."""

    label: str
    curve: Tensor
    predicted: Tensor
    levels: Tensor
    measured: Tensor


def escape(panels: Mapping[str, Sequence[Escape]]) -> Figure:
    """One panel for each entry; its key labels the vertical axis."""
    fig, axes = plt.subplots(1, len(panels), figsize=(style.WIDTH, 3.5))
    for ax, (name, series) in zip(axes, panels.items(), strict=True):
        for line, color in zip(series, (style.BLUE, style.GREEN, style.PURPLE), strict=False):
            ax.plot(line.curve, line.predicted, color=color, label=line.label, linewidth=1.4)
            ax.plot(line.levels, line.measured, "o", color=color, markersize=4)
        ax.set(xscale="log", yscale="log", xlabel="noise variance σ²", ylabel=name)
        ax.legend(fontsize=9.5)
    return fig
