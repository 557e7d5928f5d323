"""A tiny book in a temporary folder, and the pipeline run on it as the Makefile runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from book.pipeline import cache
from book.pipeline.layout import Layout

# What a user sets for make, and a test for itself.
TYPED = ("NAME", "PARAMS", "PROFILE", "HELP", "SCHEDULER", "CELL_MINUTES")
REPOSITORY = Path(__file__).resolve().parents[2]

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""
PARAMETERS = """sigma_sq: float = 1.0  # in (0, inf): the variance
seed: int = 0  # in [0, 99]: the seed
"""


def code(source: str, tags: str = "") -> str:
    """A code cell in MyST."""
    options = f":tags: [{tags}]\n\n" if tags else ""
    return f"```{{code-cell}} ipython3\n{options}{source.rstrip()}\n```"


def chapter(*blocks: str, title: str = "A chapter") -> str:
    """The source of a chapter."""
    return "\n\n".join([f"{HEADER}\n# {title}", *blocks]) + "\n"


class Book:
    """A small book on disk, with the commands of the pipeline."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)
        self.write("_toc.yml", "format: jb-book\nroot: book/intro\nchapters:\n- file: book/01_a\n")
        self.write(
            "_config.yml",
            "title: Tiny\nexecute: {execute_notebooks: 'off'}\nonly_build_toc_files: true\n"
            "latex: {use_jupyterbook_latex: false}\n"
            "sphinx: {config: {html_static_path: [book/assets], numfig: true}}\n",
        )
        self.write("requirements.txt", "one==1\n")
        self.write("vae_lib/__init__.py", "")
        self.write("vae_lib/_sources.py", "class DataError(RuntimeError): pass\n")
        self.write("vae_lib/identity.py", "def data_sets(): return {}\n")
        self.write("vae_lib/data.py", "")
        # These are the pipeline's own too; where it is run, this folder comes first on the path.
        self.write("vae_lib/files.py", (REPOSITORY / "vae_lib" / "files.py").read_text())
        self.write("vae_lib/provenance.py", (REPOSITORY / "vae_lib" / "provenance.py").read_text())
        self.write("book/intro.md", "# Tiny\n\nNothing is computed here.\n")
        self.write("book/params/quick.yml", "{}\n")
        self.chapter(code(PARAMETERS, "parameters"), code("print(sigma_sq, seed)"))

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def chapter(self, *blocks: str) -> Path:
        return self.write("book/01_a.md", chapter(*blocks))

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One command in a process of its own: kernels and Sphinx leave traces in theirs."""
        kept = {k: v for k, v in os.environ.items() if k not in TYPED}
        return subprocess.run(
            [sys.executable, "-m", "book.pipeline", *arguments],
            cwd=self.root,
            env={**kept, "PYTHONPATH": str(REPOSITORY), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def executed(self) -> list[Path]:
        return sorted(self.layout.executed.glob("*/*"))


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process too the small book reads no data."""
    monkeypatch.setattr(cache, "data_state", dict)


@pytest.fixture
def tiny(tmp_path: Path) -> Book:
    return Book(tmp_path)
