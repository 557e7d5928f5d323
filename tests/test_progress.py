"""Counts of a sweep: told in files, by whoever and wherever, and shown in a bar."""

import errno
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes import wait_for
from vae_lib import progress


def test_what_is_told_is_read_by_name(tmp_path):
    names = ["one", "two", "never told"]
    assert progress.read_files(tmp_path, names) == 0
    progress.tell_file(tmp_path, "one", 7)
    progress.tell_file(tmp_path, "two", 100)
    progress.tell_file(tmp_path, "of another sweep", 1000)
    progress.tell_file(tmp_path, "one", 12)
    assert progress.read_files(tmp_path, names) == 112
    progress.forget_file(tmp_path, "one")
    progress.forget_file(tmp_path, "never told")
    assert progress.read_files(tmp_path, names) == 100
    assert len([*tmp_path.iterdir()]) == 2


def test_a_counter_that_is_damaged_counts_nothing(tmp_path):
    progress.tell_file(tmp_path, "one", 7)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"")  # lost with the power
    assert progress.read_files(tmp_path, ["one"]) == 0
    path.unlink()
    path.mkdir()  # not to be read
    assert progress.read_files(tmp_path, ["one"]) == 0


def test_two_sweeps_may_tell_one_name_at_once(tmp_path):
    """Whoever reads meanwhile finds what one of them told, whole."""
    counts = (1, 22_222_222)

    def tell(count: int) -> None:
        for _ in range(200):
            progress.tell_file(tmp_path, "one", count)

    progress.tell_file(tmp_path, "one", counts[0])
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(tell, count) for count in counts]
        found = set()
        while not all(future.done() for future in both):
            found.add(progress.read_files(tmp_path, ["one"]))
    for future in both:
        future.result()
    assert found <= set(counts)
    assert len([*tmp_path.iterdir()]) == 1


def test_where_nothing_can_be_written_nothing_is_told(tmp_path, monkeypatch):
    """A sweep does not end because of its bar."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        progress.tell_file(folder, "one", 7)
        assert progress.read_files(folder, ["one"]) == 0
        progress.forget_file(folder, "one")
    progress.tell_file(tmp_path, "one", 7)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    progress.tell_file(tmp_path, "one", 8)
    assert progress.read_files(tmp_path, ["one"]) == 7
    assert len([*tmp_path.iterdir()]) == 2


@pytest.fixture
def shown(monkeypatch, capsys):
    """Function of a pattern: waits until the bar shows it."""
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.01)
    text = ""

    def appears(pattern: str) -> object:
        def found() -> object:
            nonlocal text
            text += capsys.readouterr().err
            return re.search(pattern, text)

        return wait_for(found)

    return appears


def test_a_bar_follows_the_count_and_tells_the_time_left(shown):
    count = 20
    with progress.bar(100, lambda: count, enabled=True):
        shown(r"20/100 \[00:00<\?")
        count = 50
        shown(r" 50%.* 50/100 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+epoch/s")
        count = 40  # a worker died, and another goes on from its checkpoint
        shown(r" 40%.* 40/100 \[")
    # The last counts may still be on their way, and nothing failed.
    shown(r"100%.* 100/100 \[")


def test_a_bar_whose_sweep_fails_stays_where_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.01)
    before = threading.active_count()
    with pytest.raises(ArithmeticError), progress.bar(10, lambda: 3, enabled=True):
        raise ArithmeticError
    said = capsys.readouterr().err
    assert "3/10" in said
    assert "10/10" not in said
    assert threading.active_count() <= before + 1  # tqdm has a thread of its own


def test_a_bar_that_is_not_wanted_is_silent(monkeypatch, capsys):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.01)
    with progress.bar(10, lambda: 3, enabled=False):
        pass
    assert capsys.readouterr().err == ""
