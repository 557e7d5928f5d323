"""The commit that ledgers and pages name: that of the code, or none; and the processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vae_lib import runs
from vae_lib.provenance import checkout, processor

REPOSITORY = Path(__file__).resolve().parents[1]
UNKNOWN = ("unknown", "unknown")


def git(root: Path, *arguments: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    identity = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, env=kept, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Of two tracked files, one of them in vae_lib, and one that git does not track."""
    root = tmp_path / "repository"
    for name in ("vae_lib/a.py", "book/b.md"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("as it was")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "one")
    (root / "vae_lib" / "notes.txt").touch()
    return root


def test_the_commit_is_that_of_the_folder(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD").strip()
    assert checkout(repository) == (head, "clean")
    (repository / "book" / "b.md").write_text("changed")
    assert checkout(repository) == (head, "changed")
    assert checkout(repository, below="vae_lib") == (head, "clean")
    (repository / "vae_lib" / "a.py").write_text("changed")
    assert checkout(repository, below="vae_lib") == (head, "changed")


def test_a_repository_that_encloses_the_folder_says_nothing(repository: Path) -> None:
    assert checkout(repository / "book") == UNKNOWN


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_in_a_hook_it_is_that_of_the_folder_too(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = checkout(repository)
    monkeypatch.setenv(name, str(repository / "nowhere"))
    assert checkout(repository) == before != UNKNOWN


def test_without_git_a_repository_or_a_commit_it_is_unknown(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    assert checkout(tmp_path / "other") == UNKNOWN
    assert checkout(tmp_path / "nowhere") == UNKNOWN
    git(tmp_path / "other", "init")
    assert checkout(tmp_path / "other") == UNKNOWN
    monkeypatch.setenv("PATH", "")
    assert checkout(repository) == UNKNOWN


def test_a_ledger_names_the_commit_of_the_library(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is changed elsewhere; and never that of a repository around a copy."""
    head = git(repository, "rev-parse", "HEAD").strip()
    monkeypatch.setattr(runs, "REPOSITORY", repository)
    (repository / "book" / "b.md").write_text("changed")
    assert runs.commit() == head
    (repository / "vae_lib" / "a.py").write_text("changed")
    assert runs.commit() == f"{head}+changes"
    monkeypatch.setenv("GIT_DIR", str(REPOSITORY / ".git"))
    assert runs.commit() == f"{head}+changes"
    monkeypatch.setattr(runs, "REPOSITORY", repository / "vae_lib")
    assert runs.commit() == "unknown"


def test_the_processor_is_named(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A chip @ 2 GHz\n\nmodel name\t: Another\n")
    assert processor(info) == "A chip @ 2 GHz"
    info.write_text("processor\t: 0\nmodel name\t:\n")
    assert processor(info) == processor(tmp_path / "none") != ""


def test_it_is_quick_to_import() -> None:
    program = (
        "import sys; before = set(sys.modules); import vae_lib.provenance; "
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(names - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "{'vae_lib'}\n"
