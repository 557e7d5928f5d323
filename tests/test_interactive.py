"""Figures with a knob: their tables, and what of them stands still."""

import base64
import csv
import io
import json
import re

import matplotlib as mpl
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

mpl.use("agg")

from vae_lib.figures import interactive, replay
from vae_lib.figures.data import MIME
from vae_lib.figures.survivors import DataSet, survivors
from vae_lib.landscape import column_rise

STEPS = [0, 1, 10, 100]
PANELS = {
    "found": {"ELBO": torch.tensor([0.0, 0.2, 0.5, 1.0]), "likelihood": torch.ones(4)},
    "cosine": {"ELBO": torch.tensor([0.9, 0.5, 0.2, 0.0]), "likelihood": torch.full((4,), 0.3)},
}


def rows(figure: interactive.Interactive) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figure.table)))


def film(**more) -> interactive.Interactive:
    images = torch.arange(-24.0, 24.0).reshape(4, 2, 2, 3)
    options = {"rows": {"still": images[0], "moving": images}, "readouts": list("abcd"), **more}
    return replay.replay("film", STEPS, PANELS, label="seen", curves_alt="curves", **options)


def inlined(source: str) -> bytes:
    return base64.b64decode(source.partition("base64,")[2])


@pytest.mark.parametrize("steps", [1, 2, 63, 20_000])
def test_the_moments_of_a_replay_run_from_the_first_step_to_the_last(steps):
    moments = replay.moments(steps)
    assert moments[0] == 0
    assert moments[-1] == steps
    assert moments == sorted(set(moments))
    assert len(moments) <= 64
    assert replay.moments(steps, count=3) == sorted({0, 1, steps})


def test_a_replay_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"readouts must have an entry for each of 4, got 1"):
        film(readouts=["one"])
    with pytest.raises(ValueError, match=r"rows\['short'\] must have an entry for each of 4"):
        film(rows={"short": torch.ones(3, 2, 2, 2)})
    for wrong in ({"steps": 0}, {"steps": 5, "count": 2}):
        with pytest.raises(ValueError, match=min(wrong.keys() - {"steps"}, default="steps")):
            replay.moments(**wrong)


def test_the_pictures_of_a_replay_are_its_steps_one_above_the_other():
    html = BeautifulSoup(film().html, "html.parser")
    still, moving = (
        Image.open(io.BytesIO(inlined(str(image["src"])))).convert("RGB")
        for image in html.select(".replay-window img")
    )
    # Two images of 3 x 2 side by side, and white around each.
    assert still.size == (2 * 7, 6)
    assert moving.size == (2 * 7, 4 * 6)
    # The smallest of each image has one colour, the largest another: the last strip is of the
    # numbers that are positive, where the first is of those that are negative.
    pixels = np.asarray(moving, dtype=int)
    first, last = pixels[2:4, 2:5], pixels[20:22, 9:12]
    orange, purple = first[..., 0] - first[..., 2], last[..., 2] - last[..., 0]
    assert orange.mean() > 20
    assert purple.mean() > 20


def test_a_replay_stands_at_its_last_step_until_it_is_moved():
    html = BeautifulSoup(film().html, "html.parser")
    slider, output = html.select_one("input"), html.select_one("output")
    assert slider is not None
    assert output is not None
    assert slider["value"] == slider["max"] == "3"
    assert output.get_text() == "100"
    assert html.select_one(".interactive-readout").get_text() == "d"
    still, moving = html.select(".replay-window img")
    assert not still.has_attr("style")
    assert moving["style"] == "transform: translateY(-75.0000%)"


def test_the_cursors_of_a_replay_stand_on_the_steps():
    """Where the picture has its frames, and where the cursors go: both as shares of its size."""
    html = film().html
    svg = inlined(re.search(r'src="(data:image/svg[^"]+)"', html)[1]).decode()
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
    frames = re.findall(r'<g id="patch_\d+">\s*<path d="M ([\d.]+) [\d.]+ \nL ([\d.]+) ', svg)
    edges = sorted({float(x) / width for pair in frames for x in pair} - {0.0, 1.0})
    content = json.loads(re.search(r"places\} = (\{.*\});", html)[1])
    for panel, place in enumerate(content["places"]):
        assert place == sorted(place)
        for end in (place[0], place[-1]):
            assert min(abs(end - edge) for edge in edges) < 1e-4, panel


def test_the_landscape_stands_where_its_slider_begins():
    along = torch.linspace(-1, 1, 5, dtype=torch.float64)
    rises = [[column_rise(value, noise, along) for noise in (0.5, 2.0)] for value in (3.0, 1.0)]

    def begun(start: int) -> BeautifulSoup:
        html = interactive.landscape(
            "l", along, (0.5, 2.0), *rises, ["low", "high"], start=start, label="seen"
        ).html
        return BeautifulSoup(html, "html.parser")

    pictures = []
    for start, level, readout in ((0, "0.5", "low"), (1, "2", "high"), (1, "2", "high")):
        html = begun(start)
        assert html.select_one("output").get_text() == level
        assert html.select_one(".interactive-readout").get_text() == readout
        assert html.select_one(".interactive-plots").has_attr("hidden")
        pictures.append(inlined(str(html.select_one("img.interactive-still")["src"])))
    width, height = Image.open(io.BytesIO(pictures[0])).size
    assert width > 2 * height > 200
    assert pictures[0] != pictures[1]
    assert pictures[1] == pictures[2]


def test_the_tables_hold_what_the_knobs_can_show():
    replayed = rows(film())
    one = [row for row in replayed if (row["panel"], row["series"]) == ("2", "ELBO")]
    assert [(float(row["x"]), round(float(row["y"]), 6)) for row in one] == [
        (0, 0.9),
        (1, 0.5),
        (10, 0.2),
        (100, 0.0),
    ]

    along = torch.linspace(-1, 1, 5, dtype=torch.float64)
    rises = [[column_rise(value, noise, along) for noise in (0.5, 2.0)] for value in (3.0, 1.0)]
    surface = interactive.landscape(
        "l", along, (0.5, 2.0), *rises, ["low", "high"], start=0, label="seen"
    )
    of_one = [r for r in rows(surface) if (r["panel"], r["series"]) == ("2", "σ² = 2")]
    np.testing.assert_allclose([float(row["x"]) for row in of_one], along)
    np.testing.assert_allclose([float(row["y"]) for row in of_one], rises[1][1], rtol=1e-4)

    values = torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64)
    tool = survivors("t", [DataSet("small", values, 1, 1.0, 0.1, 10.0)], label="seen")
    assert [(r["series"], float(r["x"]), float(r["y"])) for r in rows(tool)] == [
        ("small", 1, 3.0),
        ("small", 2, 2.0),
        ("small", 3, 0.5),
    ]
    for figure in (film(), surface, tool):
        bundle = figure._repr_mimebundle_()
        assert bundle[MIME] == figure.table
        assert bundle["text/html"] == figure.html
