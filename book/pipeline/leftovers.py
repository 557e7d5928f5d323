"""What killed processes left in the folders of the build."""

import contextlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

# A rendering takes minutes. A chapter may take a day, but papermill writes its notebook anew, and
# whole, after each cell, so that it does not miss the file.
MAX_AGE_SECONDS = 3600.0


def remove_old(paths: Iterable[Path]) -> None:
    """Delete those that are old; a young one may be another's that is still at work."""
    oldest = time.time() - MAX_AGE_SECONDS
    for path in list(paths):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if path.stat().st_mtime >= oldest:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
