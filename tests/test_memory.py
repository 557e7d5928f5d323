"""Data sets are read in blocks, so that more images do not take more memory."""

import subprocess
import sys

import pytest

from tests.bench.memory import BYTES
from vae_lib.transforms import _BLOCK_NUMBERS

FEW, MANY = 8, 40  # blocks
# One byte stands for all pixels of all images, so that the images themselves take no memory. The
# peak is that of the process, which is why there is one for each case.
PROGRAM = """
import resource
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

torch.set_num_threads(1)
image = torch.full((1, 1), 200, dtype=torch.uint8)
for blocks in ({few}, {many}):
    {call}(image.expand(blocks * ({numbers} // DIM), DIM))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("call", ["mean_log_abs_det", "data_mean", "evaluate"])
def test_more_images_do_not_take_more_memory(call):
    """202,599 images of CelebA once took 17 GB, of which the last block took 0.2."""
    program = PROGRAM.format(few=FEW, many=MANY, numbers=_BLOCK_NUMBERS, call=call)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    few, many = (int(line) * BYTES for line in done.stdout.split())
    # A block in float64 is 32 MiB, and all that is kept of an image is a few numbers. Kept blocks
    # would add one for each of those that only the second call has.
    kept = (many - few) / (8 * _BLOCK_NUMBERS)
    assert kept <= (MANY - FEW) / 4
