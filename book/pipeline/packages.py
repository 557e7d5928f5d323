"""Which versions are installed of the packages that requirements.txt pins."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ABSENT = "absent"
# In requirements.txt, the words of the line below which stands what cannot change an output.
AFTERWARDS = "no output of a chapter depends on what stands below"


def pinned(text: str) -> list[str]:
    """The names in a file of requirements, in order, without versions, comments and options."""
    names = (re.match(r"\s*([A-Za-z0-9][\w.-]*)", line, re.ASCII) for line in text.splitlines())
    return [name[1] for name in names if name]


def installed(requirements: Path) -> dict[str, str]:
    """The version of every package that makes the book, ``absent`` where it is not installed.

    What is pinned and what is installed differ where somebody upgraded a package by hand. Those
    that only read the finished book are left out: adding one must not run every chapter again.
    """
    found = {}
    making, _, _ = requirements.read_text(encoding="utf-8").partition(AFTERWARDS)
    for name in pinned(making):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ABSENT
    return found
