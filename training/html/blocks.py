"""The parts of a report: a list of sections, a section a list of blocks."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Cell = str | int | float | None
Tone = Literal["plain", "alarm"]
_NOTHING = "–"  # noqa: RUF001 - a dash where a number would be
_FIGURES = re.compile(r"[-+]?(?!0\d)\d[\d,.]*(\s?%)?( [\[(].*[\])])?")
DATA_URI = "data:image/"


@dataclass(frozen=True)
class Prose:
    """One paragraph."""

    text: str
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Statements:
    """A list of whole sentences. `alarm` marks warnings that a reader must check before using the data."""

    sentences: Sequence[str]
    tone: Tone = "plain"
    kind: ClassVar[str] = "findings"


@dataclass(frozen=True)
class KeyFigures:
    """A few large numbers, each a pair of value and description."""

    figures: Sequence[tuple[Cell, str]]
    kind: ClassVar[str] = "key_figures"

    def written(self) -> list[tuple[str, str]]:
        """Return the values as text."""
        return [(_written(value), what) for value, what in self.figures]


@dataclass(frozen=True)
class Table:
    """Rows under headers. Columns that hold only numbers are aligned right.

    Integers get thousands separators, floats three decimals, None a dash. Format other numbers yourself, for
    instance an interval as `0.958 [0.951, 0.965]`.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    kind: ClassVar[str] = "table"

    def written(self) -> list[list[str]]:
        """Return the cells as text."""
        return [[_written(cell) for cell in row] for row in self.rows]

    def is_numeric(self) -> list[bool]:
        """Return which columns hold only numbers."""
        columns = zip(*self.written(), strict=True)
        numeric = [all(cell == _NOTHING or _FIGURES.fullmatch(cell) for cell in column) for column in columns]
        return numeric or [False] * len(self.headers)


@dataclass(frozen=True)
class Picture:
    """An image inside the page. `uri` is a data URI; `alt` describes the image in words.

    Width and height are in CSS pixels.
    """

    uri: str
    alt: str
    width: int
    height: int
    caption: str = ""
    kind: ClassVar[str] = "picture"

    def __post_init__(self) -> None:
        if not self.uri.startswith(DATA_URI):
            raise ValueError("a picture needs a data URI, because a report loads nothing")

    @property
    def content(self) -> bytes:
        """The picture as a file."""
        return base64.b64decode(self.uri.partition(",")[2])


@dataclass(frozen=True)
class Grid:
    """Small pictures in rows, each with its caption below."""

    pictures: Sequence[Picture]
    caption: str = ""
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Panel:
    """Pictures that belong together (a pair, an image and its map), with a title and lines below."""

    pictures: Sequence[Picture]
    title: str
    lines: Sequence[str] = ()
    tone: Tone = "plain"


@dataclass(frozen=True)
class Panels:
    """Panels in rows."""

    panels: Sequence[Panel]
    kind: ClassVar[str] = "cards"


Block = Prose | Statements | KeyFigures | Table | Picture | Grid | Panels


@dataclass(frozen=True)
class Folded:
    """Blocks that a reader can unfold; always visible on paper."""

    summary: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "folded"


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: Sequence[Block | Folded]

    @property
    def anchor(self) -> str:
        """The target of links within the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def _written(cell: Cell) -> str:
    if cell is None:
        return _NOTHING
    if isinstance(cell, str):
        return cell
    return f"{cell:.3f}" if isinstance(cell, float) else f"{cell:,}"
