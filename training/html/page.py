"""Reports that people read: one HTML file, with its pictures in it, that asks nothing of any network.

A report is a list of sections, a section a list of blocks. All text is escaped where it is
written out; file names and labels may hold anything.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

RESEARCH_ONLY = "For research and education only. Never a diagnosis."

# Okabe and Ito, Color Universal Design, 2008: told apart with any kind of colour vision.
# Lines are also dashed differently, so that they can be told apart without any.
NORMAL, BACTERIAL, VIRAL, PNEUMONIA = "#0072B2", "#D55E00", "#C98A00", "#7A3B69"
INK, DIM, FAINT = "#1d2329", "#5b6672", "#d9dee4"
_CYCLE = (NORMAL, BACTERIAL, VIRAL, "#009E73", PNEUMONIA, "#56B4E9", "#000000")
_DASHES = ("-", "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (4, 1.5, 1, 1.5)), "-", "-")

Cell = str | int | float | None
Tone = Literal["plain", "alarm"]
_NOTHING = "–"  # noqa: RUF001 - a dash where a number would be
_FIGURES = re.compile(r"[-+]?(?!0\d)\d[\d,.]*(\s?%)?( [\[(].*[\])])?")
_EMBEDDED = "data:image/"


@dataclass(frozen=True)
class Prose:
    """One paragraph."""

    text: str
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Findings:
    """A list of whole sentences. `alarm` is for what must be looked at before the data are used."""

    sentences: Sequence[str]
    tone: Tone = "plain"
    kind: ClassVar[str] = "findings"


@dataclass(frozen=True)
class KeyFigures:
    """A few large numbers, each a pair of value and what it counts."""

    figures: Sequence[tuple[Cell, str]]
    kind: ClassVar[str] = "key_figures"

    def written(self) -> list[tuple[str, str]]:
        """The values as text."""
        return [(_written(value), what) for value, what in self.figures]


@dataclass(frozen=True)
class Table:
    """Rows under headers. Whole columns of numbers are set flush right.

    Integers get separators of thousands, floats three decimals, None a dash; write other
    numbers out yourself, an interval as `0.958 [0.951, 0.965]`.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    kind: ClassVar[str] = "table"

    def written(self) -> list[list[str]]:
        """The cells as text."""
        return [[_written(cell) for cell in row] for row in self.rows]

    def is_numeric(self) -> list[bool]:
        """Which columns hold nothing but numbers."""
        columns = zip(*self.written(), strict=True)
        found = [all(cell == _NOTHING or _FIGURES.fullmatch(cell) for cell in column) for column in columns]
        return found or [False] * len(self.headers)


@dataclass(frozen=True)
class Picture:
    """An image inside the page. `uri` is a data URI; `alt` says in words what it shows.

    Width and height are in CSS pixels.
    """

    uri: str
    alt: str
    width: int
    height: int
    caption: str = ""
    kind: ClassVar[str] = "picture"

    def __post_init__(self) -> None:
        if not self.uri.startswith(_EMBEDDED):
            raise ValueError("a report holds its pictures itself: a data URI is needed")


@dataclass(frozen=True)
class Grid:
    """Small pictures in rows, as many in each as fit; each has its caption below."""

    pictures: Sequence[Picture]
    caption: str = ""
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Card:
    """Pictures that belong together (a pair, an image and its map), a title, and lines below."""

    pictures: Sequence[Picture]
    title: str
    lines: Sequence[str] = ()
    tone: Tone = "plain"


@dataclass(frozen=True)
class Cards:
    """Cards in rows, as many in each as fit."""

    cards: Sequence[Card]
    kind: ClassVar[str] = "cards"


Block = Prose | Findings | KeyFigures | Table | Picture | Grid | Cards


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when a person asks, and always on paper."""

    summary: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "folded"


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block | Folded]

    @property
    def anchor(self) -> str:
        """What a link within the page names."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def page(
    title: str, subtitle: str, sections: Sequence[Section], notice: str = "", *, made: datetime | None = None
) -> str:
    """A whole HTML document, self-contained.

    Args:
        title: what the report is about.
        subtitle: what it was made from.
        sections: in the order of their importance.
        notice: what a reader must know before reading, below the line that every page carries.
        made: when; None: now. Printed in UTC.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    text = environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        notice=notice,
        research_only=RESEARCH_ONLY,
        made=(made or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    # A file's name may hold bytes that are no text.
    return text.encode("utf-8", "replace").decode("utf-8")


def thumbnail(
    pixels: NDArray[np.uint8], alt: str, *, caption: str = "", width: int = 160, quality: int = 82
) -> Picture:
    """Grey or RGB values 0..255, shape (h, w) or (h, w, 3), as a JPEG inside the page.

    The pixels are kept as they are; the page shows them `width` wide.
    """
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=quality)
    height = round(width * pixels.shape[0] / pixels.shape[1])
    return Picture(_data_uri("jpeg", encoded.getvalue()), alt, width, height, caption)


@contextmanager
def style() -> Iterator[None]:
    """Plots as all reports draw them: quiet, readable, safe for every kind of colour vision.

    Put the plotting inside, or use it as a decorator of the function that plots; make a
    `matplotlib.figure.Figure`, not one of pyplot, which keeps every figure for ever.
    """
    import matplotlib as mpl
    from cycler import cycler

    with mpl.rc_context(
        {
            "axes.edgecolor": DIM,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.labelcolor": DIM,
            "axes.prop_cycle": cycler(color=_CYCLE, linestyle=_DASHES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "font.size": 9,
            "grid.color": FAINT,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "svg.fonttype": "path",
            # The same numbers give the same bytes.
            "svg.hashsalt": "nightread",
            "text.color": INK,
            "xtick.color": DIM,
            "ytick.color": DIM,
        }
    ):
        yield


def figure(drawn: Any, alt: str, *, caption: str = "", form: Literal["svg", "png"] = "svg") -> Picture:
    """A matplotlib figure as a picture; `png` for those with thousands of points.

    Its size on the page is its size in inches, at 96 CSS pixels an inch.
    """
    encoded = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with style():
        drawn.savefig(encoded, format=form, dpi=192, metadata=metadata)
    width, height = (round(inches * 96) for inches in drawn.get_size_inches())
    kind = "svg+xml" if form == "svg" else "png"
    return Picture(_data_uri(kind, encoded.getvalue()), alt, width, height, caption)


def _breakable(text: str) -> Markup:
    """Names of files may be broken after their separators, and nowhere else if that will do."""
    parts = re.split(r"(?<=[_/-])", text)
    return Markup("<wbr>").join(parts)


def _data_uri(kind: str, content: bytes) -> str:
    return f"{_EMBEDDED}{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _written(cell: Cell) -> str:
    if cell is None:
        return _NOTHING
    if isinstance(cell, str):
        return cell
    return f"{cell:.3f}" if isinstance(cell, float) else f"{cell:,}"
