"""Where things are, and the two ways in which a command of the pipeline can fail."""

from dataclasses import dataclass
from pathlib import Path


class UsageError(Exception):
    """The request or the sources are wrong; nothing has been run (exit status 2)."""


class BuildError(Exception):
    """Something was run and failed (exit status 1)."""


@dataclass(frozen=True)
class Layout:
    """Every path that the pipeline reads or writes, relative to one root.

    Tests point it at a temporary folder; nothing else in the pipeline knows an absolute path.
    """

    root: Path

    @property
    def book(self) -> Path:
        return self.root / "book"

    @property
    def profiles(self) -> Path:
        return self.book / "params"

    @property
    def build(self) -> Path:
        return self.root / "_build"

    @property
    def executed(self) -> Path:
        """The cache of executed chapters: ``<chapter>/<key>.ipynb``."""
        return self.build / "executed"

    @property
    def failed(self) -> Path:
        """Notebooks as far as they got, kept so that a failure can be looked at."""
        return self.build / "failed"

    @property
    def running(self) -> Path:
        return self.build / "running"

    @property
    def reexecuted(self) -> Path:
        """Chapters run on their own: ``<chapter>/<values>/``, with a notebook and a site each."""
        return self.build / "chapters"

    @property
    def html(self) -> Path:
        return self.build / "html"

    @property
    def pdf(self) -> Path:
        return self.build / "book.pdf"

    def shown(self, path: Path) -> str:
        """A path as a reader sees it in a message: relative to the root where it can be."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
