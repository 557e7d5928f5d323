"""Figures with a knob. Each is HTML that needs nothing but the Plotly script beside the pages.

Where that is missing, or no script runs, a picture of the first state stands in, and prints.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from PIL import Image
from torch import Tensor

from vae_lib.figures import data as figure_data
from vae_lib.figures import style
from vae_lib.figures.landscape import one_regime

# Where the built pages find Plotly. Opened elsewhere, a figure says that it needs the book.
PLOTLY = "../_static/vendor/plotly.min.js"

_PAPER = {
    "height": 420,
    "paper_bgcolor": "white",
    "plot_bgcolor": "white",
    "font": {"color": "#222", "size": 13},
    "template": "none",
}

_TEMPLATE = """
<div class="interactive-figure" id="{name}" role="group" aria-label="{label}">
<div class="interactive-control">
<label for="{name}-slider">Noise variance σ²</label>
<input type="range" id="{name}-slider" min="0" max="{last}" step="1" value="{start}">
<output for="{name}-slider">{level}</output>
</div>
<img class="interactive-still dark-light" src="{still}" alt="{still_alt}">
<div class="interactive-plots" hidden>
<div id="{name}-plot" role="img" aria-label="{label}"></div>
<div id="{name}-surface" role="img" aria-label="The same as a surface that can be turned."></div>
</div>
<p class="interactive-readout" aria-live="polite">{readout}</p>
<script src="{plotly}"></script>
<script>
(() => {{
  const data = {data};
  const box = document.getElementById("{name}");
  const plot = document.getElementById("{name}-plot");
  const surface = document.getElementById("{name}-surface");
  const slider = box.querySelector("input");
  const output = box.querySelector("output");
  const readout = box.querySelector(".interactive-readout");
  if (typeof Plotly === "undefined") {{
    readout.textContent += " The slider works on the pages of the built book.";
    return;
  }}
  box.querySelector(".interactive-still").hidden = true;
  box.querySelector(".interactive-plots").hidden = false;
  const grid = step => data.along_j[step].map(b => data.along_i[step].map(a => a + b));
  const describe = () => {{
    const step = Number(slider.value);
    output.textContent = data.sigma_sqs[step];
    slider.setAttribute("aria-valuetext", "sigma squared = " + data.sigma_sqs[step]);
    readout.textContent = data.readouts[step];
    return step;
  }};
  const largest = z => Math.max(...z.map(row => Math.max(...row.map(Math.abs))));
  // Surfaces need WebGL. Where there is none the contours stand alone.
  const webgl = document.createElement("canvas").getContext("webgl") !== null;
  surface.hidden = !webgl;
  const settings = {{displayModeBar: false, responsive: true, scrollZoom: false}};
  const draw = update => {{
    const z = grid(describe());
    const limit = largest(z);
    update(plot, data.contours, {{z, zmin: -limit, zmax: limit}});
    if (webgl) update(surface, data.surface, {{z, cmin: -limit, cmax: limit}});
  }};
  draw((element, figure, values) => {{
    for (const trace of figure.data) Object.assign(trace, values);
    Plotly.newPlot(element, figure.data, figure.layout, settings);
  }});
  const show = () => draw((element, figure, values) => {{
    Plotly.restyle(element, {{...values, z: figure.data.map(() => values.z)}});
  }});
  slider.addEventListener("input", show);
  window.addEventListener("pageshow", show);  // a browser that goes back may set the slider
}})();
</script>
</div>
"""


class Interactive(NamedTuple):
    """A figure with a knob: its HTML, and the table of what it can show, as of any figure."""

    html: str
    table: str

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {
            "text/html": self.html,
            "text/plain": "an interactive figure",
            figure_data.MIME: self.table,
        }


def inline(content: bytes, kind: str) -> str:
    """A picture as the address of itself; ``kind`` is "webp" or "svg+xml"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def signed(values: np.ndarray) -> str:
    """Values (height, width) from -1 to 1 as a picture, inline: zero is white, or nearly."""
    colors = mpl.colormaps[style.DIVERGING](0.5 + 0.5 * values)[..., :3]
    content = io.BytesIO()
    Image.fromarray((colors * 255).round().astype(np.uint8)).save(
        content, format="WEBP", quality=75, method=6
    )
    return inline(content.getvalue(), "webp")


def landscape(
    name: str,
    along: Tensor,
    sigma_sqs: Sequence[float],
    rises_i: Sequence[Tensor],
    rises_j: Sequence[Tensor],
    readouts: Sequence[str],
    *,
    start: int,
    label: str,
) -> Interactive:
    """The likelihood around two collapsed columns, with a slider for the noise.

    The likelihood is a sum over the two columns, so that the page holds two curves for each
    noise level and adds them up as the slider moves.

    Args:
        name: unique on the page; used for element ids.
        along: lengths of both columns, (A,).
        sigma_sqs: noise levels, one for each position of the slider.
        rises_i: likelihood gained along the first eigenvector, (A,) for each level, in nats.
        rises_j: the same along the second.
        readouts: a sentence for each level.
        start: initial position of the slider.
        label: what is seen, for readers who do not see it.
    """
    lengths = [round(value, 4) for value in along.tolist()]
    scale = {"title": {"text": "nats"}, "thickness": 12, "orientation": "h", "y": -0.25}
    filled = go.Contour(
        x=lengths,
        y=lengths,
        ncontours=24,
        line={"width": 0},
        colorscale="PuOr",
        colorbar={**scale, "yanchor": "top"},
        hovertemplate="a = %{x:.2f}, b = %{y:.2f}: %{z:.3f} nats<extra></extra>",
    )
    zero = go.Contour(
        x=lengths,
        y=lengths,
        contours={"type": "constraint", "operation": "=", "value": 0},
        line={"color": "black", "width": 1},
        showscale=False,
        showlegend=False,
        hoverinfo="skip",
    )
    contours = go.Figure([filled, zero])
    contours.update_layout(
        _PAPER,
        margin={"l": 50, "r": 10, "t": 10, "b": 130},
        xaxis={"title": {"text": "a, along the first"}, "constrain": "domain"},
        yaxis={"title": {"text": "b, along the second"}, "scaleanchor": "x"},
    )
    surface = go.Figure(
        go.Surface(x=lengths, y=lengths, colorscale="PuOr", showscale=False, hoverinfo="skip")
    )
    axis = {"showticklabels": False}
    surface.update_layout(
        _PAPER,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        scene={
            "xaxis": {**axis, "title": {"text": "a"}},
            "yaxis": {**axis, "title": {"text": "b"}},
            "zaxis": {**axis, "title": {"text": ""}},
            "camera": {"eye": {"x": 1.8, "y": -2.16, "z": 1.2}},  # nearer, its corners are cut
        },
    )
    data = {
        "contours": json.loads(contours.to_json()),
        "surface": json.loads(surface.to_json()),
        "sigma_sqs": [f"{value:.3g}" for value in sigma_sqs],
        "along_i": [_rounded(rise) for rise in rises_i],
        "along_j": [_rounded(rise) for rise in rises_j],
        "readouts": list(readouts),
    }
    # "</" would end the script element.
    encoded = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    html = _TEMPLATE.format(
        name=escape(name, quote=True),
        label=escape(label, quote=True),
        last=len(sigma_sqs) - 1,
        start=start,
        level=data["sigma_sqs"][start],
        readout=escape(readouts[start]),
        still=_still(along, rises_i[start][:, None] + rises_j[start][None, :]),
        still_alt="The likelihood around two collapsed columns, as contours and as a surface, for "
        "one noise variance; the text below names it.",
        plotly=PLOTLY,
        data=encoded,
    )
    rows = [
        {
            "panel": panel,
            "panel_title": title,
            "kind": "line",
            "series": f"σ² = {level}",
            "x": x,
            "y": y,
            "x_label": "length of the column",
            "y_label": "likelihood gained (nats); of both columns it is the sum",
        }
        for panel, title, rises in (
            ("1", "a, along the first", data["along_i"]),
            ("2", "b, along the second", data["along_j"]),
        )
        for level, rise in zip(data["sigma_sqs"], rises, strict=True)
        for x, y in zip(lengths, rise, strict=True)
    ]
    return Interactive(html, figure_data.written(rows))


def _still(along: Tensor, grid: Tensor) -> str:
    """The first state as a picture, within the page."""
    figure = one_regime(along, grid)
    content = io.BytesIO()
    # As a vector picture its many contours would be ten times larger; the page is near its limit.
    figure.savefig(content, format="webp", dpi=150, pil_kwargs={"quality": 80, "method": 6})
    plt.close(figure)
    return inline(content.getvalue(), "webp")


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
