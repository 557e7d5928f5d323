"""Named arrays in a file that is whole or absent, and that no one can make run code.

A checkpoint is NumPy's ``.npz``: a zip archive whose members carry a checksum each. It is read
with ``allow_pickle=False``, so that it holds numbers and text and nothing else.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from vae_lib.files import write_whole

# What np.load and zipfile raise on files that are not what they seem; NotImplementedError, a
# RuntimeError, where a damaged header asks for an unknown method.
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(RuntimeError):
    """A checkpoint is damaged, or belongs to another run. The message names the file."""


def save(path: Path, arrays: dict[str, np.ndarray], *, owner: str) -> None:
    """Write ``arrays``; ``owner`` says whose they are, for :func:`load` to compare."""
    entries = {**arrays, "owner": np.array(owner)}
    write_whole(path, lambda file: np.savez(file, **entries))


def load(path: Path, *, owner: str) -> dict[str, np.ndarray]:
    """Read what :func:`save` wrote for the same ``owner``.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is truncated, edited, no checkpoint, or another owner's.
    """
    try:
        # Opened here, because np.load leaves a broken archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise
    except _DAMAGED as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged ({error}); delete it to start that run again"
        ) from error
    found = str(arrays.pop("owner", "no one"))
    if found != owner:
        raise CheckpointError(
            f"the checkpoint {path} belongs to {found}, not to {owner}; delete it, "
            "or choose another folder"
        )
    return arrays
