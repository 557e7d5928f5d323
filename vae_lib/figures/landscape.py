"""Static figures of the chapter on the loss landscape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vae_lib.figures import style


def three_regimes(along: Tensor, grids: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """The poster's figure: contours above, surfaces below, one column for each noise level."""
    fig = plt.figure(figsize=(style.WIDTH, 4.9))
    ends = float(along[-1])
    for place, (grid, title) in enumerate(zip(grids, titles, strict=True)):
        limit = float(grid.abs().max())
        ax = fig.add_subplot(2, 3, place + 1)
        ax.contourf(along, along, grid.T, levels=21, cmap=style.DIVERGING, vmin=-limit, vmax=limit)
        ax.contour(along, along, grid.T, levels=[0.0], colors="black", linewidths=0.8)
        ax.plot(0, 0, "k+", markersize=8)
        ax.set(title=title, xlabel="a (along uᵢ)", xticks=[-ends, 0, ends], yticks=[-ends, 0, ends])
        ax.set_xticklabels([f"{-ends:.1f}", "0", f"{ends:.1f}"])
        ax.set_yticklabels([f"{-ends:.1f}", "0", f"{ends:.1f}"])
        ax.set_aspect("equal")
        if place == 0:
            ax.set_ylabel("b (along uⱼ)")
        surface = fig.add_subplot(2, 3, place + 4, projection="3d")
        a, b = along[:, None].expand_as(grid), along[None, :].expand_as(grid)
        surface.plot_surface(
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
        surface.set(xticks=[], yticks=[])
        surface.tick_params(labelsize=7, pad=-2)
        surface.view_init(elev=28, azim=-55)
    return fig


def curvatures(
    eigenvalues: Tensor,
    by_sigma_sq: Mapping[float, Tensor],
    sigma_sqs: Tensor,
    conditions: Mapping[int, Tensor],
) -> Figure:
    """Left: Hessian's spectrum at the collapsed point. Right: its conditioning."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(style.WIDTH, 3.4))
    colors = (*style.REGIMES, style.PURPLE)
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
    left.legend(fontsize=8.5)
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
    right.legend(fontsize=8.5)
    return fig


def escape(
    sigma_sqs: Tensor,
    measured: Mapping[int, Tensor],
    predicted: Mapping[int, Tensor],
    labels: Sequence[str],
) -> Figure:
    """Steps to escape a collapsed column, measured (dots) and predicted (lines), against noise."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.8))
    for (component, steps), label, color in zip(
        measured.items(), labels, (style.BLUE, style.GREEN, style.PURPLE), strict=False
    ):
        kept = predicted[component].isfinite()
        ax.plot(sigma_sqs[kept], predicted[component][kept], color=color, label=label)
        seen = steps.isfinite()
        ax.plot(sigma_sqs[seen], steps[seen], "o", color=color, markersize=4.5)
    ax.set(xscale="log", yscale="log", xlabel="noise variance σ²", ylabel="steps to escape")
    ax.legend()
    return fig
