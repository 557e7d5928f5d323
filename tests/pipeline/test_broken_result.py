"""A wrong formula in the library shows on the page of claims, and in the tests it names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

from book.pipeline import claims
from book.pipeline.layout import Layout
from tests.pipeline.conftest import REPOSITORY, TYPED

RIGHT = "lengths = (spectrum.eigenvalues[chosen] - sigma_sq).sqrt()"
WRONG = "lengths = spectrum.eigenvalues[chosen].sqrt()"
CHAPTER = "01_ppca"


def copied(root: Path) -> None:
    """Library, tests and the first chapter, for less data; W is wrong."""
    for folder in ("vae_lib", "tests"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    for name in ("requirements.txt", "pyproject.toml", f"book/{CHAPTER}.md", claims.SOURCE):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    (root / "book" / "params").mkdir()
    small = {CHAPTER: {"num_images": 100, "max_k": 20, "fixed_k": 5}}
    (root / "book" / "params" / "quick.yml").write_text(yaml.safe_dump(small))
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/{CHAPTER}\n")
    source = root / "vae_lib" / "ppca.py"
    assert source.read_text().count(RIGHT) == 1
    source.write_text(source.read_text().replace(RIGHT, WRONG))


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in TYPED}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env={**kept, "PYTHONPATH": f"{root}{os.pathsep}{REPOSITORY}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wrong_formula_turns_the_verdict_and_fails_the_tests(tmp_path):
    copied(tmp_path)
    done = run(tmp_path, "book.pipeline", "execute", CHAPTER)
    assert done.returncode == 0, done.stderr
    (executed,) = (tmp_path / "_build" / "executed" / CHAPTER).glob("*.ipynb")
    notebooks = {CHAPTER: nbformat.read(executed, as_version=4)}
    found, *_ = claims.poster_claims(Layout(tmp_path), notebooks)
    assert found.verdict == "not reproduced"
    tested = run(tmp_path, "pytest", "-q", "-x", found.tests[0])
    assert tested.returncode == 1, tested.stdout
    assert "1 failed" in tested.stdout
