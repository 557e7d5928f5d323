"""Every name that the page of notation gives is a name of the library."""

import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from tests.test_documented import rows

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "book" / "notation.md"
FEWEST = 40
IN_CODE = 2  # the third column


@cache
def words_of_the_library() -> frozenset[str]:
    files = sorted((REPOSITORY / "vae_lib").rglob("*.py"))
    return frozenset(word for path in files for word in re.findall(r"\w+", path.read_text("utf-8")))


def exists(name: str) -> bool:
    """Whether ``module.attribute`` can be had, or a plain name occurs in the library."""
    module, dot, attributes = name.partition(".")
    if not dot:
        return name in words_of_the_library()
    try:
        found = importlib.import_module(f"vae_lib.{module}")
    except ModuleNotFoundError:
        return False
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


def names(text: str) -> list[str]:
    return [name for cells in rows(text) for name in re.findall(r"`([^`]+)`", cells[IN_CODE])]


def test_every_name_exists():
    listed = names(PAGE.read_text("utf-8"))
    assert len(listed) >= FEWEST
    assert [name for name in listed if not exists(name)] == []


def test_every_symbol_says_where_it_is_introduced():
    listed = rows(PAGE.read_text("utf-8"))
    assert [cells for cells in listed if len(cells) != 4 or "{" not in cells[3]] == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("sigma_sq", True),
        ("ppca.log_likelihood", True),
        ("vae.GaussianVAE.encode", True),
        ("sigma_squared", False),
        ("ppca.log_likelyhood", False),
        ("nowhere.log_likelihood", False),
    ],
)
def test_a_name_that_is_not_there_is_noticed(name: str, there: bool):
    assert exists(name) is there
