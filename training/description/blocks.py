"""Groups the layers of a network into the blocks that a person names. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.description.graph import (
    ADD,
    DEPTHWISE,
    ENLARGE,
    INPUT,
    JOIN,
    SCALE,
    Graph,
    Layer,
    Shape,
)

_RESIDUAL, _SEPARABLE = "Inverted residual", "Separable convolution"
_SUM = ", plus its input"


@dataclass(frozen=True)
class Block:
    """One box of the diagram.

    Attributes:
        title: what it is.
        detail: kernels, widths and activation; may be empty.
        kind: of its main layer.
        shape: of its output.
        parameters: of all its repeats.
        multiply_adds: of all its repeats, for one image.
        count: how often it is repeated.
        last: the number of its last layer.
        skips: numbers of layers, other than the one before the block, that it takes too.
    """

    title: str
    detail: str
    kind: str
    shape: Shape
    parameters: int
    multiply_adds: int
    count: int
    last: int
    skips: tuple[int, ...]


def blocks_of(graph: Graph) -> list[Block]:
    """Return the blocks of a network in the order in which they run; equal ones in a row are one."""
    blocks: list[Block] = []
    targets = {source for layer in graph.layers for source in layer.sources if layer.kind == JOIN}
    start = 0
    while start < len(graph.layers):
        length, block = _next(graph, start)
        before = blocks[-1] if blocks else None
        if before and _same(before, block) and before.last not in targets:
            blocks[-1] = replace(
                block,
                count=before.count + 1,
                parameters=before.parameters + block.parameters,
                multiply_adds=before.multiply_adds + block.multiply_adds,
            )
        else:
            blocks.append(block)
        start += length
    return blocks


def _next(graph: Graph, start: int) -> tuple[int, Block]:
    layers = graph.layers
    for length, is_block in ((4, _is_residual), (3, _is_inverted), (2, _is_separable)):
        part = layers[start : start + length]
        if len(part) == length and is_block(part, start):
            return length, _grouped(part, start)
    layer = layers[start]
    return 1, _alone(graph, layer, start)


def _grouped(part: Sequence[Layer], start: int) -> Block:
    depthwise = next(layer for layer in part if layer.kind == DEPTHWISE)
    title = _SEPARABLE if part[0] is depthwise else _RESIDUAL
    return Block(
        f"{title}, {_window(depthwise)}{_SUM if part[-1].kind == ADD else ''}",
        "; ".join(_phrase(layer) for layer in part if layer.kind != ADD),
        DEPTHWISE,
        part[-1].shape,
        sum(layer.parameters for layer in part),
        sum(layer.multiply_adds for layer in part),
        1,
        start + len(part) - 1,
        (),
    )


def _phrase(layer: Layer) -> str:
    if layer.kind == DEPTHWISE:
        return f"depthwise {_kernel(layer)}{_active(layer)}"
    return f"{_kernel(layer)} to {layer.shape[-1]}{_active(layer)}"


def _alone(graph: Graph, layer: Layer, number: int) -> Block:
    title = layer.kind[0].upper() + layer.kind[1:]
    if layer.kernel:
        title = f"{title}, {_window(layer)}"
    if layer.kind == ENLARGE:
        title = f"{title}, each place {layer.shape[0] // graph.shape_before(layer)[0]} times a side"
    return Block(
        title,
        _active(layer).removeprefix(", "),
        layer.kind,
        layer.shape,
        layer.parameters,
        layer.multiply_adds,
        1,
        number,
        tuple(source for source in layer.sources if source not in {number - 1, INPUT}),
    )


def _same(before: Block, block: Block) -> bool:
    """Return whether a block repeats the one before it, from and to maps of the same shape."""
    alike = (before.title, before.detail, before.shape) == (block.title, block.detail, block.shape)
    per_repeat = before.parameters // before.count
    return alike and block.kind != SCALE and not block.skips and per_repeat == block.parameters


def _is_chain(part: Sequence[Layer], start: int) -> bool:
    return all(layer.sources == (start + place - 1,) for place, layer in enumerate(part) if place)


def _is_inverted(part: Sequence[Layer], start: int) -> bool:
    expand, depthwise, project = part[:3]
    is_kinds = expand.is_pointwise and depthwise.kind == DEPTHWISE and project.is_pointwise
    return is_kinds and bool(expand.activation) and not project.activation and _is_chain(part[:3], start)


def _is_residual(part: Sequence[Layer], start: int) -> bool:
    total = part[3]
    wanted = {start + 2, *part[0].sources}
    return _is_inverted(part, start) and total.kind == ADD and set(total.sources) == wanted


def _is_separable(part: Sequence[Layer], start: int) -> bool:
    return part[0].kind == DEPTHWISE and part[1].is_pointwise and _is_chain(part, start)


def _window(layer: Layer) -> str:
    return _kernel(layer) + (f", stride {layer.stride}" if layer.stride > 1 else "")


def _kernel(layer: Layer) -> str:
    return " × ".join(str(side) for side in layer.kernel or ())  # noqa: RUF001


def _active(layer: Layer) -> str:
    names = {"RELU": "ReLU", "RELU6": "ReLU6"}
    return f", {names.get(layer.activation, layer.activation.lower())}" if layer.activation else ""
