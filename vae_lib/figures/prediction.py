"""Figures of the chapter that predicts the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from vae_lib.agreement import COLUMNS, TableOf
from vae_lib.figures import style
from vae_lib.rows import parse_row

POINT = 6.5


def noise_levels(eigenvalues: Tensor, sigma_sqs: Sequence[float], k: int, floor: float) -> Figure:
    """The spectrum, the table's noise variances across it, and the dequantisation's own noise."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.6))
    index = range(1, len(eigenvalues) + 1)
    ax.plot(index, eigenvalues, color="black")
    for sigma_sq in sigma_sqs:
        color = style.SIGMA_SQ_COLORS[sigma_sq]
        kept = min(k, int((eigenvalues > sigma_sq).sum()))
        ax.axhline(sigma_sq, color=color, linewidth=1.2)
        ax.plot([kept], [sigma_sq], "o", color=color, markersize=POINT)
        ax.annotate(
            f"σ² = {sigma_sq:g}: {kept} live",
            (1, sigma_sq),
            xytext=(2, 3),
            textcoords="offset points",
            fontsize=9,
            color="black",
        )
    ax.axhline(floor, color=style.GREY, linestyle=":", linewidth=1.2)
    ax.axvline(k, color=style.GREY, linestyle="--", linewidth=1.2)
    for text, place, shift, side in (
        (f"k = {k}", (k, float(eigenvalues[0])), (4, 0), "left"),
        ("dequantisation noise", (len(eigenvalues), floor), (0, -12), "right"),
    ):
        ax.annotate(
            text, place, xytext=shift, textcoords="offset points", ha=side, color=style.GREY
        )
    ax.set(xscale="log", yscale="log", xlabel="component j", ylabel="eigenvalue λⱼ")
    ax.set_ylim(min(sigma_sqs) / 2, None)
    return fig


def against_theory(
    theory: TableOf, sources: Mapping[str, TableOf], *, columns: Sequence[str]
) -> Figure:
    """Four columns of other tables against the theory's; on the diagonal the two are equal.

    Markers are filled for the first source and hollow for the second.
    """
    fig, axes = plt.subplots(2, 2, figsize=(style.WIDTH, 6.6))
    fig.get_layout_engine().set(h_pad=0.1)
    for ax, column in zip(axes.flat, columns, strict=True):
        sign = -1 if column == "elbo" else 1
        pairs = []
        for filled, table in zip((True, False), sources.values(), strict=False):
            for name, cells in table.items():
                x, entry = sign * theory[name][column].value, cells[column]
                y = sign * entry.value
                ends = sorted((sign * entry.low, sign * entry.high))
                _point(ax, name, x, y, filled=filled, ends=ends)
                pairs += [x, y]
        heading = "−ELBO (nats)" if sign < 0 else COLUMNS[column][0]
        ax.set(title=heading, xlabel="linear theory", ylabel="deep VAE")
        ends = [min(pairs), max(pairs)]
        if column != "collapse_percent":
            ax.set(xscale="log", yscale="log")
        ax.plot(ends, ends, color=style.GREY, linewidth=1, zorder=0)
        if column == "tuned_sigma_sq":
            _plain_numbers(ax)
    _legend(fig, list(sources))
    return fig


def gains(theory: TableOf, sources: Mapping[str, TableOf]) -> Figure:
    """ELBO above the linear optimum, row by row; below zero the deep VAE does worse."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.9))
    names = list(theory)
    shifts = (0.0,) if len(sources) == 1 else (-0.16, 0.16)
    for filled, shift, table in zip((True, False), shifts, sources.values(), strict=False):
        for name, cells in table.items():
            y, best, entry = names.index(name) + shift, theory[name]["elbo"].value, cells["elbo"]
            gain = entry.value - best
            ax.plot([0, gain], [y, y], color="#c8c8c8", linewidth=1, zorder=1)
            ends = [entry.low - best, entry.high - best]
            ax.plot(ends, [y, y], color=_color(name), linewidth=1.2)
            _point(ax, name, gain, y, filled=filled)
    ax.axvline(0, color="black", linewidth=1)
    ax.set_xscale("symlog", linthresh=10)
    ticks = [-(10**power) for power in range(5, 0, -1)] + [0, 10, 100]
    labels = ["−10⁵", "−10⁴", "−1000", "−100", "−10", "0", "10", "100"]
    ax.set_xticks(ticks, labels)
    ax.set_xticks([], minor=True)
    ends = [
        getattr(cells["elbo"], end) - theory[name]["elbo"].value
        for table in sources.values()
        for name, cells in table.items()
        for end in ("low", "high")
    ]
    ax.set_xlim(2 * min(*ends, -10.0), 2 * max(*ends, 10.0))
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="ELBO less that of the best linear VAE (nats)")
    if len(sources) > 1:
        _legend(fig, list(sources), rows=False)
    return fig


def rate_and_error(
    rates: Tensor,
    errors: Tensor,
    sources: Mapping[str, TableOf],
    *,
    level: Callable[[float, float], float],
    implied: Mapping[str, float],
) -> Figure:
    """Error against KL: the best linear VAEs as a curve, the deep ones as points.

    Args:
        rates, errors: KL and mean squared error along the curve.
        sources: tables; the first has filled markers, the second hollow ones.
        level: error at which a KL gives a tuned ELBO, ``level(kl, tuned_elbo)``.
        implied: row of the first table -> the error that its ELBO implies, where it differs.
    """
    fig, ax = plt.subplots(figsize=(style.WIDTH, 4.6))
    first = next(iter(sources.values()))
    right = 1.08 * max(entry["kl"].value for table in sources.values() for entry in table.values())
    for elbo in range(-2000, -900, 100):
        ends = [0.0, right]
        ax.plot(ends, [level(kl, elbo) for kl in ends], color="#e0e0e0", linewidth=0.8, zorder=0)
    ax.plot(rates, errors, color="black")
    for filled, table in zip((True, False), sources.values(), strict=False):
        for name, cells in table.items():
            _point(ax, name, cells["kl"].value, cells["tuned_sigma_sq"].value, filled=filled)
    for name, error in implied.items():
        kl, printed = first[name]["kl"].value, first[name]["tuned_sigma_sq"].value
        ax.plot([kl, kl], [printed, error], color=style.GREY, linewidth=1, linestyle=":")
        ax.plot([kl], [error], "x", color=_color(name), markersize=8, markeredgewidth=2)
    highest = max(
        [cells["tuned_sigma_sq"].value for table in sources.values() for cells in table.values()]
        + [float(value) for value in implied.values()]
    )
    ax.set(yscale="log", ylim=(0.7 * float(errors[-1]), 1.15 * highest), xlim=(0, right))
    ax.set(xlabel="KL (nats)", ylabel="squared error per pixel (tuned σ²)")
    _plain_numbers(ax)
    lines = [Line2D([], [], color="black", label="best linear VAE")]
    _legend(fig, list(sources), extra=lines)
    return fig


def scree(eigenvalues: Tensor, k: int, sigma_sq: float) -> Figure:
    """Eigenvalues as dots: those that survive, and those that die of noise or for want of a latent.

    What a page shows of the interactive figure where no script runs.
    """
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.6))
    index = range(1, len(eigenvalues) + 1)
    above = int((eigenvalues > sigma_sq).sum())
    kept = min(k, above)
    for part, color, label in (
        (slice(0, kept), style.BLUE, "survives"),
        (slice(kept, above), style.ORANGE, "no latent left"),
        (slice(above, None), style.GREY, "below the noise"),
    ):
        ax.plot(index[part], eigenvalues[part], "o", color=color, markersize=3, label=label)
    ax.axhline(sigma_sq, color="black", linestyle="--", linewidth=1.2)
    ax.set(xscale="log", yscale="log", xlabel="component j", ylabel="eigenvalue λⱼ")
    ax.legend(loc="upper right")
    return fig


def _color(name: str) -> str:
    return style.SIGMA_SQ_COLORS[parse_row(name)[0]]


def _marker(name: str) -> str:
    return style.MARKERS["learned" if parse_row(name)[1] else "fixed"]


def _point(
    ax: Axes, name: str, x: float, y: float, *, filled: bool, ends: Sequence[float] = ()
) -> None:
    color = _color(name)
    if ends:
        ax.plot([x, x], ends, color=color, linewidth=1.2)
    ax.plot(
        [x],
        [y],
        _marker(name),
        color=color,
        markerfacecolor=color if filled else "white",
        markeredgewidth=1.4,
        markersize=POINT,
        zorder=3,
    )


def _plain_numbers(ax: Axes) -> None:
    """Few ticks, as plain numbers, on logarithmic axes of about a decade."""
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() != "log":
            continue
        low, high = axis.get_view_interval()
        ticks = [t for t in (0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 20) if low <= t <= high]
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)


def _legend(
    fig: Figure, sources: Sequence[str], *, rows: bool = True, extra: Sequence[Line2D] = ()
) -> None:
    """Below the figure: colours in the first line, shapes, sources and lines in the second."""

    def marker(shape: str, label: str, color: str = style.GREY, face: str | None = None) -> Line2D:
        return Line2D([], [], marker=shape, linestyle="", color=color, mfc=face, label=label)

    colors = [marker("s", f"σ² {value:g}", color) for value, color in style.SIGMA_SQ_COLORS.items()]
    shapes = [marker(shape, f"σ² {kind}") for kind, shape in style.MARKERS.items()]
    fills = [
        marker("o", source, face=face)
        for source, face in zip(sources, (style.GREY, "white"), strict=False)
    ]
    if not rows:
        fig.legend(handles=fills, loc="outside lower center", ncols=len(fills), fontsize=9)
        return
    lines = [colors, [*shapes, *fills, *extra]]
    width = max(map(len, lines))
    # A legend is filled column by column.
    padded = [line + [marker("", "")] * (width - len(line)) for line in lines]
    handles = [handle for column in zip(*padded, strict=True) for handle in column]
    fig.legend(handles=handles, loc="outside lower center", ncols=width, fontsize=9.5)
