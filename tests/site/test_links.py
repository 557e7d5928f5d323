"""Every link and every reference to a file within the site leads somewhere."""

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from tests.site.built import all_html


@dataclass
class _Document(HTMLParser):
    """The anchors of a document, and what it refers to."""

    anchors: set[str] = field(default_factory=set)
    references: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name == "id" or (name == "name" and tag == "a")):
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.references.append(value)


@cache
def parsed(path: Path) -> _Document:
    document = _Document()
    document.feed(path.read_text())
    return document


def broken_reference(site: Path, page: str, reference: str) -> str | None:
    """What is wrong with a reference on a page; None where it resolves or leads outside."""
    base = "https://book.invalid/"
    target = urlsplit(urljoin(base + page, reference))
    if target.scheme not in ("http", "https") or target.netloc != "book.invalid":
        return None
    path = site / unquote(target.path).lstrip("/")
    path = path / "index.html" if path.is_dir() else path
    if not path.is_file():
        return f"{reference}: no such file"
    anchor = unquote(target.fragment)
    if anchor and path.suffix == ".html" and anchor not in parsed(path).anchors:
        return f"{reference}: no such anchor"
    return None


def test_links_and_anchors_resolve(book_page: str, site: Path):
    references = parsed(site / book_page).references
    assert references
    problems = (broken_reference(site, book_page, reference) for reference in references)
    assert sorted({problem for problem in problems if problem}) == []


def test_generated_pages_link_to_what_exists(site: Path):
    for page in all_html(site):
        problems = (broken_reference(site, page, link) for link in parsed(site / page).references)
        assert not {problem for problem in problems if problem}, page
