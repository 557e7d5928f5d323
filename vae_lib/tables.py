"""Tables that show themselves as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A header and rows of cells, which may hold Markdown and formulas."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(map(typeset, line)) + " |" for line in lines)

    def _repr_markdown_(self) -> str:
        return str(self)


def typeset(value: object) -> str:
    """``value`` as text, where a number below zero begins with a minus sign and not a hyphen."""
    return re.sub(r"^-(?=\d)", "−", str(value))
