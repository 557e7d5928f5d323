"""How a prediction depends on the number of images, and what more of them would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vae_lib.figures import style


class Enclosure(NamedTuple):
    """ELBO against the number of images.

    Attributes:
        counts: how many images the linear VAE was fitted to.
        fitted: its ELBO on those images.
        held_out: its ELBO on the others; NaN where there are none.
        published: the poster's value.
    """

    counts: Sequence[int]
    fitted: Sequence[float]
    held_out: Sequence[float]
    published: float


def enclosures(panels: Mapping[float, Enclosure]) -> Figure:
    """One panel for each noise variance: between its two curves lies what more data give."""
    fig, axes = plt.subplots(1, len(panels), figsize=(style.WIDTH, 3.3))
    for ax, (sigma_sq, panel) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        color = style.SIGMA_SQ_COLORS[sigma_sq]
        counts, fitted, held_out = (np.asarray(values, float) for values in panel[:3])
        ax.plot(counts, fitted, color=color, marker="o")
        ax.plot(counts, held_out, color=color, marker="s", linestyle="--")
        ax.fill_between(counts, held_out, fitted, color=color, alpha=0.12, linewidth=0)
        ax.axhline(panel.published, color="black", linewidth=1, linestyle=":")
        ax.set(xscale="log", xlabel="images", title=f"σ² = {sigma_sq:g}")
        ticks = counts[[0, -1]]  # on a phone there is no room for more
        ax.set_xticks(ticks, [f"{count:g}" for count in ticks])
        ax.xaxis.set_minor_locator(plt.NullLocator())
        ax.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:.4g}k".replace("-", "−"))
    np.atleast_1d(axes)[0].set_ylabel("ELBO − J (nats)")
    entries = {
        "images fitted to": {"marker": "o", "color": style.GREY},
        "other images": {"marker": "s", "linestyle": "--", "color": style.GREY},
        "poster": {"linestyle": ":", "linewidth": 1, "color": "black"},
    }
    lines = [Line2D([], [], **look) for look in entries.values()]
    fig.legend(lines, entries, loc="outside lower center", ncols=3)
    return fig
