"""Data sets are read in blocks, so that more images do not take more memory."""

import subprocess
import sys

import pytest

from vae_lib.experiments import REPOSITORY
from vae_lib.transforms import _BLOCK_NUMBERS

FEW, MANY = 8, 40  # blocks
# One byte stands for all pixels of all images, so that the images themselves take no memory. Each
# case is a process of its own, because a peak stays. What getrusage says is on Linux also that of
# the process from which this one was started.
PROGRAM = """
import sys
import torch
from vae_lib import evaluation, training, transforms, vae

DIM = 12_288

def mean_log_abs_det(images):
    transforms.mean_log_abs_det(images, alpha=0.05, generator=torch.Generator().manual_seed(0))

def data_mean(images):
    training.data_mean(images, alpha=0.05)

def evaluate(images):
    generators = [torch.Generator().manual_seed(1)]
    model = vae.GaussianVAE(
        vae.mlp((DIM, 2), generators),
        vae.mlp((1, DIM), generators),
        latent_dim=1,
        sigma_sq=torch.ones(1),
        learned=torch.zeros(1, dtype=torch.bool),
    )
    evaluation.evaluate(model.select(0), images, alpha=0.05)

def peak():
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS

torch.set_num_threads(1)
image = torch.full((1, 1), 200, dtype=torch.uint8)
for blocks in ({few}, {many}):
    {call}(image.expand(blocks * ({numbers} // DIM), DIM))
    print(peak())
"""


@pytest.mark.parametrize("call", ["mean_log_abs_det", "data_mean", "evaluate"])
def test_more_images_do_not_take_more_memory(call):
    """202,599 images of CelebA once took 17 GB, a block of them takes a fifth of one."""
    program = PROGRAM.format(few=FEW, many=MANY, numbers=_BLOCK_NUMBERS, call=call)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    few, many = map(int, done.stdout.split())
    # A block in float64 is 32 MiB, and all that is kept of an image is a few numbers. Kept blocks
    # would add one for each of those that only the second call has.
    kept = (many - few) / (8 * _BLOCK_NUMBERS)
    assert kept <= (MANY - FEW) / 4
