"""The reader's tool: which principal components of some data a linear VAE keeps.

HTML that needs nothing but the Plotly script beside the pages, for the plot; where that is
missing, or no script runs, a picture of the first state stands in, and prints.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor

from vae_lib import checks
from vae_lib.figures import data as figure_data
from vae_lib.figures import prediction, style
from vae_lib.figures.interactive import PLOTLY, Interactive, inline, signed
from vae_lib.prediction import predict

STEPS = 240  # positions of the slider for the noise

_TEMPLATE = """
<div class="interactive-figure survivors" id="{name}" role="group" aria-label="{label}">
<div class="interactive-control">
<label for="{name}-data">Data</label>
<select autocomplete="off" id="{name}-data">{options}</select>
</div>
<div class="interactive-control">
<label for="{name}-noise">Noise variance σ²</label>
<input type="range" id="{name}-noise" min="0" max="{steps}" step="1" value="{position}"
autocomplete="off">
<output for="{name}-noise">{sigma_sq:.3g}</output>
</div>
<div class="interactive-control">
<label for="{name}-k">Latent dimension k</label>
<input type="range" id="{name}-k" min="1" max="{largest}" step="1" value="{k}" autocomplete="off">
<output for="{name}-k">{k}</output>
</div>
<div class="interactive-control">
<button type="button" id="{name}-learn">Set σ² to its learned value</button>
</div>
<p class="interactive-readout" id="{name}-readout" aria-live="polite">{readout}</p>
<img class="survivors-still dark-light" src="{still}" alt="{still_alt}">
<div class="survivors-plot" role="img" aria-label="{plot_label}" hidden></div>
{thumbnails}
<script src="{plotly}"></script>
<script>
(() => {{
  const sets = {data};
  const box = document.getElementById("{name}");
  const part = (suffix) => document.getElementById("{name}-" + suffix);
  const plot = box.querySelector(".survivors-plot");
  const still = box.querySelector(".survivors-still");
  const [choice, learn, noise, latents] = ["data", "learn", "noise", "k"].map(part);
  const [noiseOutput, latentsOutput] = box.querySelectorAll("output");
  const grids = box.querySelectorAll(".survivors-components");
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const plain = (value) => String(Number(value.toPrecision(3)));
  const count = (number, word) => number + " " + word + (number === 1 ? "" : "s");
  let set = sets[0];
  let sigmaSq = {sigma_sq};
  const learned = (k) => sum(set.eigenvalues.slice(k)) / (set.eigenvalues.length - k);
  const predict = (k) => {{
    const above = set.eigenvalues.filter((value) => value > sigmaSq).length;
    const kept = Math.min(k, above);
    const kl = 0.5 * sum(set.eigenvalues.slice(0, kept).map((value) => Math.log(value / sigmaSq)));
    const lost = sum(set.eigenvalues.slice(kept));
    return {{above, kept, kl, error: (kept * sigmaSq + lost) / set.eigenvalues.length}};
  }};
  const groups = ["survives", "no latent left", "below the noise"];
  const colors = {colors};
  const traces = (found) => {{
    const bounds = [[0, found.kept], [found.kept, found.above],
      [found.above, set.eigenvalues.length]];
    const places = set.eigenvalues.map((_, j) => j + 1);
    const end = set.eigenvalues.length * 1.15;
    return [...bounds.map(([low, high], group) => ({{
      type: "scatter", mode: "markers", name: groups[group],
      marker: {{color: colors[group], size: places.length > 50 ? 5 : 10}},
      x: places.slice(low, high), y: set.eigenvalues.slice(low, high),
      hovertemplate: "component %{{x}}: %{{y:.3g}}<extra></extra>",
    }})), {{
      type: "scatter", mode: "lines", name: "noise σ²", x: [0.8, end], y: [sigmaSq, sigmaSq],
      line: {{color: "#222", width: 1.5, dash: "dash"}}, hoverinfo: "skip",
    }}];
  }};
  const layout = () => {{
    const seen = set.eigenvalues.filter((value) => value > set.eigenvalues[0] * 1e-7);
    const low = Math.min(set.low, seen[seen.length - 1]);
    const axis = {{type: "log", exponentformat: "power", dtick: 1, gridcolor: "#e4e4e4"}};
    return {{
      height: 360, paper_bgcolor: "white", plot_bgcolor: "white", template: "none",
      font: {{color: "#222", size: 13}}, margin: {{l: 60, r: 10, t: 10, b: 60}},
      legend: {{orientation: "h", y: 1.02, yanchor: "bottom", x: 0}},
      xaxis: {{...axis, title: {{text: "component j", standoff: 8}},
        range: [Math.log10(0.8), Math.log10(set.eigenvalues.length * 1.15)],
        ...(set.eigenvalues.length < 50 ? {{type: "linear", dtick: 1, zeroline: false,
          range: [0.5, set.eigenvalues.length + 0.5]}} : {{}})}},
      yaxis: {{...axis, title: {{text: "eigenvalue"}},
        range: [Math.log10(low * 0.7), Math.log10(Math.max(set.high, set.eigenvalues[0]) * 1.4)]}},
    }};
  }};
  const show = () => {{
    const k = Number(latents.value);
    const found = predict(k);
    const dead = 100 * (1 - found.kept / k);
    const end = learned(k);
    noiseOutput.textContent = plain(sigmaSq);
    latentsOutput.textContent = k;
    noise.setAttribute("aria-valuetext", "sigma squared = " + plain(sigmaSq));
    latents.setAttribute("aria-valuetext", "k = " + k);
    learn.disabled = !(end > 0);
    part("readout").textContent = "σ² = " + plain(sigmaSq) + ": "
      + found.kept + " of " + count(k, "latent") + " live, collapse " + dead.toFixed(1) + " %. "
      + count(found.above, "eigenvalue") + " above the noise. "
      + "KL " + found.kl.toFixed(1) + " nats, squared error per dimension "
      + plain(found.error) + ". "
      + (end > 0 ? "Learned, σ² would end at " + plain(end) + " for this k."
        : "Learned, σ² would fall to 0: k is not below the rank of the data.");
    for (const grid of grids) {{
      grid.hidden = grid.dataset.set !== choice.value;
      if (grid.hidden) continue;
      [...grid.children].forEach((item, j) => item.classList.toggle("dead", j >= found.kept));
    }}
    if (typeof Plotly !== "undefined") {{
      plot.hidden = false;
      still.hidden = true;
      Plotly.react(plot, traces(found), layout(), {{displayModeBar: false, responsive: true}});
    }} else {{
      // The picture shows one state only.
      const stale = choice.value !== "0" || k !== {k} || sigmaSq !== {sigma_sq};
      still.classList.toggle("stale", stale);
      if (stale) part("readout").textContent += " (The picture shows another state.)";
    }}
  }};
  const at = (position) => set.low * (set.high / set.low) ** (position / {steps});
  const place = (value) => Math.round(
    {steps} * Math.log(value / set.low) / Math.log(set.high / set.low));
  const start = (k, value) => {{
    latents.max = set.eigenvalues.length - 1;
    latents.value = k;
    sigmaSq = value;
    noise.value = place(value);
    show();
  }};
  noise.addEventListener("input", () => {{ sigmaSq = at(Number(noise.value)); show(); }});
  latents.addEventListener("input", show);
  learn.addEventListener("click", () => {{
    sigmaSq = learned(Number(latents.value));
    noise.value = place(sigmaSq);
    show();
  }});
  choice.addEventListener("change", () => {{
    set = sets[Number(choice.value)];
    start(set.k, set.sigma_sq);
  }});
  start({k}, {sigma_sq});
}})();
</script>
</div>
"""


class DataSet(NamedTuple):
    """What the tool knows of some data.

    Attributes:
        title: for the menu.
        eigenvalues: (n,), descending.
        k, sigma_sq: what the controls start from.
        low, high: ends of the slider for the noise.
        components: eigenvectors as the rows of (count, height, width), drawn as thumbnails.
    """

    title: str
    eigenvalues: Tensor
    k: int
    sigma_sq: float
    low: float
    high: float
    components: Tensor | None = None


def survivors(name: str, sets: Sequence[DataSet], *, label: str) -> Interactive:
    """The tool; it opens with the first data set.

    Args:
        name: unique on the page; used for element ids.
        sets: the data sets to choose from.
        label: what is seen, for readers who do not see it.

    Raises:
        ValueError: a starting value outside its range.
    """
    for one in sets:
        checks.eigenvalues("eigenvalues", one.eigenvalues)
        checks.latent_dim(one.k, len(one.eigenvalues))
        checks.number("sigma_sq", one.sigma_sq, low=one.low, high=one.high)
    first = sets[0]
    data = [
        {
            "eigenvalues": [float(f"{value:.6g}") for value in one.eigenvalues.tolist()],
            "k": one.k,
            "sigma_sq": one.sigma_sq,
            "low": one.low,
            "high": one.high,
        }
        for one in sets
    ]
    span = np.log(first.high / first.low)
    html = _TEMPLATE.format(
        name=escape(name, quote=True),
        label=escape(label, quote=True),
        options="".join(
            f'<option value="{place}">{escape(one.title)}</option>'
            for place, one in enumerate(sets)
        ),
        steps=STEPS,
        position=round(STEPS * np.log(first.sigma_sq / first.low) / span),
        largest=len(first.eigenvalues) - 1,
        k=first.k,
        sigma_sq=first.sigma_sq,
        readout=_readout(first),
        still=_still(first),
        still_alt="Eigenvalues in falling order on logarithmic axes, coloured by whether they "
        "survive the noise, which is a dashed line.",
        plot_label="Scree plot of the eigenvalues, coloured by whether they survive; the text "
        "above says how many do.",
        thumbnails="".join(_thumbnails(one, place) for place, one in enumerate(sets)),
        plotly=PLOTLY,
        colors=json.dumps([style.BLUE, style.ORANGE, style.GREY]),
        # "</" would end the script element.
        data=json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
    )
    rows = [
        {
            "panel": "1",
            "kind": "points",
            "series": one.title,
            "x": place,
            "y": value,
            "x_label": "component j",
            "y_label": "eigenvalue",
        }
        for one, known in zip(sets, data, strict=True)
        for place, value in enumerate(known["eigenvalues"], start=1)
    ]
    return Interactive(html, figure_data.written(rows))


def _readout(one: DataSet) -> str:
    """The first state in words, for pages on which no script runs."""
    found = predict(one.eigenvalues, k=one.k, sigma_sq=one.sigma_sq)
    return (
        f"σ² = {one.sigma_sq:.3g}: {found.active} of {one.k} latents live, "
        f"collapse {found.collapse_percent:.1f} %. KL {found.kl:.1f} nats, squared error per "
        f"dimension {found.tuned_sigma_sq:.3g}."
    )


def _still(one: DataSet) -> str:
    """The first state as a picture, within the page."""
    figure = prediction.scree(one.eigenvalues, one.k, one.sigma_sq)
    content = io.BytesIO()
    # As a vector picture its many points would be larger.
    figure.savefig(content, format="webp", dpi=150, pil_kwargs={"lossless": True})
    plt.close(figure)
    return inline(content.getvalue(), "webp")


def _thumbnails(one: DataSet, place: int) -> str:
    if one.components is None:
        return ""
    kept, dead = predict(one.eigenvalues, k=one.k, sigma_sq=one.sigma_sq).active, ' class="dead"'
    items = "".join(
        f'<li{"" if number <= kept else dead}><img class="dark-light" width="28" height="28" '
        f'src="{signed((image / image.abs().max()).numpy())}" '
        f'alt="Principal component {number} as an image">'
        f"<span>{number}</span></li>"
        for number, image in enumerate(one.components, start=1)
    )
    hidden = "" if place == 0 else " hidden"
    return (
        f'<ol class="survivors-components" data-set="{place}"{hidden} '
        f'aria-label="The leading principal components; those that die fade.">{items}</ol>'
    )
