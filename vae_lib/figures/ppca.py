"""Figures of the chapter on pPCA."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vae_lib.figures import style


def survivors(
    eigenvalues: Tensor,
    sigma_sqs: Tensor,
    counts: Tensor,
    lengths: Tensor,
    rises: Sequence[Tensor],
    regimes: Sequence[float],
) -> Figure:
    """Left: likelihood as a collapsed column grows, for three noise levels. Right: how many
    principal components exceed the noise."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(style.WIDTH, 3.3))
    for sigma_sq, rise, color in zip(regimes, rises, style.REGIMES, strict=True):
        left.plot(lengths, rise, color=color, label=f"σ² = {sigma_sq:.2g}")
    left.axhline(0, color=style.GREY, linewidth=0.8)
    left.set(xlabel="length of the column", ylabel="likelihood gained (nats)")
    left.legend()
    right.step(sigma_sqs, counts, color=style.GREY, where="post")
    for sigma_sq, color in zip(regimes, style.REGIMES, strict=True):
        right.plot(sigma_sq, int((eigenvalues > sigma_sq).sum()), "o", color=color, markersize=8)
    right.set(
        xscale="log", yscale="symlog", xlabel="noise variance σ²", ylabel="components above σ²"
    )
    right.set_ylim(-0.2, None)
    return fig


def likelihood_against_k(
    ks: Sequence[int], free: Tensor, fixed: Tensor, *, fixed_k: int, active: int
) -> Figure:
    """Maximum likelihood against k with the noise free, and fixed at the MLE of ``fixed_k``."""
    fig, ax = plt.subplots()
    ax.plot(ks, free, color=style.LIKELIHOOD, label="σ² at its maximum for each k")
    ax.plot(
        ks, fixed, color=style.BLUE, linestyle="--", label=f"σ² fixed at the MLE of k = {fixed_k}"
    )
    ax.axvline(active, color=style.GREY, linewidth=0.9, linestyle=":")
    ax.annotate(
        f"eigenvalues above the fixed σ²: {active}",
        (active, float(free[0])),
        xytext=(-6, 4),
        textcoords="offset points",
        ha="right",
        color=style.GREY,
    )
    ax.set(xlabel="latent dimension k", ylabel="log-likelihood (nats per image)")
    ax.legend(loc="lower right")
    return fig


def scree(eigenvalues: Tensor, sigma_sq: float, k: int) -> Figure:
    """Eigenvalues in order and the noise level that cuts them."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.0))
    index = range(1, len(eigenvalues) + 1)
    ax.plot(index, eigenvalues, color=style.GREY)
    kept = int((eigenvalues > sigma_sq).sum())
    ax.fill_between(index[:kept], sigma_sq, eigenvalues[:kept], color=style.SKY, alpha=0.5)
    ax.axhline(sigma_sq, color=style.BLUE, linestyle="--", label=f"σ² of k = {k}")
    ax.set(xscale="log", yscale="log", xlabel="component j", ylabel="eigenvalue λⱼ")
    ax.set_ylim(float(eigenvalues[eigenvalues > 1e-6].min()) / 2, None)
    ax.legend()
    return fig


def lattice(
    sets: Sequence[tuple[int, ...]], values: Sequence[float], kinds: Sequence[str]
) -> Figure:
    """Stationary points by size of their active set, joined where one component is added."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.9))
    places = {}
    for size in sorted({len(s) for s in sets}):
        row = [s for s in sets if len(s) == size]
        for rank, s in enumerate(row):
            places[s] = (size + 0.22 * (rank - (len(row) - 1) / 2), values[sets.index(s)])
    for s, (x, y) in places.items():
        for bigger, (x2, y2) in places.items():
            if len(bigger) == len(s) + 1 and set(s) < set(bigger):
                ax.plot([x, x2], [y, y2], color="#c8c8c8", linewidth=1, zorder=1)
    markers = {"maximum": "o", "saddle": "D", "minimum": "s", "degenerate": "x"}
    for name in dict.fromkeys(kinds):
        chosen = [places[s] for s, kind in zip(sets, kinds, strict=True) if kind == name]
        ax.scatter(
            *zip(*chosen, strict=True),
            s=60,
            color=style.KINDS[name],
            marker=markers[name],
            label=name,
            zorder=2,
        )
    for s, (x, y) in places.items():
        text = "W = 0" if not s else "{" + ", ".join(str(j + 1) for j in s) + "}"
        ax.annotate(text, (x, y), xytext=(7, -3), textcoords="offset points", fontsize=9)
    sizes = sorted({len(s) for s in sets})
    ax.set(xticks=sizes, xlim=(sizes[0] - 0.35, sizes[-1] + 0.6))
    ax.set(
        xlabel="active components q (the other k − q columns are zero)",
        ylabel="log-likelihood (nats)",
    )
    ax.legend(loc="lower right")
    return fig
