"""What a figure shows, as a table: the same for every figure, read from what Matplotlib drew.

One row is one point. Columns that no row fills are left out; ``kind`` says what a row means:

    line, points       x, y; for points coloured by a value, that value in z
    level              a straight line across the panel: x or y alone
    band               a filled area: at x it reaches from low to high
    error bar          around x and y: from low to high, and from x_low to x_high
    bar                x is its centre, and it reaches from low to high
    image, mesh        z at the centre of each cell
    surface            x, y, z
    contour            a line of height z, where areas between two heights meet as well
    outline            any other filled shape
    text               words at x, y, in the column series
    legend             a name and its color, where no series bears the name
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import (
    Collection,
    FillBetweenPolyCollection,
    LineCollection,
    PathCollection,
    QuadMesh,
)
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

MIME = "application/vnd.vae-lib.figure-data"
# Values of images and meshes that a figure's table holds. With more it holds none of them: half
# of a row of pictures is of no use, and all of it would be larger than the page.
LARGEST = 20_000

WHERE = ("panel", "panel_title", "kind", "series", "color")
VALUES = ("x", "y", "z", "low", "high", "x_low", "x_high")
LABELS = ("x_label", "y_label", "z_label")

Row = dict[str, Any]


def as_csv(figure: Figure) -> str:
    """The table of a figure; empty where it shows nothing that can be tabulated.

    Numbers are written with as many digits as tell them from their neighbours, so reading them
    gives back what was plotted. Images in colours are pictures and have no rows.
    """
    rows = list(_rows(figure))
    if sum(row["kind"] in ("image", "mesh") for row in rows) > LARGEST:
        rows = [row for row in rows if row["kind"] not in ("image", "mesh")]
    return written(rows)


def written(rows: Sequence[Row]) -> str:
    """The table of these rows; empty where they hold no values."""
    if not any(name in row for row in rows for name in VALUES):
        return ""
    used = {name for row in rows for name, value in row.items() if value != ""}
    columns = [name for name in (*WHERE, *VALUES, *LABELS) if name in used]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


@cache
def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _one_line(value)
    number = float(value)
    return repr(number).removesuffix(".0") if math.isfinite(number) else ""


def _rows(figure: Figure) -> Iterator[Row]:
    panels = [ax for ax in _all_axes(figure.axes) if not hasattr(ax, "_colorbar")]
    named: set[str] = set()
    for number, ax in enumerate(panels, start=1):
        title = " ".join(filter(None, (ax.get_title(loc) for loc in ("left", "center", "right"))))
        labels = {"x_label": _label(ax, "x"), "y_label": _label(ax, "y")}
        for row in _of_axes(ax):
            named.add(row["series"])
            z_label = row.pop("z_label", "")
            yield {"panel": str(number), "panel_title": title, **row, **labels, "z_label": z_label}
    for legend in _legends(figure, panels):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            name = text.get_text()
            if name not in named:
                named.add(name)
                yield {"kind": "legend", "series": name, "color": _color(handle)}


def _all_axes(axes: Iterable[Axes]) -> Iterator[Axes]:
    for ax in axes:
        yield ax
        yield from _all_axes(ax.child_axes)


def _legends(figure: Figure, panels: Sequence[Axes]) -> list[Legend]:
    own = (ax.get_legend() for ax in panels)
    return [legend for legend in (*own, *figure.legends) if legend is not None]


def _label(ax: Axes, axis: str) -> str:
    """An axis's label; panels that share an axis often have it once, and so may the figure."""
    figure = ax.get_figure(root=True)
    shared = {"x": ax.get_shared_x_axes, "y": ax.get_shared_y_axes}[axis]().get_siblings(ax)
    found = (getattr(one, f"get_{axis}label")() for one in (ax, *figure.axes) if one in shared)
    return next(filter(None, found), getattr(figure, f"get_sup{axis}label")())


def _of_axes(ax: Axes) -> Iterator[Row]:
    """The rows of one panel: containers first, then what is in none, in the order of drawing."""
    done: set[int] = set()
    for container in ax.containers:
        if isinstance(container, BarContainer):
            rows = _bars(container)
        elif isinstance(container, ErrorbarContainer):
            rows = _error_bars(container)
        else:
            continue
        name = _name(container, f"{container.__class__.__name__} {len(done) + 1}")
        done |= {id(part) for part in _parts(container)}
        yield from ({"series": name, **row} for row in rows)
    counts: dict[str, int] = {}
    for artist in (*ax.lines, *ax.collections, *ax.images, *ax.texts):
        if id(artist) in done or not artist.get_visible():
            continue
        rows = list(_of_artist(artist, ax))
        if not rows:
            continue
        kind = rows[0]["kind"]
        counts[kind] = counts.get(kind, 0) + 1
        name = _name(artist, f"{kind} {counts[kind]}")
        color, z_label = _color(artist), _z_label(artist, ax)
        for row in rows:
            yield {"series": name, "color": color, "z_label": z_label, **row}


def _parts(container: Any) -> Iterator[Artist]:
    """The artists of a container; those of error bars are nested."""
    for part in container:
        if isinstance(part, tuple):
            yield from part
        elif part is not None:
            yield part


def _name(artist: Any, otherwise: str) -> str:
    label = str(artist.get_label() or "")
    return otherwise if not label or label.startswith("_") else label


def _color(artist: Any) -> str:
    """The color of a series, which joins those with a name to those without; empty for many."""
    for way in ("get_color", "get_facecolor", "get_edgecolor"):
        # A hollow marker of a scatter has no face but an edge.
        colors = getattr(artist, way, tuple)()
        if isinstance(colors, str):
            return to_hex(colors)
        colors = np.atleast_2d(np.asarray(colors, dtype=float))
        if colors.size and (colors == colors[0]).all():
            return to_hex(colors[0])
    return ""


def _z_label(artist: Any, ax: Axes) -> str:
    bar = getattr(artist, "colorbar", None)
    if bar is not None:
        return bar.ax.get_ylabel() or bar.ax.get_xlabel()
    return ax.get_zlabel() if hasattr(ax, "get_zlabel") else ""


def _of_artist(artist: Artist, ax: Axes) -> Iterable[Row]:
    """The rows of one artist, without those columns that all of its rows share."""
    if isinstance(artist, Line2D):
        return _line(artist, ax)
    if isinstance(artist, AxesImage):
        return _image(artist)
    if isinstance(artist, Collection):
        if hasattr(ax, "get_zlim"):
            return _surface(artist)
        return _collection(artist, ax)
    return _text(artist, ax)


def _points(kind: str, points: np.ndarray) -> Iterator[Row]:
    """Rows of points (N, 2) or (N, 3), as numbers of Python: they are written much faster."""
    names = "xyz"[: points.shape[1]]
    return ({"kind": kind, **dict(zip(names, p, strict=True))} for p in points.tolist())


def _line(line: Line2D, ax: Axes) -> Iterable[Row]:
    if hasattr(line, "get_data_3d"):
        return _points("line", np.column_stack(line.get_data_3d()))
    in_x, in_y = line.get_transform().contains_branch_separately(ax.transData)
    points = line.get_xydata()
    if in_x and in_y:
        drawn = line.get_linestyle() not in ("None", "none", " ", "")
        return _points("line" if drawn else "points", points)
    # axhline and axvline: the other coordinate only says that the line crosses the panel.
    if in_y:
        return [{"kind": "level", "y": points[0, 1]}]
    return [{"kind": "level", "x": points[0, 0]}] if in_x else []


def _filled(array: Any) -> np.ndarray:
    """An array of floats; where it is masked it is not a number."""
    return np.ma.filled(np.ma.asarray(array).astype(float), np.nan)


def _image(image: AxesImage) -> Iterable[Row]:
    values = image.get_array()
    if values is None or values.ndim != 2:
        return []
    height, width = values.shape
    left, right, bottom, top = image.get_extent()
    first, last = (bottom, top) if image.origin == "lower" else (top, bottom)
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = first + (np.arange(height) + 0.5) * (last - first) / height
    return _grid("image", *np.meshgrid(x, y), _filled(values))


def _grid(kind: str, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Iterator[Row]:
    return _points(kind, np.c_[x.ravel(), y.ravel(), z.ravel()])


def _collection(collection: Collection, ax: Axes) -> Iterable[Row]:
    if isinstance(collection, QuadMesh):
        corners = _filled(collection.get_coordinates())
        middle = (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:]) / 4
        values = _filled(collection.get_array())
        if values.size == middle[..., 0].size:
            return _grid("mesh", middle[..., 0], middle[..., 1], values)
        return _grid("mesh", corners[..., 0], corners[..., 1], values)  # shaded between corners
    if isinstance(collection, ContourSet):
        return _contours(collection)
    if isinstance(collection, PathCollection):
        if not all(collection.get_offset_transform().contains_branch_separately(ax.transData)):
            return []
        places, values = _filled(collection.get_offsets()), collection.get_array()
        return _points("points", places if values is None else np.c_[places, _filled(values)])
    if not all(collection.get_transform().contains_branch_separately(ax.transData)):
        return []
    if isinstance(collection, FillBetweenPolyCollection):
        return _band(collection)
    kind = "line" if isinstance(collection, LineCollection) else "outline"
    return (row for path in collection.get_paths() for row in _points(kind, path.vertices))


def _band(band: FillBetweenPolyCollection) -> Iterator[Row]:
    """The lowest and the highest point at each place; the polygon goes there and back."""
    ends: dict[float, list[float]] = {}
    along = 0 if band.t_direction == "x" else 1
    for path in band.get_paths():
        for vertex in path.vertices:
            ends.setdefault(float(vertex[along]), []).append(float(vertex[1 - along]))
    names = ("x", "low", "high") if along == 0 else ("y", "x_low", "x_high")
    for place in sorted(ends):
        values = (place, min(ends[place]), max(ends[place]))
        yield {"kind": "band", **dict(zip(names, values, strict=True))}


def _contours(contours: ContourSet) -> Iterable[Row]:
    """The lines at all levels, filled or not; Matplotlib does not keep the array behind them.

    The borders of filled areas are these lines too, but each would come twice.
    """
    finder = contours._contour_generator
    if finder is None:  # the lines were given, not found
        paths = contours.get_paths()
        return (row for path in paths for row in _points("outline", path.vertices))
    return (
        {**row, "z": level}
        for level in contours.levels
        for line in finder.lines(level)[0]
        for row in _points("contour", line)
    )


def _surface(collection: Any) -> Iterable[Row]:
    """The corners of the faces of a surface, each once; points in space as they are."""
    if hasattr(collection, "_offsets3d"):
        return _points("points", np.column_stack([_filled(c) for c in collection._offsets3d]))
    faces = getattr(collection, "_faces", None)
    if faces is None:
        return []
    corners = _filled(faces).reshape(-1, 3)
    return _points("surface", np.unique(corners[np.isfinite(corners).all(1)], axis=0))


def _bars(bars: BarContainer) -> Iterator[Row]:
    for bar in bars:
        box = bar.get_bbox()
        across = bars.orientation == "horizontal"
        ends = ("y", "x_low", "x_high") if across else ("x", "low", "high")
        middle = (box.y0 + box.y1) / 2 if across else (box.x0 + box.x1) / 2
        span = (box.xmin, box.xmax) if across else (box.ymin, box.ymax)
        values = dict(zip(ends, (middle, *span), strict=True))
        yield {"kind": "bar", "color": _color(bar), **values}


def _error_bars(container: ErrorbarContainer) -> Iterator[Row]:
    line, _, bars = container
    found = [[path.vertices for path in one.get_paths()] for one in bars]
    color = _color(line if line is not None else bars[0])
    spans = {}  # those along x come first
    if container.has_xerr:
        spans["x_low", "x_high", 0] = found[0]
    if container.has_yerr:
        spans["low", "high", 1] = found[-1]
    for number in range(len(found[0])):
        row: Row = {"kind": "error bar", "color": color}
        for (low, high, axis), segments in spans.items():
            ends = segments[number]
            row[low], row[high] = ends[:, axis].min(), ends[:, axis].max()
            row["yx"[axis]] = ends[0, 1 - axis]
        if line is not None:
            row["x"], row["y"] = line.get_xydata()[number]
        yield row


def _text(text: Any, ax: Axes) -> Iterable[Row]:
    """Words beside a place of the data. Where nothing ties them to a place they have none."""
    words = text.get_text()
    if not words:
        return []
    if hasattr(text, "xyann"):
        tied, place = text.xycoords == "data", text.xy
    else:
        tied = all(text.get_transform().contains_branch_separately(ax.transData))
        place = text.get_position()
    return [{"kind": "text", "series": words, "x": place[0], "y": place[1]}] if tied else []


def show_with_figures() -> None:
    """From now on the display of a figure carries its table too, as an output of type `MIME`.

    Does nothing outside IPython.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.mimebundle_formatter.for_type(Figure, _bundle)


def _bundle(figure: Figure) -> dict[str, str]:
    table = as_csv(figure)
    return {MIME: table} if table else {}
