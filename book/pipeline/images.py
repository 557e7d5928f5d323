"""Figures are loaded when a reader comes near them, and are written with fewer digits."""

import re
from collections.abc import Callable
from pathlib import Path

Size = tuple[int, int]

_IMAGE = re.compile(r'<img (?=[^>]*\bsrc="([^"]*_images/[^"]+)")([^>]*?) ?/?>')
_SVG = re.compile(rb'<svg\b[^>]*? width="([0-9.]+)pt" height="([0-9.]+)pt"')
_PX_PER_PT = 4 / 3
_PATH = re.compile(r'(?<= d=")[MLQCz\d\s.+-]*(?=")')
_TOKEN = re.compile(r"[MLQCz]|-?\d+(?:\.\d+)?")
_POINTS = {"M": 1, "L": 1, "Q": 2, "C": 3}
_DIGITS = 2  # a hundredth of a point is a twentieth of a pixel of a fine screen


def svg_size(content: bytes) -> Size | None:
    """Width and height in pixels of an SVG by matplotlib, None where the file does not say it."""
    found = _SVG.search(content)
    if found is None:
        return None
    return round(float(found[1]) * _PX_PER_PT), round(float(found[2]) * _PX_PER_PT)


def _number(value: int) -> str:
    """A whole number of the last digit's units, as short as SVG allows."""
    text = f"{value / 10**_DIGITS:.{_DIGITS}f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0\.", r"\1.", text)


def short_path(path: str) -> str:
    """A path of matplotlib, from point to point instead of from the corner of the figure.

    Every point is rounded before the differences are taken, so that no error adds up.
    """
    tokens, written = iter(_TOKEN.findall(path)), []
    here = start = (0, 0)
    for command in tokens:
        if command == "z":
            written.append("z")
            here = start
            continue
        numbers: list[str] = []
        origin = here
        for _ in range(_POINTS[command]):
            here = (
                round(float(next(tokens)) * 10**_DIGITS),
                round(float(next(tokens)) * 10**_DIGITS),
            )
            numbers += [_number(here[0] - origin[0]), _number(here[1] - origin[1])]
        start = here if command == "M" else start
        written.append(command.lower() + " ".join(numbers).replace(" -", "-"))
    return "".join(written)


def short_svg(figure: str) -> str:
    """A figure of matplotlib with shorter paths and without indentation."""
    return re.sub(r"\n\s+", "\n", _PATH.sub(lambda path: short_path(path[0]), figure))


def lazy(page: str, size_of: Callable[[str], Size | None]) -> str:
    """A page whose figures are loaded late; ``size_of`` takes the address of a figure.

    With the size in the page, nothing jumps when a figure comes.
    """

    def late(match: re.Match[str]) -> str:
        address, attributes = match.groups()
        size = None if re.search(r"\b(width|height|style)=", attributes) else size_of(address)
        place = f' width="{size[0]}" height="{size[1]}"' if size else ""
        return f'<img {attributes}{place} loading="lazy" />'

    return _IMAGE.sub(late, page)


def lighten(html: Path) -> None:
    """Shorten the figures of a built site, and make its pages load them late."""
    for path in html.glob("_images/*.svg"):
        path.write_text(short_svg(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in html.rglob("*.html"):
        folder = path.parent

        def size_of(address: str, folder: Path = folder) -> Size | None:
            figure = folder / address
            return svg_size(figure.read_bytes()) if figure.is_file() else None

        page = path.read_text(encoding="utf-8")
        path.write_text(lazy(page, size_of), encoding="utf-8")
