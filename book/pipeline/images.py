"""Figures are loaded when a reader comes near them, and keep their place until then."""

import re
from collections.abc import Callable
from pathlib import Path

Size = tuple[int, int]

_IMAGE = re.compile(r'<img (?=[^>]*\bsrc="([^"]*_images/[^"]+)")([^>]*?) ?/?>')
_SVG = re.compile(rb'<svg\b[^>]*? width="([0-9.]+)pt" height="([0-9.]+)pt"')
_PX_PER_PT = 4 / 3


def svg_size(content: bytes) -> Size | None:
    """Width and height in pixels of an SVG by matplotlib, None where the file does not say it."""
    found = _SVG.search(content)
    if found is None:
        return None
    return round(float(found[1]) * _PX_PER_PT), round(float(found[2]) * _PX_PER_PT)


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


def load_late(html: Path) -> None:
    """Make all pages of a built site load their figures late."""
    for path in html.rglob("*.html"):
        folder = path.parent

        def size_of(address: str, folder: Path = folder) -> Size | None:
            figure = folder / address
            return svg_size(figure.read_bytes()) if figure.is_file() else None

        page = path.read_text(encoding="utf-8")
        path.write_text(lazy(page, size_of), encoding="utf-8")
