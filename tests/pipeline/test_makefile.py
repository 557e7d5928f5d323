"""The Makefile: what is typed stays data, and a failure stops what depends on it only."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import REPOSITORY

# Stands in for the interpreter of the environment, and notes how it was called.
PYTHON = """#!/bin/sh
echo "$*" >> calls
printf '%s' "$PARAMS" > params; printf '%s' "$NAME" > name; printf '%s' "$PROFILE" > profile
printf '%s' "$HELP" > help
case "$*" in
  *" stale") printf 'a\\nb\\nc\\n' ;;
  *" execute a") exit 1 ;;
  *" pip install"*) exit 1 ;;
esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / ".venv" / ".complete").touch()
    return tmp_path


def make(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    hidden = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "NAME", "PARAMS", "PROFILE", "HELP", "VENV")
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
    for target in ("book", "chapter", "test", "lint", "bench", "serve", "clean"):
        assert target in done.stdout
    assert not (place / "calls").exists()


@pytest.mark.parametrize("variable", ["PARAMS", "NAME", "PROFILE", "HELP"])
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


def test_a_failed_installation_is_not_taken_for_a_finished_one(place: Path) -> None:
    (place / ".venv" / ".complete").unlink()
    for _ in range(2):
        done = make(place, "book", f"PYTHON={place / '.venv' / 'bin' / 'python'}")
        assert done.returncode == 2
        assert not (place / ".venv" / ".complete").exists()
    assert not any("book.pipeline" in call for call in calls(place))


def test_an_old_interpreter_is_refused(place: Path) -> None:
    (place / ".venv" / ".complete").unlink()
    done = make(place, "book", "PYTHON=false")
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
