"""How to cite the book: BibTeX, made from CITATION.cff, so that there is one place to change."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from book.pipeline.chapters import read_yaml
from book.pipeline.layout import Layout, UsageError

FILE = "CITATION.cff"
# Type of a reference -> its entry in BibTeX, and what the collection is called there.
TYPES = {
    "conference-paper": ("inproceedings", "booktitle"),
    "article": ("article", "journal"),
    "book": ("book", "series"),
}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}


def _escaped(value: Any) -> str:
    """A text on one line, as BibTeX and LaTeX read it."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(str(value).split()))


def _plain(text: str) -> str:
    """The letters and digits of a text, for a key: lower case and without accents."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters.replace("'", "")).strip("-")


def _author(author: Mapping[str, Any]) -> str:
    """One author; the name of an organisation is braced, because it has no family name."""
    if "family-names" in author:
        parts = (author.get("name-particle"), author["family-names"], author.get("name-suffix"))
        *rest, given = (*filter(None, parts), author.get("given-names"))
        return _escaped(" ".join(rest) + (f", {given}" if given else ""))
    return f"{{{_escaped(author['name'])}}}"


def _key(record: Mapping[str, Any], year: str) -> str:
    family = record["authors"][0].get("family-names")
    if family and year:
        return _plain(f"{family}{year}")
    return _plain(re.split(r"[!?:.]", str(record["title"]))[0])


def _arxiv(record: Mapping[str, Any]) -> str | None:
    values = (str(identifier.get("value", "")) for identifier in record.get("identifiers", []))
    found = (re.fullmatch(r"arxiv:(\S+)", value, re.IGNORECASE) for value in values)
    return next((match[1] for match in found if match), None)


def entry(record: Mapping[str, Any]) -> str:
    """A record of the Citation File Format as BibTeX; KeyError where it lacks what is required."""
    kind, collection = TYPES.get(str(record.get("type")), ("misc", "howpublished"))
    released = str(record.get("date-released", ""))
    year = str(record.get("year") or released[:4])
    arxiv = _arxiv(record)
    fields = {
        "author": " and ".join(map(_author, record["authors"])),
        "title": f"{{{_escaped(record['title'])}}}",  # the inner braces keep its capitals
        collection: _escaped(record.get("journal") or record.get("collection-title") or ""),
        "volume": _escaped(record.get("volume", "")),
        "pages": "--".join(str(record[end]) for end in ("start", "end") if end in record),
        "year": _escaped(year),
        "version": _escaped(record.get("version", "")),
        "doi": str(record.get("doi", "")),
        "eprint": arxiv or "",
        "archiveprefix": "arXiv" if arxiv else "",
        "url": str(record.get("url") or record.get("repository-code") or ""),
    }
    given = {name: text for name, text in fields.items() if text}
    width = max(map(len, given))
    lines = [f"  {name:<{width}} = {{{text}}}," for name, text in given.items()]
    return "\n".join([f"@{kind}{{{_key(record, year)},", *lines, "}"])


def entries(layout: Layout) -> list[str]:
    """The book and the works that its citation file refers to; empty where there is no file.

    Raises UsageError where the file is no citation.
    """
    path = layout.root / FILE
    if not path.is_file():
        return []
    record = read_yaml(layout, path)
    try:
        return [entry(one) for one in (record, *record.get("references", []))]
    except (AttributeError, KeyError, IndexError, TypeError) as reason:
        raise UsageError(f"{FILE} is not a citation: {reason!r}") from None


def as_markdown(found: Iterable[str]) -> str:
    """The entries as a box that is folded until it is opened; its code can be copied."""
    text = "\n\n".join(found)
    fence = "```"
    while fence in text:
        fence += "`"
    return f":::{{dropdown}} Cite this book\n{fence}bibtex\n{text}\n{fence}\n:::"
