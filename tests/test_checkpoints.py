"""Checkpoints that are whole, damaged, foreign or malicious, and writes that are interrupted."""

import gc
import io
import os
import pickle
import stat
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from vae_lib import checkpoints, files
from vae_lib.checkpoints import CheckpointError

SMALL = {"a": np.arange(6.0).reshape(2, 3), "parameter/x.0": np.array([1, 2])}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_arrays_come_back_to_the_bit(tmp_path):
    arrays = {
        "float64": np.array([0.1, -0.0, np.nan, np.inf, 5e-324]),
        "float32": np.float32([[0.1], [np.nan]]),
        "int64": np.array([2**62, -1]),
        "bytes": np.arange(256, dtype=np.uint8),
        "scalar": np.array(7),
        "empty": np.empty((0, 3, 8)),
        "text": np.array("a name with ü"),
        "file": np.array([1.0]),
        "a/deep.name/with.dots": np.array([True, False]),
    }
    path = tmp_path / "new" / "folder" / "a.npz"
    del arrays["file"]  # the name of an argument of np.savez
    checkpoints.save(path, arrays, owner="me")
    assert_same(checkpoints.load(path, owner="me"), arrays)
    assert listing(path.parent) == ["a.npz"]
    checkpoints.save(path, SMALL, owner="you")
    assert_same(checkpoints.load(path, owner="you"), SMALL)
    assert listing(path.parent) == ["a.npz"]


def test_a_missing_file_is_missing_and_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path / "a.npz", owner="me")


def test_another_s_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "a.npz"
    checkpoints.save(path, SMALL, owner="you")
    with pytest.raises(CheckpointError, match=r"a\.npz belongs to you, not to me"):
        checkpoints.load(path, owner="me")
    np.savez(path, **SMALL)
    with pytest.raises(CheckpointError, match=r"a\.npz belongs to no one, not to me"):
        checkpoints.load(path, owner="me")


def test_a_file_cut_off_anywhere_is_damaged(tmp_path):
    path = tmp_path / "a.npz"
    checkpoints.save(path, {"a": SMALL["a"]}, owner="me")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"a\.npz is damaged"):
            checkpoints.load(path, owner="me")


def flip(path: Path, whole: bytes, place: int, bit: int) -> None:
    changed = bytearray(whole)
    changed[place] ^= 1 << bit
    path.write_bytes(changed)


def test_a_flipped_bit_among_the_numbers_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    checkpoints.save(path, SMALL, owner="me")
    whole = path.read_bytes()
    for array in SMALL.values():
        start = whole.index(array.tobytes())
        for place in range(start, start + array.nbytes):
            flip(path, whole, place, bit=place % 8)
            with pytest.raises(CheckpointError, match=r"a\.npz is damaged"):
                checkpoints.load(path, owner="me")


def test_a_flipped_bit_anywhere_is_noticed_or_does_not_matter(tmp_path):
    """In the headers of the archive and in its directory; dates for instance do not matter."""
    path = tmp_path / "a.npz"
    checkpoints.save(path, {"a": SMALL["a"]}, owner="me")
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    # The first member's header, its entry in the directory (46 bytes and the name), and the end.
    places = [*range(30), *range(directory, directory + 51), *range(len(whole) - 22, len(whole))]
    num_noticed = 0
    for place, bit in product(places, range(8)):
        flip(path, whole, place, bit)
        try:
            assert_same(checkpoints.load(path, owner="me"), {"a": SMALL["a"]})
        except CheckpointError:
            num_noticed += 1
    assert num_noticed > 2 * len(places)


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def as_npz(path: Path, trap: Trap) -> None:
    np.savez(path, a=np.array([trap], dtype=object), owner=np.array("me"))


def as_owner(path: Path, trap: Trap) -> None:
    np.savez(path, a=np.zeros(3), owner=np.array([trap], dtype=object))


def as_npy(path: Path, trap: Trap) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([trap], dtype=object))


def as_pickle(path: Path, trap: Trap) -> None:
    path.write_bytes(pickle.dumps(trap))


@pytest.mark.parametrize("write", [as_npz, as_owner, as_npy, as_pickle])
def test_a_pickle_is_refused_and_not_executed(tmp_path, write):
    path, sprung = tmp_path / "a.npz", tmp_path / "sprung"
    write(path, Trap(sprung))
    with pytest.raises(CheckpointError, match=r"a\.npz is damaged"):
        checkpoints.load(path, owner="me")
    assert not sprung.exists()
    # The trap works.
    with io.BytesIO(pickle.dumps(Trap(sprung))) as file:
        pickle.load(file)
    assert sprung.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY", b"PK\x03\x04"], ids=str)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.npz is damaged"):
        checkpoints.load(path, owner="me")


def test_a_damaged_file_is_closed(tmp_path):
    path = tmp_path / "a.npz"
    checkpoints.save(path, SMALL, owner="me")
    path.write_bytes(path.read_bytes()[:-30])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(CheckpointError):
            checkpoints.load(path, owner="me")
        gc.collect()
    assert [str(each.message) for each in caught] == []


def test_a_single_array_and_a_folder_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    for bad in (path, tmp_path):
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoints.load(bad, owner="me")


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_no_litter(
    tmp_path, monkeypatch, moment, error
):
    path = tmp_path / "a.npz"
    checkpoints.save(path, SMALL, owner="me")

    def fail(*_):
        raise error

    def half(file):
        file.write(b"half")
        fail()

    with monkeypatch.context() as patch:
        if moment != "write":
            patch.setattr(os, moment, fail)
        write = half if moment == "write" else lambda file: np.savez(file, a=np.zeros(9))
        with pytest.raises(type(error)):
            files.write_whole(path, write)
    assert_same(checkpoints.load(path, owner="me"), SMALL)
    assert listing(tmp_path) == ["a.npz"]


def test_a_first_write_that_is_interrupted_leaves_nothing(tmp_path):
    def half(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "a.npz", half)
    assert listing(tmp_path) == []


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    files.write_whole(tmp_path / "a", lambda file: file.write(b"text"))
    (tmp_path / "b").write_bytes(b"text")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "b")]
    assert modes[0] == modes[1]
