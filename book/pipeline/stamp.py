"""How a page was made: recorded when its chapter is executed, shown folded at the page's end."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from book.pipeline.packages import installed
from book.pipeline.parameters import as_text
from book.pipeline.profiles import Run

UNKNOWN = "unknown"
# Those on which a number or a figure of a page depends; the tests compare it with the library.
COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "joblib", "pillow", "matplotlib", "plotly")


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


def commit(root: Path) -> tuple[str, str]:
    """The commit that is checked out at ``root``, and whether tracked files differ from it.

    The second is ``clean`` or ``changed``. Both are ``unknown`` where ``root`` is not the top of
    a repository; one that encloses it says nothing about the book.
    """
    described = _git(root, "rev-parse", "--show-prefix", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=no")
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


def collect(root: Path, run: Run, *, threads: str) -> dict[str, Any]:
    """Everything that is known before a run starts, as plain values that JSON can hold.

    ``threads`` is the number that the kernel may use. Whoever executes the run adds ``seconds``.
    """
    versions = installed(root / "requirements.txt")
    head, tree = commit(root)
    return {
        "parameters": [
            {"name": p.name, "value": run.values[p.name], "default": p.default, "unit": p.unit}
            for p in run.parameters.values()
        ],
        "profile": run.profile,
        "commit": head,
        "tree": tree,
        "python": platform.python_version(),
        "packages": {name: versions[name] for name in COMPUTING if name in versions},
        "threads": threads,
        "processor": processor(),
        "device": run.values.get("device"),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def changed(stamp: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parameters that were given another value than their default."""
    return [p for p in stamp["parameters"] if p["value"] != p["default"]]


def with_unit(parameter: Mapping[str, Any]) -> str:
    """The value of a recorded parameter as it would be typed, with its unit."""
    return f"{as_text(parameter['value'])} {parameter['unit']}".rstrip()


def _verbatim(text: str) -> str:
    """A text as Markdown that shows it letter by letter, on one line."""
    text = " ".join(text.split()) or "–"
    fence = "`"
    while fence in text:
        fence += "`"
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(_verbatim, texts))


def as_markdown(stamp: Mapping[str, Any]) -> str:
    """The stamp as a box that is folded until it is opened."""
    given = (f"{p['name']} = {with_unit(p)}" for p in stamp["parameters"])
    devices = [stamp["processor"], *([f"device = {stamp['device']}"] if stamp["device"] else [])]
    tree = {"clean": ", tracked files unchanged", "changed": ", tracked files changed since"}
    rows = {
        "Parameters": _listed(given) or "none",
        "Profile": _verbatim(stamp["profile"]),
        "Commit": _verbatim(stamp["commit"][:12]) + tree.get(stamp["tree"], ""),
        "Software": _listed(
            f"{name} {version}"
            for name, version in {"Python": stamp["python"], **stamp["packages"]}.items()
        ),
        "Threads": _verbatim(stamp["threads"]),
        "Computed on": _listed(devices),
        "Time taken": f"{stamp['seconds']:.1f} seconds",
    }
    lines = [f"- {title}: {content}" for title, content in rows.items()]
    return "\n".join([":::{dropdown} How this page was made", *lines, ":::"])
