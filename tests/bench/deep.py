"""Deep models: a step of the trainer, ensembles, and another library's trainer."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from tests.bench.rows import Row, medians, threads
from vae_lib.experiments import PROFILES, Setting
from vae_lib.runs import make_trainer
from vae_lib.training import Member, Trainer
from vae_lib.transforms import dequantise, logit, preprocess, uniform_noise
from vae_lib.vae import LOG_2PI

STEPS = 30  # a run is an epoch of so many
PYTHAE = (
    "For a comparison with pythae, which is not in requirements.txt: pip install --no-deps "
    "--target DIR pythae==0.1.2 cloudpickle pydantic==2.12.5 pydantic-core==2.41.5 "
    "annotated-types typing-inspection, then PYTHONPATH=DIR"
)


def perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [nn.Linear(num_inputs, num_outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def trainer(setting: Setting, images: Tensor, *members: Member, steps: int = STEPS) -> Trainer:
    """One whose epochs have so many ``steps``."""
    some = images[: steps * setting.batch_size]
    return make_trainer(replace(setting, num_images=len(some)), members, some)


def bare_step(setting: Setting, dim: int) -> Callable[[], object]:
    """The matrix products that a step cannot do without, into buffers, and one of Adam's steps.

    Forward one a layer, backward two, except that nobody needs the gradient of the images.
    """
    batch, sizes, k = setting.batch_size, (dim, *setting.hidden), setting.latent_dim
    shapes = [*pairwise((*sizes, 2 * k)), *pairwise((k, *reversed(sizes)))]
    inputs = [torch.randn(batch, num_inputs) for num_inputs, _ in shapes]
    errors = [torch.randn(batch, num_outputs) for _, num_outputs in shapes]
    outputs = [torch.empty_like(error) for error in errors]
    input_gradients = [torch.empty_like(values) for values in inputs]
    weights = [torch.randn(shape) / shape[0] ** 0.5 for shape in shapes]
    parameters = [*weights, *(torch.zeros(1, num_outputs) for _, num_outputs in shapes)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimiser = torch.optim.Adam(parameters, fused=True)

    def step() -> None:
        for values, weight, output in zip(inputs, weights, outputs, strict=True):
            torch.mm(values, weight, out=output)
        for layer in reversed(range(len(shapes))):
            torch.mm(inputs[layer].T, errors[layer], out=weights[layer].grad)
            if layer > 0:
                torch.mm(errors[layer], weights[layer].T, out=input_gradients[layer])
        optimiser.step()

    return step


def plain_step(setting: Setting, images: Tensor) -> Callable[[], object]:
    """The same model and loss as its author would write them for one model."""
    sizes, k = (images.shape[1], *setting.hidden), setting.latent_dim
    encoder, decoder = perceptron(*sizes, 2 * k), perceptron(k, *reversed(sizes))
    log_sigma_sq = nn.Parameter(torch.zeros(()))
    parameters = [*encoder.parameters(), *decoder.parameters(), log_sigma_sq]
    optimiser = torch.optim.Adam(parameters, fused=True)
    random = torch.Generator().manual_seed(0)

    def step() -> None:
        batch = images[torch.randint(len(images), (setting.batch_size,), generator=random)]
        pixels = dequantise(batch, uniform_noise(tuple(batch.shape), generator=random))
        data = logit(pixels, alpha=setting.alpha)
        mean, log_var = encoder(data).chunk(2, dim=-1)
        noise = torch.randn(mean.shape, generator=random)
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(-1)
        squared_error = (decoder(mean + (0.5 * log_var).exp() * noise) - data).square().sum(-1)
        fit = images.shape[1] * (LOG_2PI + log_sigma_sq) + squared_error / log_sigma_sq.exp()
        loss = (kl + 0.5 * fit).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def training_step(images: Tensor) -> list[Row]:
    """A step of the paper's model over the least that it could be."""
    setting = PROFILES["paper"].setting
    ours = trainer(setting, images, Member(sigma_sq_init=1.0, learned=True))
    bare, plain = bare_step(setting, images.shape[1]), plain_step(setting, images)

    def repeated(step: Callable[[], object]) -> Callable[[], object]:
        return lambda: [step() for _ in range(STEPS)]

    with threads(2):
        times = medians(ours.run_epoch, repeated(plain), repeated(bare), repeats=15)
    ours_step, plain_seconds, bare_seconds = (time / STEPS for time in times)
    return [
        Row(
            "a step of the paper's model over its products and Adam, 2 threads",
            ours_step,
            bare_seconds,
            1.5,
        ),
        Row("  the same in plain PyTorch", plain_seconds, bare_seconds, None),
    ]


def ensemble(images: Tensor, num_threads: int) -> Row:
    """A step of ten quick models as an ensemble over a step of each alone, both per model."""
    setting, members, steps = PROFILES["quick"].setting, PROFILES["quick"].members[:10], 10
    together = trainer(setting, images, *members, steps=steps)
    alone = [trainer(setting, images, member, steps=steps) for member in members]
    with threads(num_threads):
        times = medians(together.run_epoch, lambda: [one.run_epoch() for one in alone], repeats=15)
    batched, one_by_one = (time / steps / len(members) for time in times)
    label = f"{len(members)} quick models batched over one by one, threads: {num_threads}"
    return Row(label, batched, one_by_one, 0.7)


def pythae_epoch(
    setting: Setting, images: Tensor, folder: str, *, anew: bool
) -> Callable[[], object]:
    """An epoch of pythae's trainer.

    Its data are real vectors that stay the same in all epochs. If ``anew``, its data set draws
    their noise for every image that is asked for, as ours does for every batch.
    """
    from pythae.data.datasets import BaseDataset, DatasetOutput
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    sizes, k = (images.shape[1], *setting.hidden), setting.latent_dim
    prepare = partial(
        preprocess, alpha=setting.alpha, generator=torch.Generator(), dtype=torch.float32
    )

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = perceptron(*sizes, 2 * k)

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_var = self.layers(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = perceptron(k, *reversed(sizes))

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z))

    class Noisy(BaseDataset):
        def __getitem__(self, index: int) -> DatasetOutput:
            return DatasetOutput(data=prepare(images[index][None])[0], labels=self.labels[index])

    config = VAEConfig(input_dim=(images.shape[1],), latent_dim=k, reconstruction_loss="mse")
    theirs = BaseTrainer(
        VAE(config, Encoder(), Decoder()),
        (Noisy if anew else BaseDataset)(prepare(images), torch.zeros(len(images))),
        training_config=BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=setting.batch_size,
            no_cuda=True,
        ),
    )
    theirs.prepare_training()
    return lambda: theirs.train_step(epoch=1)


def other_trainer(images: Tensor) -> list[Row | str]:
    """An epoch over one of pythae's, without what it does around epochs: copies, files."""
    if importlib.util.find_spec("pythae") is None:
        return [PYTHAE]
    setting = PROFILES["paper"].setting
    ours = trainer(setting, images, Member(sigma_sq_init=1.0, learned=False))
    logging.disable(logging.WARNING)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),
        threads(2),
    ):
        theirs = [pythae_epoch(setting, ours.images, folder, anew=anew) for anew in (False, True)]
        times = medians(ours.run_epoch, *theirs, repeats=5)
    logging.disable(logging.NOTSET)
    ours_step, fixed, anew = (time / STEPS for time in times)
    return [
        Row(
            "the same over pythae's trainer, which gets floats, 2 threads",
            ours_step,
            fixed,
            1 / 1.5,
        ),
        Row("  over one whose data set draws noise anew, as ours does", ours_step, anew, None),
    ]


def rows(images: Tensor) -> Iterator[Row | str]:
    """Of ``images``, of bytes."""
    yield from training_step(images)
    yield from other_trainer(images)
    for num_threads in (1, 2):
        yield ensemble(images, num_threads)
