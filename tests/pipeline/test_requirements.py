"""The two files of packages: what is needed, and everything that comes with it."""

import re
from collections.abc import Iterable
from importlib.metadata import requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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


# What a CUDA build of PyTorch brings: it pins these itself, and a CPU build has none of them.
OF_CUDA = re.compile(r"(nvidia|cuda)-|triton$")


def reached(names: Iterable[str]) -> set[str]:
    """These packages and all that they need in this environment, directly or not."""
    found: set[str] = set()
    waiting = [(canonicalize_name(name), "") for name in names]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for requirement in map(Requirement, requires(name) or []):
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            if OF_CUDA.match(needed):
                continue
            new = {(needed, extra) for extra in ("", *requirement.extras)} - seen
            seen |= new
            waiting += new
    return found


def test_constraints_hold_the_installed_version_of_all_that_is_needed():
    """A package that comes with another one is pinned too, whoever brings it."""
    needed, constrained = reached(pins("requirements.txt")), pins("constraints.txt")
    installed = {name: Version(version(name)).public for name in needed}
    assert {name: constrained.get(name) for name in installed} == installed
    assert len(needed) > 2 * len(pins("requirements.txt"))  # the walk gets beyond the first step


def test_constraints_hold_all_that_is_required():
    required, constrained = pins("requirements.txt"), pins("constraints.txt")
    assert required.items() <= constrained.items()
