"""The table of a figure holds what was plotted, read back from its text alone."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import nbformat
import numpy as np
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from book.pipeline.downloads import FIGURE_DATA
from vae_lib.figures import landscape
from vae_lib.figures.data import LARGEST, MIME, as_csv

RNG = np.random.default_rng(3)
X, Y = np.sort(RNG.standard_normal(40)), RNG.standard_normal(40)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def rows(figure: Figure, **where: str) -> list[dict[str, str]]:
    """The rows of a figure's table in which the given columns have the given texts."""
    found = csv.DictReader(io.StringIO(as_csv(figure)))
    return [row for row in found if all(row[name] == text for name, text in where.items())]


def values(found: list[dict[str, str]], *names: str) -> np.ndarray:
    """Columns of a table as numbers; an empty cell is none."""
    return np.array([[float(row[name] or "nan") for name in names] for row in found])


def test_lines_are_there_to_the_last_digit():
    fig, (left, right) = plt.subplots(1, 2, sharey=True)
    left.plot(X, Y, label="first", color="#0072B2")
    left.plot(X, 2 * Y, "o", color="#D55E00")
    right.plot(torch.from_numpy(X), torch.from_numpy(Y).float(), "k--")
    left.set(title="left", xlabel="a (nats)", ylabel="b, of both")
    np.testing.assert_array_equal(values(rows(fig, series="first"), "x", "y"), np.c_[X, Y])
    hollow = rows(fig, kind="points")
    np.testing.assert_array_equal(values(hollow, "x", "y"), np.c_[X, 2 * Y])
    assert {(row["panel"], row["series"], row["color"]) for row in hollow} == {
        ("1", "points 1", "#d55e00")
    }
    second = rows(fig, panel="2")
    np.testing.assert_array_equal(values(second, "x", "y"), np.c_[X, Y.astype(np.float32)])
    assert {(row["panel_title"], row["x_label"]) for row in second} == {("", "")}
    first = rows(fig, panel="1")
    assert {(r["panel_title"], r["x_label"]) for r in first} == {("left", "a (nats)")}
    assert {row["y_label"] for row in first + second} == {"b, of both"}


def test_what_is_missing_stays_missing_and_what_is_hidden_is_left_out():
    fig, ax = plt.subplots()
    ax.plot([0.0, 1.0, 2.0], np.ma.masked_equal([5.0, 6.0, 7.0], 6.0))
    ax.plot([9.0], [9.0], visible=False)
    np.testing.assert_array_equal(values(rows(fig), "x", "y"), [[0, 5], [1, np.nan], [2, 7]])


def test_levels_have_one_coordinate():
    fig, ax = plt.subplots()
    ax.axhline(0.3, label="noise")
    ax.axvline(7.0)
    found = rows(fig, kind="level")
    assert [(r["series"], r["x"], r["y"]) for r in found] == [
        ("noise", "", "0.3"),
        ("level 2", "7", ""),
    ]


@pytest.mark.parametrize("upright", [True, False])
def test_bands_bars_and_error_bars(upright: bool):
    fig, ax = plt.subplots()
    low, high = np.minimum(Y, 0), np.maximum(Y, 0) + 1
    if upright:
        ax.fill_between(X, low, high, label="band")
        ax.bar([1, 2], [3.5, -1.5], width=0.5, label="bar")
        ax.errorbar([1.0, 2.0], [5.0, 6.0], yerr=[[0.5, 1.0], [1.5, 2.0]], label="error")
        names = ("x", "low", "high", "y")
    else:
        ax.fill_betweenx(X, low, high, label="band")
        ax.barh([1, 2], [3.5, -1.5], height=0.5, label="bar")
        ax.errorbar([5.0, 6.0], [1.0, 2.0], xerr=[[0.5, 1.0], [1.5, 2.0]], label="error")
        names = ("y", "x_low", "x_high", "x")
    band = values(rows(fig, series="band", kind="band"), *names[:3])
    np.testing.assert_array_equal(band, np.c_[X, low, high])
    bars = values(rows(fig, series="bar", kind="bar"), *names[:3])
    np.testing.assert_array_equal(bars, [[1, 0, 3.5], [2, -1.5, 0]])
    error = values(rows(fig, series="error", kind="error bar"), *names)
    np.testing.assert_array_equal(error, [[1, 4.5, 6.5, 5], [2, 5, 8, 6]])
    assert {row["kind"] for row in rows(fig)} == {"band", "bar", "error bar"}


def test_scattered_points_and_words():
    fig, ax = plt.subplots()
    drawn = ax.scatter(X, Y, c=X * Y, label="by value")
    fig.colorbar(drawn, label="product")
    ax.scatter(X, -Y, color="#009E73", facecolor="none")
    ax.annotate("a place,\nnamed", (1.5, 2.5), xytext=(3, 4), textcoords="offset points")
    ax.text(0.5, 0.5, "a corner", transform=ax.transAxes)
    found = rows(fig, series="by value")
    np.testing.assert_array_equal(values(found, "x", "y", "z"), np.c_[X, Y, X * Y])
    assert {row["z_label"] for row in found} == {"product"}
    hollow = rows(fig, series="points 2")
    np.testing.assert_array_equal(values(hollow, "x", "y"), np.c_[X, -Y])
    assert {row["color"] for row in hollow} == {"#009e73"}
    assert [(r["series"], r["x"], r["y"]) for r in rows(fig, kind="text")] == [
        ("a place, named", "1.5", "2.5")
    ]
    assert {row["panel"] for row in rows(fig)} == {"1"}, "the colorbar is no panel"


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_images_have_their_values_at_the_centres_of_their_cells(origin: str):
    array = RNG.standard_normal((3, 5))
    fig, ax = plt.subplots()
    fig.colorbar(ax.imshow(array, origin=origin), label="cosine")
    found = rows(fig, kind="image")
    x, y = np.meshgrid(range(5), range(3))
    expected = np.c_[x.ravel(), y.ravel(), array.ravel()]
    np.testing.assert_array_equal(values(found, "x", "y", "z"), expected)
    assert found[0]["z_label"] == "cosine"


def test_meshes_have_their_values_at_the_centres_of_their_cells():
    array, x, y = RNG.standard_normal((2, 3)), [0.0, 2.0, 4.0, 8.0], [0.0, 1.0, 3.0]
    fig, ax = plt.subplots()
    ax.pcolormesh(x, y, array)
    across, up = np.meshgrid([1, 3, 6], [0.5, 2])
    found = values(rows(fig, kind="mesh"), "x", "y", "z")
    np.testing.assert_array_equal(found, np.c_[across.ravel(), up.ravel(), array.ravel()])


def test_images_are_whole_or_left_out_and_pictures_in_colours_have_no_table():
    side = int(LARGEST**0.5) + 1
    fig, ax = plt.subplots()
    ax.imshow(np.zeros((side, side)))
    assert as_csv(fig) == ""
    ax.plot([1], [2])
    assert [row["kind"] for row in rows(fig)] == ["line"]
    fig, ax = plt.subplots()
    ax.imshow(np.zeros((4, 4, 3)))
    assert as_csv(fig) == ""


@pytest.mark.parametrize("draw", ["contour", "contourf"])
def test_contours_lie_where_the_function_has_their_height(draw: str):
    grid, levels = np.linspace(-1, 1, 81), [-0.503, 1.007]  # no line goes through a grid point
    fig, ax = plt.subplots()
    getattr(ax, draw)(grid, grid, grid[:, None] + 2 * grid, levels=levels, extend="both")
    x, y, z = values(rows(fig, kind="contour"), "x", "y", "z").T
    assert set(z) == set(levels)
    assert len(x) == len(set(zip(x, y, strict=True))) > 80
    np.testing.assert_allclose(2 * x + y, z, atol=1e-12)  # it is linear, and so is the search


def test_a_surface_has_its_points_in_space():
    along = torch.linspace(-1, 1, 9, dtype=torch.float64)
    grid = along[:, None] ** 2 - along[None, :]
    fig = landscape.three_regimes(along, [grid], ["only"])
    fig.draw_without_rendering()  # the projection must not stand in for the points
    a, b, height = values(rows(fig, kind="surface"), "x", "y", "z").T
    assert len(a) > 9 * 9 / 2
    np.testing.assert_allclose(height, a**2 - b, atol=1e-14)
    assert {row["panel"] for row in rows(fig, kind="surface")} == {"2"}


def test_names_that_only_the_legend_knows_are_joined_by_their_colour():
    fig, ax = plt.subplots()
    ax.plot(X, Y, color="#E69F00")
    ax.plot(X, Y, color="#56B4E9", label="named")
    handles = [Line2D([], [], color="#E69F00", label="first row"), ax.lines[1]]
    fig.legend(handles=handles)
    (row,) = rows(fig, kind="legend")
    assert (row["series"], row["color"], row["x"]) == ("first row", "#e69f00", "")
    assert {row["series"] for row in rows(fig, color="#e69f00")} == {"line 1", "first row"}


def test_columns_that_nothing_fills_are_left_out_and_nothing_gives_no_table():
    fig, ax = plt.subplots()
    assert as_csv(fig) == ""
    ax.plot([1.0], [2.0], label="a, b", color="black")
    assert as_csv(fig) == 'panel,kind,series,color,x,y\n1,line,"a, b",#000000,1,2\n'


SHOWN = """
import matplotlib.pyplot as plt
from vae_lib.figures import style
style.use()
style.use()
fig, ax = plt.subplots()
ax.plot([0.1, 0.2], [3, 4], label="seen");
"""


def test_a_notebook_shows_it_beside_the_picture(tmp_path: Path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHOWN)])
    path = tmp_path / "shown.ipynb"
    nbformat.write(notebook, path)
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "python3"]
    subprocess.run(
        [*command, str(path), str(path)],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "JUPYTER_PREFER_ENV_PATH": "1"},
        capture_output=True,
    )
    (output,) = nbformat.read(path, as_version=4).cells[-1].outputs
    assert set(output.data) == {"image/svg+xml", "text/plain", MIME}
    assert output.data[MIME] == (
        "panel,kind,series,color,x,y\n1,line,seen,#1f77b4,0.1,3\n1,line,seen,#1f77b4,0.2,4\n"
    )
    assert MIME == FIGURE_DATA, "the pipeline looks for another type"
