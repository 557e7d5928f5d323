"""Which versions are installed of the packages that requirements.txt pins."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ABSENT = "absent"


def pinned(text: str) -> list[str]:
    """The names in a file of requirements, in order, without versions, comments and options."""
    names = (re.match(r"\s*([A-Za-z0-9][\w.-]*)", line, re.ASCII) for line in text.splitlines())
    return [name[1] for name in names if name]


def installed(requirements: Path) -> dict[str, str]:
    """The version of every pinned package as it is installed, ``absent`` where it is not.

    What is pinned and what is installed differ where somebody upgraded a package by hand.
    """
    found = {}
    for name in pinned(requirements.read_text(encoding="utf-8")):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ABSENT
    return found
