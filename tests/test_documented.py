"""Every fault that the book lists is proved by a test that exists."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "book" / "faults.md"
FEWEST = 20
_NAME = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows(text: str) -> list[list[str]]:
    """The cells of all tables; a header goes with the line below it."""
    lines = text.splitlines()
    heads = {i - 1 for i, line in enumerate(lines) if line.startswith("|---")}
    found = [line for i, line in enumerate(lines) if line.startswith("| ") and i not in heads]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names of the test functions of a file, which is read and not imported."""
    if not path.is_file():
        return frozenset()
    functions = ast.parse(path.read_text("utf-8")).body
    return frozenset(node.name for node in functions if isinstance(node, ast.FunctionDef))


def problems(text: str) -> list[str]:
    """What is wrong with a page of faults."""
    listed = rows(text)
    found = [] if len(listed) >= FEWEST else [f"only {len(listed)} rows"]
    pairs: Counter = Counter()
    for cells in listed:
        match = _NAME.fullmatch(cells[-1])
        if len(cells) != 3 or not all(cells) or not match:
            found.append(f"no row of a fault, what happens and a test: {cells}")
        elif match[2] not in names_in(REPOSITORY / match[1]):
            found.append(f"there is no {match[1]}::{match[2]}")
        else:
            pairs[cells[0], cells[2]] += 1
    return found + [f"twice: {pair}" for pair, count in pairs.items() if count > 1]


def test_every_fault_has_a_test_that_exists():
    assert problems(PAGE.read_text("utf-8")) == []


HERE = "`tests/test_documented.py::test_every_fault_has_a_test_that_exists`"
GOOD = [f"| Fault {i} | It is said. | {HERE} |" for i in range(FEWEST)]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([GOOD[-1]], []),
        ([], ["only 19 rows"]),
        ([GOOD[0]], ["twice: ('Fault 0'"]),
        ([GOOD[-1].replace("exists", "is_not_there")], ["there is no tests/test_documented.py::"]),
        ([GOOD[-1].replace("documented", "elsewhere")], ["there is no tests/test_elsewhere.py::"]),
        (["| Fault | It is said. | a test |"], ["no row of a fault"]),
        ([f"| Fault | {HERE} |"], ["no row of a fault"]),
        ([f"| | It is said. | {HERE} |"], ["no row of a fault"]),
    ],
)
def test_a_page_with_a_mistake_is_refused(last: list[str], said: list[str]):
    page = "\n".join(
        ["# Faults", "", "| Fault | What | Test |", "|---|---|---|", *GOOD[:-1], *last]
    )
    found = problems(page)
    assert len(found) == len(said)
    for words, problem in zip(said, found, strict=True):
        assert problem.startswith(words)
