"""Files that are whole or absent, whoever else writes, and whatever stops the writer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_PARTIAL_MAX_AGE_SECONDS = 3600.0


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
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # the system does not say what it could not write
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
