"""Named arrays in a file that is whole or absent, and that no one can make run code.

A checkpoint is NumPy's ``.npz``: a zip archive whose members carry a checksum each. It is read
with ``allow_pickle=False``, so that it holds numbers and text and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

_PARTIAL_MAX_AGE_SECONDS = 3600.0
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


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it: ``path`` is never half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_old_partials(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _remove_old_partials(path: Path) -> None:
    """Delete what killed processes left behind; a young file may be another's that still writes."""
    oldest = time.time() - _PARTIAL_MAX_AGE_SECONDS
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if partial.stat().st_mtime < oldest:
                partial.unlink()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system releases it when a process dies."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
