"""With which code something was computed, and on which processor: for ledgers and for pages."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

UNKNOWN = "unknown"


def checkout(root: Path, *, below: str = ".") -> tuple[str, str]:
    """The commit that is checked out at ``root``, and whether tracked files differ from it.

    The second is ``clean`` or ``changed``; only files in the folder ``below`` of ``root`` count.
    Both are ``unknown`` where ``root`` is not the top of a repository: one that encloses it says
    nothing about the code.
    """
    described = _git(root, "rev-parse", "--show-prefix", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=no", "--", below)
    if described is None or status is None or not described.startswith("\n"):
        return UNKNOWN, UNKNOWN
    return described.strip(), "changed" if status.strip() else "clean"


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The name of the processor's model; where the system does not tell it, its architecture."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(filter(None, names), platform.processor() or platform.machine() or UNKNOWN)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None where there is no git, no repository or no commit.

    git's own variables are dropped: in a hook they may point at another repository.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
    except OSError:
        return None
    return None if done.returncode else done.stdout.decode(errors="replace")
