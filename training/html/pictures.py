"""Images and plots as pictures inside a report, and the style of all plots."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.html.blocks import DATA_URI, Picture

# Okabe and Ito, Color Universal Design, 2008: distinct for every kind of colour vision.
# Lines also differ in their dashes, so they are distinct without any colour vision.
NORMAL, BACTERIAL, VIRAL, PNEUMONIA = "#0072B2", "#D55E00", "#C98A00", "#7A3B69"
INK, DIM, FAINT = "#1d2329", "#5b6672", "#d9dee4"
_CYCLE = (NORMAL, BACTERIAL, VIRAL, "#009E73", PNEUMONIA, "#56B4E9", "#000000")
_DASHES = ("-", "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (4, 1.5, 1, 1.5)), "-", "-")


def thumbnail(
    pixels: NDArray[np.uint8], alt: str, *, caption: str = "", width: int = 160, quality: int = 82
) -> Picture:
    """Return grey or RGB values 0..255, shape (h, w) or (h, w, 3), as a JPEG picture.

    All pixels are kept; the page shows the picture `width` CSS pixels wide.
    """
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=quality)
    height = round(width * pixels.shape[0] / pixels.shape[1])
    return Picture(_data_uri("jpeg", encoded.getvalue()), alt, width, height, caption)


@contextmanager
def style() -> Iterator[None]:
    """Apply the plot style of all reports: quiet, readable, safe for every kind of colour vision.

    Use it as a context manager around the plotting, or as a decorator. Create a `matplotlib.figure.Figure`, not
    a pyplot figure, because pyplot keeps every figure in memory.
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


def figure(plot: Any, alt: str, *, caption: str = "", form: Literal["svg", "png"] = "svg") -> Picture:
    """Return a matplotlib figure as a picture; use `png` for figures with thousands of points.

    Its size on the page is its size in inches, at 96 CSS pixels an inch.
    """
    encoded = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with style():
        plot.savefig(encoded, format=form, dpi=192, metadata=metadata)
    width, height = (round(inches * 96) for inches in plot.get_size_inches())
    if form == "png":
        return Picture(_data_uri("png", encoded.getvalue()), alt, width, height, caption)
    # matplotlib ends lines with a space.
    lines = b"\n".join(line.rstrip() for line in encoded.getvalue().splitlines()) + b"\n"
    return Picture(_data_uri("svg+xml", lines), alt, width, height, caption)


def _data_uri(kind: str, content: bytes) -> str:
    return f"{DATA_URI}{kind};base64,{base64.b64encode(content).decode('ascii')}"
