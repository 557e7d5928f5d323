"""The picture of the README is the one of the opening page."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
_NUMBER = re.compile(r"-?\d*\.\d+|-?\d+")
_NAMES = re.compile(r'"#?\w+"|url\(#\w+\)')  # of parts, which are checksums of what they draw


def test_the_picture_of_the_readme_is_that_of_the_opening_page(site: Path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"!\[([^\]]+)\]\(([^)]+\.svg)\)", readme)
    page = BeautifulSoup((site / "book/intro.html").read_text(encoding="utf-8"), "html.parser")
    figure = page.select_one("figure img")
    assert figure is not None
    assert shown[0] == figure["alt"]
    drawn = (site / "book" / str(figure["src"])).read_text(encoding="utf-8")
    copied = (ROOT / shown[1]).read_text(encoding="utf-8")
    drawn, copied = (_NAMES.sub("", text.partition("</metadata>")[2]) for text in (drawn, copied))
    assert _NUMBER.sub("", copied) == _NUMBER.sub("", drawn)
    # Another processor rounds otherwise, by which a point moves by a hundredth.
    numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (copied, drawn)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.05)
