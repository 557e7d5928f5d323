"""What is printed while a chapter runs, and which of its stderr is only progress bars."""

import re
import sys
import time
from typing import TextIO

# "desc:  40%|####      | 4/10 [00:01<00:02,  3.1it/s]", and the form without a total.
_BAR = re.compile(
    r"(\d+%\|.*\|\s*\S+/\S+\s*\[.*\]|\|\s*\S+/\S+\s*\[.*\]|\d\S*it\s*\[[\d:]+,.*\])\s*\S*$"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def strip_ansi(text: str) -> str:
    return _ANSI.sub("", text)


def is_bar(line: str) -> bool:
    """Whether a line was written by tqdm."""
    return bool(_BAR.search(line))


def stderr_lines(text: str) -> list[str]:
    """The lines of what a cell wrote to stderr; a bar redrawn with \\r counts as many lines."""
    lines = re.split(r"[\r\n]+", strip_ansi(text))
    return [line.rstrip() for line in lines if line.strip()]


def unexpected(text: str) -> list[str]:
    """The lines of stderr that are no progress bars: warnings, mostly."""
    return [line for line in stderr_lines(text) if not is_bar(line)]


class Reporter:
    """Prints the progress of one chapter, each line marked with its name.

    Chapters run side by side, so a bar cannot be redrawn in place: it is printed as a line now
    and then, more seldom where the output is not a terminal but a log. It has the two methods of
    a file that papermill uses to pass on what a cell writes to stderr.
    """

    def __init__(self, chapter: str, total: int, stream: TextIO | None = None) -> None:
        self.chapter = chapter
        self.total = total
        self.stream = stream or sys.stdout
        self.interval = 2.0 if self.stream.isatty() else 15.0
        self.cell_index: int | None = None  # position in the notebook that is running
        self._last_bar = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{self.chapter}] {text}", file=self.stream, flush=True)

    def cell(self, number: int) -> None:
        self.say(f"cell {number}/{self.total}")
        self._last_bar = time.monotonic()  # short loops then print no bar at all

    def write(self, text: str) -> int:
        for line in stderr_lines(text):
            if not is_bar(line):
                self.say(line)
            elif time.monotonic() - self._last_bar >= self.interval:
                self._last_bar = time.monotonic()
                self.say(line)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()
