"""CelebA: aligned photographs of faces, cropped, resized, and cached as one array of bytes.

The data set is that of Z. Liu, P. Luo, X. Wang and X. Tang, "Deep Learning Face Attributes in the
Wild", ICCV 2015: 202,599 images, for non-commercial research only. All of them come through
torchvision, from a folder that the user has or from the official download, which is never
started unasked. Where they are absent, a package of the Python package index that carries the
first 999 stands in. An image is cut to its central 148 x 148 pixels and resized (bilinear,
antialiased); these choices are common, the poster does not give its own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from vae_lib import checks
from vae_lib._celeba_sources import SAMPLE_SIZE, TERMS, Images, Source, download, find
from vae_lib._sources import DataError, cache_folder
from vae_lib.files import locked, write_whole

__all__ = ["FULL_SIZE", "SAMPLE_SIZE", "TERMS", "CelebA", "DataError", "download", "load_celeba"]

WIDTH, HEIGHT = 178, 218  # of an aligned image
CROP = 148
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
}
FULL_SIZE = 202_599
_BLOCK_IMAGES = 512  # decoded at a time
_BLOCK_BYTES = 2**24
# What Pillow raises on a file that is no image, or not a whole one.
_DAMAGED = (
    OSError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
    SyntaxError,
    ValueError,
    zipfile.BadZipFile,
)


class CelebA(NamedTuple):
    """Images in the order of their numbers, and where they come from, in words."""

    images: Tensor  # (N, 3, size, size), uint8, mapped from the cache's file
    origin: str


class _Cut(NamedTuple):
    """What is made of an image: its central square, resized."""

    crop: int
    size: int
    resample: Image.Resampling


def load_celeba(
    *,
    size: int = 64,
    crop: int = CROP,
    resample: str = "bilinear",
    first: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> CelebA:
    """CelebA (Liu et al. 2015), every image cropped and resized to ``size`` x ``size``.

    The first call decodes the images and leaves their array in the cache; a second process that
    asks meanwhile waits for it. Every call verifies the array's checksum. The array is mapped
    into memory, not read, so that it may be larger than that; what is written into the tensor
    does not reach the file.

    Args:
        size: pixels a side, 8 to ``crop``.
        crop: pixels a side of the central square that is kept, 8 to 178.
        resample: filter of the resizing, "bilinear", "box" or "bicubic"; all are antialiased.
        first: at most so many images, >= 2; default: all.
        folder: of the images: either the official layout, a folder ``celeba`` (or its parent)
            with ``img_align_celeba`` and the lists of torchvision, or any folder of aligned
            JPEGs, which are taken in the order of their names. Default: ``$VAE_LIB_CELEBA``;
            else the official download, if ``python -m vae_lib.data --celeba`` left it in the
            cache; else the sample of 999 images, from the package index.
        root: folder of the cache, as in :func:`vae_lib.mnist.load_mnist`.

    Raises:
        ValueError: an argument is outside its range.
        DataError: a folder, an image or the cache is missing, damaged or something else, the
            disk is full, or the sample cannot be fetched. The message names the file.
    """
    crop = checks.integer("crop", crop, low=8, high=WIDTH)
    size = checks.integer("size", size, low=8, high=crop)
    if resample not in FILTERS:
        raise ValueError(f"resample must be one of {sorted(FILTERS)}, got {resample!r}")
    if first is not None:
        first = checks.integer("first", first, low=2)
    cut = _Cut(crop, size, FILTERS[resample])
    cache = cache_folder(root) / "CelebA"
    source = find(folder, cache)
    count = min(first or source.count, source.count)
    path = cache / f"{source.key}-{count}-{crop}-{size}-{resample}.npy"
    try:
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock")):
                if not path.exists():  # whoever held the lock may have written it
                    _build(source, path, count, cut)
    except OSError as error:
        advice = "too little disk; free some" if error.errno == errno.ENOSPC else str(error)
        raise DataError(
            f"cannot write {path}: {advice}, or set VAE_LIB_DATA to another folder"
        ) from error
    return CelebA(_mapped(path, size), source.origin)


def _build(source: Source, path: Path, count: int, cut: _Cut) -> None:
    """Decode the images into ``path``, with its checksum beside it; written aside, then renamed."""
    with source.opened() as images:
        images = images._replace(names=images.names[:count])
        shape = (len(images.names), 3, cut.size, cut.size)
        needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
        if free < needed + _BLOCK_BYTES:
            raise DataError(
                f"too little disk: {path} needs {needed / 2**20:,.0f} MiB, and "
                f"{free / 2**20:,.0f} MiB are free; set VAE_LIB_DATA to another folder"
            )
        digest = hashlib.sha256()

        def write(file: BinaryIO) -> None:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in _blocks(images, cut):
                content = block.tobytes()
                digest.update(content)
                file.write(content)
            note = {"sha256": digest.hexdigest(), "origin": source.origin}
            # Before the array is renamed into place: where there is an array, there is a checksum.
            write_whole(_note(path), lambda beside: beside.write(json.dumps(note).encode()))

        write_whole(path, write)


def _blocks(images: Images, cut: _Cut) -> Iterator[np.ndarray]:
    """The images (B, 3, size, size), decoded by several threads, in order."""
    count = len(images.names)
    show = count > 10 * _BLOCK_IMAGES
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=count, unit="image", desc="CelebA", disable=not show) as bar,
    ):
        for start in range(0, count, _BLOCK_IMAGES):
            indices = range(start, min(start + _BLOCK_IMAGES, count))
            yield np.stack(list(pool.map(lambda i: _prepared(images, i, cut), indices)))
            bar.update(len(indices))


def _prepared(images: Images, index: int, cut: _Cut) -> np.ndarray:
    """One image (3, size, size), cropped and resized."""
    name = images.names[index]
    try:
        with images.opened(index) as image:
            image.load()
            mode, shape = image.mode, image.size
            left, top = (WIDTH - cut.crop) // 2, (HEIGHT - cut.crop) // 2
            centre = image.crop((left, top, left + cut.crop, top + cut.crop))
    except FileNotFoundError as error:
        raise DataError(f"the image {name} is listed and missing") from error
    except _DAMAGED as error:
        raise DataError(f"the image {name} is damaged or none: {error}") from error
    if mode != "RGB" or shape != (WIDTH, HEIGHT):
        raise DataError(
            f"the image {name} must be an aligned one, of mode RGB and {WIDTH} x {HEIGHT} pixels; "
            f"it is of mode {mode} and {shape[0]} x {shape[1]}"
        )
    resized = centre.resize((cut.size, cut.size), cut.resample)  # antialiased by itself
    return np.asarray(resized, np.uint8).transpose(2, 0, 1)


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _mapped(path: Path, size: int) -> Tensor:
    """The array of ``path``, if it is the one that was written."""
    remedy = f"; delete {path}, and it is made again"
    try:
        wanted = json.loads(_note(path).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{_note(path)} is missing or damaged ({error}){remedy}") from error
    try:
        array = np.lib.format.open_memmap(path, mode="c")
    except Exception as error:  # the header is parsed as Python, and fails in as many ways
        raise DataError(f"{path} is truncated or no array ({error}){remedy}") from error
    is_bytes = array.dtype == np.uint8 and array.flags.c_contiguous and array.size
    if not is_bytes or array.ndim != 4 or array.shape[1:] != (3, size, size):
        raise DataError(f"{path} is another array, {array.dtype} of shape {array.shape}{remedy}")
    digest = hashlib.sha256()
    rows = max(1, _BLOCK_BYTES // array[0].nbytes)
    for start in range(0, len(array), rows):
        digest.update(array[start : start + rows])
    if digest.hexdigest() != wanted:
        raise DataError(f"{path} is damaged: its checksum is not that of {_note(path)}{remedy}")
    return torch.from_numpy(array)
