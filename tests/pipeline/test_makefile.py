"""The Makefile: what is typed stays data, and a failure stops what depends on it only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import REPOSITORY, TYPED, Book, chapter, code

# Stands in for the interpreter of the environment, and notes how it was called.
PYTHON = """#!/bin/sh
echo "$*" >> calls
printf '%s' "$PARAMS" > params; printf '%s' "$NAME" > name; printf '%s' "$PROFILE" > profile
printf '%s' "$HELP" > help; printf '%s' "$SCHEDULER" > scheduler
printf '%s' "$CELL_MINUTES" > cell_minutes
case "$*" in
  *" stale") printf 'a\\nb\\nc\\n' ;;
  *" execute a") exit 1 ;;
  *" pip install"*) exit 1 ;;
esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / ".venv" / ".complete").touch()
    return tmp_path


def make(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    hidden = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", *TYPED)
    kept = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        ["make", *arguments],
        cwd=place,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def calls(place: Path) -> list[str]:
    return (place / "calls").read_text().splitlines()


def test_help_is_the_default(place: Path) -> None:
    done = make(place)
    assert done.returncode == 0
    for target in ("book", "pdf", "chapter", "test", "lint", "bench", "serve", "clean"):
        assert target in done.stdout
    assert not (place / "calls").exists()


@pytest.mark.parametrize("variable", TYPED)
@pytest.mark.parametrize("through", ["argument", "environment"])
@pytest.mark.parametrize(
    "text",
    [
        "a=$(shell touch x) ; touch y",
        "a=`touch x` && touch y",
        "a=\"; touch x; '",
        "$(error stop)",
        "a=$$HOME $x ${y} # z",
        "sigma_sqs=0.1,1 split='a b'",
    ],
)
def test_what_is_typed_is_never_run(place: Path, variable: str, through: str, text: str) -> None:
    if through == "argument":
        done = make(place, "chapter", f"{variable}={text}")
    else:
        done = make(place, "chapter", **{variable: text})
    assert done.returncode == 0, done.stderr
    assert (place / variable.lower()).read_text() == text
    assert calls(place) == ["-m book.pipeline chapter"]
    assert not (place / "x").exists()
    assert not (place / "y").exists()


@pytest.mark.parametrize("options", [[], ["-j2"], ["-k", "-j2"], ["JOBS=1"]])
def test_one_chapter_that_fails_does_not_stop_the_others(place: Path, options: list[str]) -> None:
    done = make(place, *options, "book", "PROFILE=paper")
    assert done.returncode == 2
    assert "jobserver" not in done.stderr
    assert calls(place)[0] == "-m book.pipeline stale"
    # The data come first, once, and then the chapters in any order.
    assert calls(place)[1] == "-m vae_lib.data"
    assert sorted(calls(place)[2:]) == [f"-m book.pipeline execute {name}" for name in "abc"]
    assert (place / "profile").read_text() == "paper"


@pytest.fixture
def real(place: Path) -> Book:
    """A book of two chapters of which the first fails, with make and this interpreter."""
    book = Book(place)
    python = place / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" "$@"\n')
    book.write("vae_lib/data.py", "")
    book.write(
        "_toc.yml",
        "format: jb-book\nroot: book/intro\nchapters:\n- file: book/01_a\n- file: book/02_b\n",
    )
    book.chapter(code("print(1)"), code("list()[3]"))
    book.write("book/02_b.md", chapter(code("print(2)")))
    (place / ".venv" / ".complete").touch()
    return book


def test_of_two_real_chapters_one_fails_again_until_it_is_corrected(real: Book) -> None:
    """The other is finished, once; no page is made of what failed."""
    first, second = (make(real.root, "-k", "-j2", "book") for _ in range(2))
    for done in (first, second):
        assert done.returncode == 2
        assert "error: [01_a] FAILED in code cell 2 of 2, which begins with" in done.stderr
        assert "cause: IndexError: list index out of range" in done.stderr
        assert "[01_a] cell 2/2" in done.stdout
        assert "Rendering" not in done.stdout
    assert "[02_b] done" in first.stdout
    assert "02_b" not in second.stdout
    assert [path.parent.name for path in real.executed()] == ["02_b"]
    assert (real.layout.failed / "01_a.ipynb").is_file()
    assert not real.layout.html.exists()
    real.chapter(code("print(1)"), code("print(3)"))
    corrected = make(real.root, "-k", "-j2", "book")
    assert corrected.returncode == 0, corrected.stderr
    assert "[01_a] done" in corrected.stdout
    assert "02_b" not in corrected.stdout
    assert not (real.layout.failed / "01_a.ipynb").exists()
    assert (real.layout.html / "index.html").is_file()


def test_a_failed_installation_is_not_taken_for_a_finished_one(place: Path) -> None:
    (place / ".venv" / ".complete").unlink()
    for _ in range(2):
        done = make(place, "book", f"PYTHON={place / '.venv' / 'bin' / 'python'}")
        assert done.returncode == 2
        assert not (place / ".venv" / ".complete").exists()
    assert not any("book.pipeline" in call for call in calls(place))


# An interpreter that takes itself for one of another version; it installs nothing.
OTHER_VERSION = """#!/bin/sh
[ "$1" = -c ] || exit 0
exec "{python}" -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2"
"""


@pytest.mark.parametrize(
    ("version", "accepted", "warned"),
    [
        ((3, 10, 14), False, False),
        ((3, 11, 0), True, False),
        ((3, 12, 9), True, False),
        ((3, 13, 0), True, True),
        ((4, 0, 0), True, True),
    ],
)
def test_an_old_interpreter_is_refused_and_a_new_one_warned_about(
    place: Path, version: tuple[int, ...], accepted: bool, warned: bool
) -> None:
    (place / ".venv" / ".complete").unlink()
    # The packages of the environment, which is not made anew, install without a failure.
    (place / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")
    other = place / "other"
    other.write_text(OTHER_VERSION.format(python=sys.executable, version=version))
    other.chmod(0o755)
    done = make(place, "setup", f"PYTHON={other}")
    assert done.returncode == (0 if accepted else 2)
    assert ("error: the book needs Python 3.11 or 3.12" in done.stderr) == (not accepted)
    assert ("warning: the packages are pinned for Python 3.11 and 3.12" in done.stderr) == warned


def test_without_an_interpreter_it_is_said_which_one_is_needed(place: Path) -> None:
    (place / ".venv" / ".complete").unlink()
    done = make(place, "book", "PYTHON=false")
    assert done.returncode == 2
    assert "needs Python 3.11 or 3.12" in done.stderr
    assert "warning" not in done.stderr
