"""Draws the blocks of a network as an SVG picture, 800 pixels wide, with text of 12 pixels and more."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from math import prod

from training.description.blocks import Block, blocks_of
from training.description.graph import (
    ADD,
    CONVOLUTION,
    DENSE,
    DEPTHWISE,
    ENLARGE,
    INPUT,
    JOIN,
    TRANSPOSED,
    Graph,
    Shape,
)
from training.html.pictures import DIM, FAINT, INK

WIDTH = 800
SMALLEST_TEXT = 12
_TITLE, _TEXT = 17, 13
_MARGIN, _GAP, _LINE = 16, 14, 17
# Where boxes end, and where the columns beside them begin or end.
_RIGHT, _SHAPE, _PARAMETERS, _ADDS = 498, 512, 700, WIDTH - _MARGIN
# Skips run left of the boxes, one lane each.
_LANES, _LANE = 4, 13
# The mean width of a letter, as a share of the font's size; text of other fonts is narrower.
_LETTER = 0.6
_COLOURS = {
    CONVOLUTION: "#dbe9f6",
    DENSE: "#dbe9f6",
    TRANSPOSED: "#dbe9f6",
    DEPTHWISE: "#d6efe4",
    JOIN: "#f6e7d3",
    ADD: "#f6e7d3",
    ENLARGE: "#f6e7d3",
}
_OTHER = "#eef1f4"
_PLACES = 3


def diagram(graph: Graph, model: str, outputs: Sequence[str]) -> str:
    """Return an SVG picture of a network, from its input above to its output below.

    Args:
        graph: the network.
        model: name and version of the bundle.
        outputs: the meaning of the output's channels; empty: unknown.
    """
    return _Drawing(graph).picture(model, outputs)


class _Drawing:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._blocks = graph, blocks_of(graph)
        self._parts: list[str] = []
        self._skips = 0
        self._left = _MARGIN + (_LANES * _LANE if any(block.skips for block in self._blocks) else 0)
        self._y = _MARGIN
        # The vertical middle of the box that makes each layer's output.
        self._middle = {INPUT: 0.0}

    def picture(self, model: str, outputs: Sequence[str]) -> str:
        graph = self._graph
        self._heading(model)
        shape = graph.input_shape
        self._box("Input", f"grey values 0 to 255, {_sides(shape)} pixels", _OTHER, shape)
        self._middle[INPUT] = self._y - _GAP
        for block in self._blocks:
            self._block(block)
        self._box("Output", _meaning(outputs, graph.layers[-1].shape), _OTHER, graph.layers[-1].shape)
        height = self._y - _GAP + _MARGIN
        alt = escape(f"The architecture of {graph.file}: {self._facts()}.", quote=True)
        return "\n".join(
            [
                (
                    f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
                    f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{alt}" font-family="Arial, Helvetica, sans-serif">'
                ),
                (
                    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
                    f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{DIM}"/></marker></defs>'
                ),
                f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
                *self._parts,
                "</svg>",
                "",
            ]
        )

    def _heading(self, model: str) -> None:
        self._y += _TITLE
        self._text(_MARGIN, self._y, f"{self._graph.file} of {model}", size=_TITLE, bold=True)
        self._y += 22
        self._text(_MARGIN, self._y, self._facts(), colour=DIM)
        self._y += 30
        for x, label, anchor in (
            (_SHAPE, "output", "start"),
            (_PARAMETERS, "parameters", "end"),
            (_ADDS, "mult.-adds", "end"),
        ):
            self._text(x, self._y, label, size=SMALLEST_TEXT, colour=DIM, anchor=anchor)
        self._y += 10

    def _facts(self) -> str:
        graph = self._graph
        return (
            f"{graph.parameters:,} parameters, {_adds(graph.multiply_adds)} multiply-adds an image, "
            f"{graph.weights} weights, {graph.size:,} bytes"
        )

    def _block(self, block: Block) -> None:
        top = self._y
        self._box(
            block.title,
            block.detail,
            _COLOURS.get(block.kind, _OTHER),
            block.shape,
            block.count,
            (block.parameters, block.multiply_adds),
        )
        middle = (top + self._y - _GAP) / 2
        for skip in block.skips:
            self._skip(self._source(skip), middle)
        self._middle[block.last] = middle

    def _source(self, layer: int) -> float:
        """Return the middle of the box that holds a layer."""
        inside = min((last for last in self._middle if last >= layer), default=INPUT)
        return self._middle[inside]

    def _skip(self, start: float, end: float) -> None:
        x = self._left - 9 - self._skips % _LANES * _LANE
        self._skips += 1
        self._parts.append(
            f'<path d="M{self._left} {start:g}H{x}V{end:g}H{self._left - 2}" fill="none" stroke="{DIM}" '
            'stroke-dasharray="4 3" marker-end="url(#tip)"/>'
        )

    def _box(
        self,
        title: str,
        detail: str,
        colour: str,
        shape: Shape,
        count: int = 1,
        costs: tuple[int, int] = (0, 0),
    ) -> None:
        lines = textwrap.wrap(detail, int((_RIGHT - self._left - 24) / (_LETTER * SMALLEST_TEXT)))
        height = 14 + _LINE * (1 + len(lines))
        if title != "Input":
            x = (self._left + _RIGHT) / 2
            self._parts.append(
                f'<line x1="{x:g}" y1="{self._y - _GAP}" x2="{x:g}" y2="{self._y - 1}" stroke="{DIM}" '
                'marker-end="url(#tip)"/>'
            )
        self._parts.append(
            f'<rect x="{self._left}" y="{self._y}" width="{_RIGHT - self._left}" height="{height}" rx="5" fill="{colour}" '
            f'stroke="{FAINT}"/>'
        )
        baseline = self._y + 7 + _TEXT
        self._text(self._left + 12, baseline, title, bold=True)
        if count > 1:
            self._text(_RIGHT - 12, baseline, f"{count} times", bold=True, anchor="end")
        for number, line in enumerate(lines, 1):
            self._text(self._left + 12, baseline + number * _LINE, line, size=SMALLEST_TEXT)
        middle = self._y + height / 2 + 4
        self._text(_SHAPE, middle, _sides(shape))
        for x, text in ((_PARAMETERS, f"{costs[0]:,}"), (_ADDS, _adds(costs[1]))):
            if costs[0] or costs[1]:
                self._text(x, middle, text, anchor="end")
        self._y += height + _GAP

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = _TEXT,
        colour: str = INK,
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
            f"{escape(text)}</text>"
        )


def _meaning(outputs: Sequence[str], shape: Shape) -> str:
    where = f" at each of {_sides(shape[:2])} places" if len(shape) == _PLACES and prod(shape[:2]) > 1 else ""
    names = (
        ", ".join(name.replace("_", " ") for name in outputs) or f"{shape[-1]} number{'s' * (shape[-1] > 1)}"
    )
    return f"{names}{where}"


def _sides(shape: Shape) -> str:
    spatial = shape[:2] if len(shape) == _PLACES and shape[-1] == 1 else shape
    return " × ".join(str(side) for side in spatial)  # noqa: RUF001


def _adds(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e5 else f"{number:,}"  # noqa: PLR2004
