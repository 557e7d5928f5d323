"""One style for all figures: colours that mean the same everywhere, and reproducible SVG.

Beside its picture each figure shows its data, see `vae_lib.figures.data`.
"""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib_inline.backend_inline import set_matplotlib_formats

from vae_lib.figures import data

# Colour-blind safe (Okabe and Ito, 2008).
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
)
GREY = "#6b6b6b"
ELBO, LIKELIHOOD = BLUE, VERMILION
# sigma_sq above, between and below the eigenvalues shown: from collapse to escape.
REGIMES = (VERMILION, ORANGE, BLUE)
# The table's noise variances, from collapse to none; the same colour on every page.
SIGMA_SQ_COLORS = {10.0: VERMILION, 1.0: ORANGE, 0.1: GREEN, 0.01: BLUE, 0.001: PURPLE}
MARKERS = {"fixed": "o", "learned": "^"}
KINDS = {"maximum": BLUE, "saddle": ORANGE, "minimum": VERMILION, "degenerate": GREY}
DIVERGING = "PuOr"
WIDTH = 6.4  # inches: text stays legible when the figure shrinks to a phone's width


def use() -> None:
    """Set the style for this process."""
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.6),
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "font.size": 12,
            "axes.titlesize": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "legend.frameon": False,
            "legend.fontsize": 10.5,
            "lines.linewidth": 1.8,
            "image.cmap": "gray_r",
            "svg.fonttype": "path",
            # Without a fixed salt and date each build would give other bytes.
            "svg.hashsalt": "vae_lib",
        }
    )
    set_matplotlib_formats("svg", metadata={"Date": None})
    data.show_with_figures()


def bare(axes: Iterable[Axes]) -> None:
    """Strip ticks, grid and frame: for images."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
