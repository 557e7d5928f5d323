"""CelebA's sizes: convolutions in a batch, a thin spectrum, and one of data that are streamed."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from tests.bench.deep import trainer
from tests.bench.memory import BYTES
from tests.bench.rows import Memory, Row, medians
from tests.oracles import blocks_with_spectrum
from vae_lib.data import load_celeba
from vae_lib.experiments import PROFILES, REPOSITORY, load_images
from vae_lib.runs import make_trainer, result
from vae_lib.spectrum import spectrum
from vae_lib.streaming import leading_spectrum
from vae_lib.training import train
from vae_lib.transforms import preprocess

ROWS, DIM, COMPONENTS = 20_000, 12_288, 500
STEPS = 4


def ensemble(name: str, count: int) -> Row:
    """Models of a profile advanced together, per model, over one alone."""
    profile = PROFILES[name]
    images = load_images(profile.setting)
    member = profile.members[0]
    some = [replace(member, seed=seed) for seed in range(count)]
    together, alone = (
        trainer(profile.setting, images, *members, steps=STEPS) for members in (some, some[:1])
    )
    ours, other = medians(together.run_epoch, alone.run_epoch, repeats=5)
    label = f"{count} models of {name} batched over one by one, per model"
    return Row(label, ours / STEPS / count, other / STEPS, None)


def thin() -> dict[str, float]:
    """Spectrum of the sample."""
    images = load_celeba(first=999).images.flatten(1)
    data = preprocess(images, alpha=0.05, generator=torch.Generator().manual_seed(0))
    return {"kept": spectrum(data).count_above(10.0)}


def streamed() -> dict[str, float]:
    """Leading eigenvalues of a spectrum that is known and falls as that of photographs does."""
    exact = 5000 / np.arange(1, DIM) ** 1.2 + 0.05
    found = leading_spectrum(
        lambda: blocks_with_spectrum(exact, rows=ROWS, dim=DIM, workers=torch.get_num_threads()),
        num_components=COMPONENTS,
        generator=torch.Generator().manual_seed(0),
        tolerance=1e-2,
        max_passes=16,
    )
    leading = found.leading.numpy()
    sigma_sq = float(exact[COMPONENTS // 2])
    return {
        "error": float(np.abs(leading / exact[:COMPONENTS] - 1).max()),
        "excess": float((leading / exact[:COMPONENTS] - 1).max()),
        "trace": abs(found.trace / exact.sum() - 1),
        "missed": int((exact > sigma_sq).sum()) - found.count_above(sigma_sq),
        "passes": found.passes,
    }


def whole() -> dict[str, float]:
    """An epoch on as many images as CelebA has, mapped from a file, and the measures after it.

    2.3 GiB of the peak are pages of the file, which the system may drop and read again.
    The network is tiny, for the time's sake: what takes memory are the images and what is kept of
    each of them. The file has a hole in the place of its bytes, and no image.
    """
    profile = PROFILES["celeba-paper"]
    setting = replace(profile.setting, channels=(4, 4, 4, 4), hidden=(16,), epochs=1)
    shape = (setting.num_images, math.prod(setting.image_shape))
    with tempfile.TemporaryFile() as file:
        file.truncate(math.prod(shape))
        images = torch.from_numpy(np.memmap(file, np.uint8, mode="c", shape=shape))
        trainer = make_trainer(setting, profile.members[:1], images)
        train(trainer, epochs=1)
        found = result(trainer, 0, setting, images, provenance={})
    return {"elbo": found.row["elbo"]}


TASKS: dict[str, Callable[[], dict[str, float]]] = {
    "thin": thin,
    "streamed": streamed,
    "whole": whole,
}


def measured(task: str) -> dict[str, float]:
    """A task in a process of its own, with its seconds and its peak memory in GiB."""
    command = [sys.executable, "-m", "tests.bench.celeba", task]
    ended = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout)


def memory_rows() -> Iterator[Row | Memory | str]:
    """To be called early, see :func:`tests.bench.memory.row`; on all cores."""
    found = measured("thin")
    yield Row(f"spectrum of 999 x {DIM:,}, against a minute", found["seconds"], 60.0, 1.0)
    yield Memory("its peak memory", found["gib"], 2.0)
    found = measured("streamed")
    yield Memory(f"peak memory of {COMPONENTS} of {ROWS:,} x {DIM:,} streamed", found["gib"], 4.0)
    yield (
        f"in {found['passes']} passes and {found['seconds']:.0f} s: largest relative error "
        f"{found['error']:.1g}, largest excess {found['excess']:.1g}, trace off by "
        f"{found['trace']:.1g}, {found['missed']:.0f} missed of those above the middle one"
    )

    found = measured("whole")
    yield Memory("peak memory of an epoch and measures on 202,599 images", found["gib"], 4.0)


def rows() -> Iterator[Row]:
    """Batched convolutions."""
    yield ensemble("celeba-quick", 7)
    yield ensemble("celeba-laptop", 4)


if __name__ == "__main__":
    begun = time.perf_counter()
    answer = TASKS[sys.argv[1]]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES / 2**30
    print(json.dumps(answer | {"seconds": time.perf_counter() - begun, "gib": peak}))
