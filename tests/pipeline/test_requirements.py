"""The two files of packages: what is needed, and everything that comes with it."""

import re

from book.pipeline.packages import pinned
from tests.pipeline.conftest import REPOSITORY

PIN = re.compile(r"[A-Za-z0-9][\w.-]*==[0-9][\w.]*")  # no local version, which no index has


def pins(name: str) -> dict[str, str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(PIN.fullmatch(line) for line in lines)
    assert len(pinned(text)) == len(lines)
    split = (line.split("==") for line in lines)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in split}


def test_constraints_hold_all_that_is_required_and_more():
    required, constrained = pins("requirements.txt"), pins("constraints.txt")
    assert required.items() <= constrained.items()
    assert len(constrained) > 2 * len(required)
