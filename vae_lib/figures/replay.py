"""A training to replay: a slider over its steps moves a cursor in curves, and shows the columns.

HTML that needs no script library. Without scripts, and on paper, it shows the last step.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from vae_lib import checks
from vae_lib.figures import data, style
from vae_lib.figures.interactive import Interactive, inline, signed

_GAP = 2  # white pixels around each image
_MILLISECONDS = 120  # that a step is shown for

_TEMPLATE = """
<div class="interactive-figure replay" id="{name}" role="group" aria-label="{label}">
<div class="interactive-control" hidden>
<button type="button" id="{name}-play">Play</button>
<label for="{name}-step">Step</label>
<input type="range" id="{name}-step" min="0" max="{last}" step="1" value="{last}">
<output for="{name}-step" aria-live="off">{last_step}</output>
</div>
<p class="interactive-readout" aria-live="polite">{readout}</p>
<div class="replay-curves">
<img class="dark-light" src="{curves}" alt="{curves_alt}">
{cursors}
</div>
<div class="replay-rows">
{rows}
</div>
<script>
(() => {{
  const {{steps, readouts, places}} = {data};
  const box = document.getElementById("{name}");
  const [slider, button] = ["step", "play"].map((part) =>
    document.getElementById("{name}-" + part));
  const [output, readout] = ["output", ".interactive-readout"].map((part) =>
    box.querySelector(part));
  const cursors = box.querySelectorAll(".replay-cursor");
  const films = box.querySelectorAll(".replay-row img");
  const show = () => {{
    const frame = Number(slider.value);
    output.textContent = steps[frame];
    slider.setAttribute("aria-valuetext", "step " + steps[frame]);
    readout.textContent = readouts[frame];
    cursors.forEach((cursor, panel) => {{ cursor.style.left = 100 * places[panel][frame] + "%"; }});
    for (const film of films) {{
      film.style.transform = "translateY(" + -100 * frame / steps.length + "%)";
    }}
  }};
  let timer = null;
  const stop = () => {{
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
    // Where it has come to an end is read aloud.
    readout.textContent = "";
    readout.setAttribute("aria-live", "polite");
    setTimeout(show);
  }};
  const play = () => {{
    if (slider.value === slider.max) slider.value = 0;
    button.textContent = "Pause";
    readout.setAttribute("aria-live", "off");  // or every step would be read aloud
    timer = setInterval(() => {{
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) stop();
    }}, {milliseconds});
    show();
  }};
  button.addEventListener("click", () => (timer === null ? play() : stop()));
  slider.addEventListener("input", () => {{ if (timer !== null) stop(); show(); }});
  let seen = slider.value;
  window.addEventListener("beforeprint", () => {{
    seen = slider.value;
    slider.value = slider.max;
    show();
  }});
  window.addEventListener("afterprint", () => {{ slider.value = seen; show(); }});
  window.addEventListener("pageshow", show);  // a browser that goes back may set the slider
  box.querySelector(".interactive-control").hidden = false;
  show();
}})();
</script>
</div>
"""


def moments(steps: int, count: int = 64) -> list[int]:
    """At most ``count`` steps of a training of ``steps``: 0, the last, and between them more of
    the early ones, as the logarithms are evenly spaced.

    Raises:
        ValueError: ``steps`` < 1, or ``count`` < 3.
    """
    checks.integer("steps", steps, low=1)
    checks.integer("count", count, low=3)
    return [0, *np.unique(np.geomspace(1, steps, count - 1).round().astype(int)).tolist()]


def curves(steps: Sequence[int], panels: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """One panel for each quantity, over the steps: ``panels[quantity][training]`` is (T,).

    The trainings are two: with the ELBO and with the likelihood.
    """
    # Narrower than other figures, so that its text is larger where it is shown.
    fig, axes = plt.subplots(1, len(panels), figsize=(0.85 * style.WIDTH, 2.6), squeeze=False)
    for ax, (title, lines) in zip(axes.flat, panels.items(), strict=True):
        for (name, values), color in zip(
            lines.items(), (style.ELBO, style.LIKELIHOOD), strict=True
        ):
            ax.plot(steps, values, color=color, label=name)
        ax.set_xscale("symlog", linthresh=10, linscale=0.8)  # logarithmic, and yet it has a zero
        ax.set_xlim(0, steps[-1])
        ax.minorticks_off()
        ax.set(title=title, xlabel="step", ylim=(0, None))
    named = axes.flat[0].get_legend_handles_labels()
    fig.legend(*named, loc="outside lower center", ncols=2)
    return fig


def replay(
    name: str,
    steps: Sequence[int],
    panels: Mapping[str, Mapping[str, Tensor]],
    rows: Mapping[str, Tensor],
    readouts: Sequence[str],
    *,
    label: str,
    curves_alt: str,
) -> Interactive:
    """The figure with a slider.

    Args:
        name: unique on the page; used for element ids.
        steps: those that are shown, ascending, (T,).
        panels: as :func:`curves` takes them.
        rows: title -> images (T, k, height, width), or (k, height, width) where they stay; each
            image has its own scale.
        readouts: a sentence for each step.
        label: what is seen, for readers who do not see it.
        curves_alt: the same of the curves alone.

    Raises:
        ValueError: a sequence whose length is not that of ``steps``.
    """
    for what, length in (
        ("readouts", len(readouts)),
        *((f"rows[{title!r}]", len(images)) for title, images in rows.items() if images.ndim == 4),
    ):
        if length != len(steps):
            raise ValueError(f"{what} must have an entry for each of {len(steps)}, got {length}")
    figure = curves(steps, panels)
    picture, places, boxes = _drawn(figure, steps)
    table = data.as_csv(figure)
    plt.close(figure)
    cursors = "\n".join(
        f'<span class="replay-cursor" style="left: {place[-1]:.3%}; top: {top:.2%}; '
        f'height: {height:.2%}"></span>'
        for place, (top, height) in zip(places, boxes, strict=True)
    )
    content = {
        "steps": list(steps),
        "readouts": list(readouts),
        "places": [[round(value, 5) for value in place] for place in places],
    }
    html = _TEMPLATE.format(
        name=escape(name, quote=True),
        label=escape(label, quote=True),
        last=len(steps) - 1,
        last_step=steps[-1],
        readout=escape(readouts[-1]),
        curves=picture,
        curves_alt=escape(curves_alt, quote=True),
        cursors=cursors,
        rows="\n".join(_row(title, images) for title, images in rows.items()),
        milliseconds=_MILLISECONDS,
        # "</" would end the script element.
        data=json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/"),
    )
    return Interactive(html, table)


def _drawn(
    figure: Figure, steps: Sequence[int]
) -> tuple[str, list[list[float]], list[tuple[float, float]]]:
    """The picture; for each panel the places of the steps, and its top and height, as fractions."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    width = figure.bbox.width
    places, boxes = [], []
    for ax in figure.axes:
        points = ax.transData.transform([(step, 0) for step in steps])
        places.append((points[:, 0] / width).tolist())
        area = ax.get_position()
        boxes.append((1 - area.y1, area.height))
    return inline(content.getvalue(), "svg+xml"), places, boxes


def _row(title: str, images: Tensor) -> str:
    """A title and a film: a strip for each step, one above the other, of which one is seen."""
    strips = images if images.ndim == 4 else images.unsqueeze(0)
    frames, count, height, width = strips.shape
    last = f"translateY({-100 * (frames - 1) / frames:.4f}%)"
    moving = f' style="transform: {last}"' if images.ndim == 4 else ""
    kind = "replay-row" if images.ndim == 4 else "replay-still"
    ratio = f"{count * (width + 2 * _GAP)} / {height + 2 * _GAP}"
    return (
        f'<div class="{kind}"><p>{escape(title)}</p>'
        f'<div class="replay-window" style="aspect-ratio: {ratio}">'
        f'<img class="dark-light" src="{_film(strips)}" alt="{escape(title, quote=True)}, '
        f'{count} images"{moving}></div></div>'
    )


def _film(strips: Tensor) -> str:
    """Images (T, k, height, width) as one picture, each on its own scale, with white around."""
    largest = strips.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(strips.dtype).tiny)
    framed = torch.nn.functional.pad(strips / largest, [_GAP] * 4)
    return signed(framed.transpose(1, 2).flatten(2).flatten(0, 1).numpy())
