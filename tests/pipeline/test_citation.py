"""The BibTeX of the pages is that of CITATION.cff, and BibTeX can read it."""

import pytest
import yaml
from pybtex.database import BibliographyData, parse_string

from book.pipeline.citation import as_markdown, entries, entry
from book.pipeline.layout import Layout, UsageError
from tests.pipeline.conftest import REPOSITORY, Book


def read(text: str) -> BibliographyData:
    return parse_string(text, "bibtex")


def test_the_books_own_file_becomes_two_entries() -> None:
    record = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    found = read("\n".join(entries(Layout(REPOSITORY)))).entries
    book, paper = found["dont-blame-the-elbo"], found["lucas2019"]
    assert len(found) == 2
    assert book.fields["title"] == f"{{{record['title']}}}"
    assert [str(person) for person in book.persons["author"]] == [
        f"{{{record['authors'][0]['name']}}}"
    ]
    (cited,) = record["references"]
    names = [f"{one['family-names']}, {one['given-names']}" for one in cited["authors"]]
    assert [str(person) for person in paper.persons["author"]] == names
    assert paper.type == "inproceedings"
    assert dict(paper.fields) == {
        "title": f"{{{cited['title']}}}",
        "booktitle": cited["collection-title"],
        "volume": "32",
        "year": "2019",
        "eprint": "1911.02469",
        "archiveprefix": "arXiv",
        "url": cited["url"],
    }


def test_fields_of_a_release_and_special_characters() -> None:
    record = {
        "type": "article",
        "title": "100 % of {x_1} & #\n  more",
        "authors": [
            {"family-names": "Ångström", "name-particle": "von", "given-names": "A."},
            {"name": "The R&D group"},
        ],
        "journal": "J",
        "date-released": "2026-01-02",
        "version": "1.0.0",
        "doi": "10.1/a_b",
        "start": 3,
        "end": 9,
        "repository-code": "https://example.org/a",
    }
    found = read(entry(record)).entries["angstrom2026"]
    assert found.fields["title"] == r"{100 \% of \{x\_1\} \& \# more}"
    assert found.fields["pages"] == "3--9"
    assert found.fields["journal"] == "J"
    assert found.fields["year"] == "2026"
    assert found.fields["doi"] == "10.1/a_b"
    assert found.fields["url"] == "https://example.org/a"
    first, second = found.persons["author"]
    assert (first.prelast_names, first.last_names) == (["von"], ["Ångström"])
    assert str(second) == r"{The R\&D group}"


@pytest.mark.parametrize(
    "text", ["title: Only\n", "- a\n", "title: a\nauthors: []\n", "authors: [{name: x}]\n", "a: ["]
)
def test_what_is_no_citation_is_refused(tiny: Book, text: str) -> None:
    tiny.write("CITATION.cff", text)
    with pytest.raises(UsageError, match=r"CITATION\.cff"):
        entries(tiny.layout)


def test_without_a_file_there_is_nothing(tiny: Book) -> None:
    assert entries(tiny.layout) == []


def test_no_text_ends_the_box() -> None:
    lines = as_markdown(["@misc{a,\n  title = {```},\n}"]).splitlines()
    assert lines[1] == "````bibtex"
    assert lines[-2:] == ["````", ":::"]
