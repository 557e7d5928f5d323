"""Rendered pages are put right where Sphinx's HTML misleads a screen reader, and only there."""

from pathlib import Path

from book.pipeline.accessible import accessible, make_accessible

LIST = '<div role="list" class="citation-list"><div id="a" role="{}">Å</div></div>\r\n'


def test_entries_of_the_bibliography_are_items_of_its_list() -> None:
    assert accessible(LIST.format("doc-biblioentry")) == LIST.format("listitem")


def test_all_else_stays_byte_for_byte(tmp_path: Path) -> None:
    other = LIST.format("note").encode()
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.html").write_bytes(other)
    (tmp_path / "b.html").write_bytes(LIST.format("doc-biblioentry").encode())
    (tmp_path / "c.txt").write_text("doc-biblioentry")
    make_accessible(tmp_path)
    assert (tmp_path / "book" / "a.html").read_bytes() == other
    assert (tmp_path / "b.html").read_bytes() == LIST.format("listitem").encode()
    assert (tmp_path / "c.txt").read_text() == "doc-biblioentry"
