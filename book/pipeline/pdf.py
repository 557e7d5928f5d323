"""The whole book as one PDF: each built page printed by Chromium, then merged.

The pages are printed from their files, with their print style; what a link within the book leads
to is found again among the merged pages.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from book.pipeline.chapters import pages, read_yaml
from book.pipeline.layout import BuildError, Layout
from vae_lib.files import write_whole

if TYPE_CHECKING:  # both take long to import, and only this command needs them
    from playwright.sync_api import Page
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import ArrayObject

PIXEL = 25.4 / 96  # millimetres of a CSS pixel
MARGINS = {"top": 15.0, "bottom": 18.0, "left": 18.0, "right": 18.0}  # millimetres
A4 = (210.0, 297.0)
SCALE = 0.8  # text of 16 pixels then has 9.6 points
# As wide as the text of a page on paper: figures that are drawn by scripts then fit it.
VIEWPORT = {
    "width": int((A4[0] - MARGINS["left"] - MARGINS["right"]) / PIXEL / SCALE),
    "height": 900,
}
WAIT_MS = 30_000
DRAWN_MS = 120_000  # surfaces are drawn by the processor, which may be busy
_PAPER = {
    "format": "A4",
    "print_background": True,
    "margin": {side: f"{width}mm" for side, width in MARGINS.items()},
}
_NUMBER = (
    '<div style="font: 8pt sans-serif; color: #555; width: 100%; text-align: center">'
    '<span class="pageNumber"></span></div>'
)
# Formulas, fonts, lazy pictures and plots are all there, or an error says which are not. Playwright
# sets no limit to the time that a script takes.
_COMPLETE = """
async (milliseconds) => {
  let waitsFor = "its fonts", late = false;
  const deadline = new Promise((_, reject) => setTimeout(() => {
    late = true;
    reject(new Error(`${waitsFor} were not there after ${milliseconds / 1000} seconds`));
  }, milliseconds));
  const complete = async () => {
    document.querySelectorAll("img[loading=lazy]").forEach((image) => { image.loading = "eager"; });
    await document.fonts.ready;
    waitsFor = "its pictures";
    await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
    waitsFor = "its plots";
    const drawn = (plot) => plot.querySelector(".main-svg") !== null;
    while (!late && ![...document.querySelectorAll(".js-plotly-plot")].every(drawn)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await Promise.race([complete(), deadline]);
}
"""
_TITLE = """
() => {
  const heading = document.querySelector("article h1").cloneNode(true);
  heading.querySelectorAll(".headerlink").forEach((link) => link.remove());
  return heading.textContent.replace(/\\s+/g, " ").trim();
}
"""
_LINKS = "() => [...document.querySelectorAll('article a[href*=\"#\"]')].map((link) => link.href)"
# Chromium names those places only that the page itself links to. So each place that another page
# means gets a link here too, an empty box, which `_relink` leaves out again.
_NAME_PLACES = """
(names) => {
  const boxes = names.filter((name) => document.getElementById(name)).map((name) => {
    const link = document.createElement("a");
    link.href = "#" + encodeURIComponent(name);
    link.style = "display: inline-block; width: 1px; height: 1px";
    return link;
  });
  document.querySelector("article").append(...boxes);
}
"""
_EMPTY_BOX = 2.0  # points; a link of text is higher


@dataclass(frozen=True)
class Printed:
    """One page of the book on paper."""

    path: Path
    title: str
    content: bytes


def html_pages(layout: Layout) -> list[Path]:
    """The built pages in the order of the table of contents.

    Raises:
        BuildError: a page is not built.
    """
    found = [
        layout.html / source.relative_to(layout.root).with_suffix(".html")
        for source in pages(layout)
    ]
    missing = [layout.shown(path) for path in found if not path.is_file()]
    if missing:
        raise BuildError(f"these pages are not built yet: {', '.join(missing)}; run 'make book'")
    return found


def linked_places(page: "Page", paths: Iterable[Path]) -> dict[Path, set[str]]:
    """For each file the names of the places in it that some page links to."""
    places: dict[Path, set[str]] = {}
    for path in paths:
        page.goto(path.resolve().as_uri(), wait_until="domcontentloaded")
        for link in page.evaluate(_LINKS):
            address = urlsplit(link)
            if address.scheme == "file":
                file = Path(unquote(address.path)).resolve()
                places.setdefault(file, set()).add(unquote(address.fragment))
    return places


def print_page(page: "Page", path: Path, places: Iterable[str]) -> Printed:
    """Print a built page, once all that it shows is drawn, with names for some places in it.

    Raises:
        BuildError: it is not drawn in time, or cannot be printed for another reason.
    """
    from playwright.sync_api import Error

    try:
        page.goto(path.resolve().as_uri())
        page.evaluate(_COMPLETE, DRAWN_MS)
        page.evaluate(_NAME_PLACES, sorted(places))
        return Printed(path, page.evaluate(_TITLE), page.pdf(scale=SCALE, **_PAPER))
    except Error as error:
        reason = error.message.partition("\n")[0]
        raise BuildError(f"{path.name} could not be printed: {reason}") from None


def print_numbers(page: "Page", count: int) -> bytes:
    """As many empty pages with nothing but their numbers: Chromium counts one document only."""
    page.set_content('<div style="break-after: page">&nbsp;</div>' * (count - 1) + "&nbsp;")
    return page.pdf(
        **_PAPER, display_header_footer=True, header_template="<i></i>", footer_template=_NUMBER
    )


def _printed_pages(paths: Sequence[Path]) -> tuple[list[Printed], bytes]:
    """Every page on paper, and a document with the numbers to put on them."""
    from playwright.sync_api import Error, sync_playwright

    from book.pipeline.chromium import NoChromium, launch

    try:
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(
                viewport=VIEWPORT, color_scheme="light", reduced_motion="reduce"
            )
            page.set_default_timeout(WAIT_MS)
            places, printed = linked_places(page, paths), []
            for path in paths:
                print(f"Printing {path.name} ...", flush=True)
                printed.append(print_page(page, path, places.get(path.resolve(), ())))
            count = sum(map(number_of_pages, printed))
            return printed, print_numbers(page, count)
    except NoChromium as error:
        raise BuildError(f"the PDF needs a browser: {error}") from None
    except Error as error:
        raise BuildError(f"a page could not be printed: {error.message}") from None


def _reader(content: bytes) -> "PdfReader":
    from pypdf import PdfReader

    return PdfReader(io.BytesIO(content))


def number_of_pages(printed: Printed) -> int:
    return len(_reader(printed.content).pages)


@dataclass(frozen=True)
class Targets:
    """Where in the merged book each built page begins, and where its anchors are."""

    starts: Mapping[Path, int]
    anchors: Mapping[tuple[Path, str], tuple[int, float | None]]  # page, height

    def find(self, path: Path, anchor: str) -> tuple[int, float | None] | None:
        """The place of an anchor, or else of the page that it is on; None outside of the book."""
        if path not in self.starts:
            return None
        return self.anchors.get((path, anchor), (self.starts[path], None))


def find_targets(printed: Iterable[Printed]) -> Targets:
    starts: dict[Path, int] = {}
    anchors: dict[tuple[Path, str], tuple[int, float | None]] = {}
    start = 0
    for one in printed:
        path, reader = one.path.resolve(), _reader(one.content)
        starts[path] = start
        for name, destination in reader.named_destinations.items():
            number = reader.get_destination_page_number(destination)
            if number is not None and number >= 0:
                top = None if destination.top is None else float(destination.top)
                anchors[path, unquote(name.lstrip("/"))] = (start + number, top)
        start += len(reader.pages)
    return Targets(starts, anchors)


def _destination(writer: "PdfWriter", place: tuple[int, float | None]) -> "ArrayObject":
    from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

    number, top = place
    height = NullObject() if top is None else FloatObject(top)
    reference = writer.pages[number].indirect_reference
    return ArrayObject([reference, NameObject("/XYZ"), NullObject(), height, NullObject()])


def _leads_to(annotation: Any, path: Path) -> tuple[Path, str] | None:
    """The file and the anchor that a link means; None where it leads to the outside."""
    if "/Dest" in annotation:
        named = annotation["/Dest"]
        return (path, unquote(str(named).lstrip("/"))) if isinstance(named, str) else None
    address = urlsplit(str(annotation.get("/A", {}).get("/URI", "")))
    if address.scheme != "file":
        return None
    return Path(unquote(address.path)).resolve(), unquote(address.fragment)


def _relink(writer: "PdfWriter", number: int, path: Path, targets: Targets) -> None:
    """Point the links of a merged page to merged pages; drop those to files beside the book."""
    from pypdf.generic import ArrayObject, NameObject

    page = writer.pages[number]
    kept = ArrayObject()
    for reference in page.get("/Annots", []):
        annotation = reference.get_object()
        _, bottom, _, top = annotation["/Rect"]
        if abs(top - bottom) < _EMPTY_BOX:
            continue
        meant = _leads_to(annotation, path)
        if meant is not None:
            place = targets.find(*meant)
            if place is None:
                continue
            annotation.pop("/A", None)
            annotation[NameObject("/Dest")] = _destination(writer, place)
        kept.append(reference)
    if "/Annots" in page:
        page[NameObject("/Annots")] = kept


def merge(printed: list[Printed], numbers: bytes, metadata: Mapping[str, str]) -> bytes:
    """One document: all pages in order, numbered, with an outline and links that lead within it."""
    from pypdf import PdfWriter

    writer = PdfWriter()
    targets = find_targets(printed)
    for one in printed:
        # Without their names, which may be the same on two pages; `_relink` resolves them.
        for page in _reader(one.content).pages:
            writer.add_page(page)
        writer.add_outline_item(title=one.title, page_number=targets.starts[one.path.resolve()])
    owner = dict(sorted((start, path) for path, start in targets.starts.items()))
    path = printed[0].path
    for number, (page, stamp) in enumerate(zip(writer.pages, _reader(numbers).pages, strict=True)):
        path = owner.get(number, path)
        _relink(writer, number, path, targets)
        page.merge_page(stamp)
        page.compress_content_streams()  # merging leaves them three times as large
    writer.compress_identical_objects()
    writer.add_metadata({f"/{name}": value for name, value in metadata.items()})
    writer.page_mode = "/UseOutlines"
    content = io.BytesIO()
    writer.write(content)
    return content.getvalue()


def write_pdf(layout: Layout, paths: list[Path] | None = None) -> Path:
    """Print the built book, or some of its pages, to ``_build/book.pdf``; returns where it is."""
    config = read_yaml(layout, layout.root / "_config.yml")
    printed, numbers = _printed_pages(paths or html_pages(layout))
    metadata = {"Title": str(config["title"])}
    if "author" in config:
        metadata["Author"] = str(config["author"])
    content = merge(printed, numbers, metadata)
    write_whole(layout.pdf, lambda file: file.write(content))
    return layout.pdf
