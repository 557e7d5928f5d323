"""How a page was made: recorded when its chapter is executed, shown folded at the page's end."""

import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from book.pipeline.packages import installed
from book.pipeline.parameters import as_text
from book.pipeline.profiles import Run
from vae_lib.provenance import checkout, processor

# Those on which a number or a figure of a page depends; the tests compare it with the library.
COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "joblib", "pillow", "matplotlib", "plotly")


def collect(root: Path, run: Run, *, threads: str) -> dict[str, Any]:
    """Everything that is known before a run starts, as plain values that JSON can hold.

    ``threads`` is the number that the kernel may use. Whoever executes the run adds ``seconds``.
    """
    versions = installed(root / "requirements.txt")
    head, tree = checkout(root)
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
