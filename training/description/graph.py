"""Reads the layers of a network from a .tflite file, without running it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.errors import ModelUnusable

Shape = tuple[int, ...]

CONVOLUTION, DEPTHWISE, DENSE = "convolution", "depthwise convolution", "dense layer"
TRANSPOSED = "transposed convolution"
ADD, JOIN, SCALE, ENLARGE, RESHAPE = "addition", "join", "scaling", "enlargement", "reshaping"
# The source of a layer that takes the network's input.
INPUT = -1
# Names of the schema, in which a network is stored (schema.fbs of LiteRT). Others keep their name.
_KINDS = {
    "CONV_2D": CONVOLUTION,
    "DEPTHWISE_CONV_2D": DEPTHWISE,
    "TRANSPOSE_CONV": TRANSPOSED,
    "FULLY_CONNECTED": DENSE,
    "ADD": ADD,
    "CONCATENATION": JOIN,
    "MAX_POOL_2D": "maximum of windows",
    "AVERAGE_POOL_2D": "mean of windows",
    "MEAN": "mean over the places",
    "RESIZE_NEAREST_NEIGHBOR": ENLARGE,
    "RESIZE_BILINEAR": ENLARGE,
    "RESHAPE": RESHAPE,
    "TILE": RESHAPE,
    "SOFTMAX": "softmax",
    "LOGISTIC": "logistic function",
}
_WITH_WEIGHTS = {CONVOLUTION, DEPTHWISE, TRANSPOSED, DENSE}
_WITH_SCALARS = {"ADD", "SUB", "MUL", "DIV"}
_PASSED_OVER = {"QUANTIZE", "DEQUANTIZE", "CAST"}
# Of one kind in a row, these are one layer.
_MERGED = {SCALE, RESHAPE}


@dataclass(frozen=True)
class Layer:
    """A step of a network.

    Attributes:
        kind: what it does, for instance `convolution`.
        sources: numbers of the layers that it takes, or `INPUT`.
        shape: of its output, without the batch: (height, width, channels) or (channels,).
        kernel: (height, width); None: it has no window.
        stride: of the window.
        activation: `RELU6`, for instance; empty: none.
        parameters: number of its weights and biases.
        multiply_adds: for one image.
    """

    kind: str
    sources: tuple[int, ...]
    shape: Shape
    kernel: tuple[int, int] | None = None
    stride: int = 1
    activation: str = ""
    parameters: int = 0
    multiply_adds: int = 0

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a convolution of 1 x 1 that keeps every place."""
        return self.kind == CONVOLUTION and self.kernel == (1, 1) and self.stride == 1


@dataclass(frozen=True)
class Graph:
    """A network: its layers in the order in which they run, and the facts of its file."""

    file: str
    size: int
    weights: str
    input_shape: Shape
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Those of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    def shape_before(self, layer: Layer) -> Shape:
        """Return the shape of the first input of a layer."""
        source = layer.sources[0] if layer.sources else INPUT
        return self.input_shape if source == INPUT else self.layers[source].shape


def read_graph(path: Path) -> Graph:
    """Read a .tflite file.

    Raises:
        ModelUnusable: it is not such a file, or holds several graphs.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ModelUnusable(f"{path} is not a LiteRT file.")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    if len(model.subgraphs) != 1:
        raise ModelUnusable(f"{path} holds {len(model.subgraphs)} graphs; only one can be drawn.")
    return _Reader(schema, model).graph(path.name, len(content))


class _Reader:
    def __init__(self, schema: Any, model: Any) -> None:
        self._model, self._tensors = model, model.subgraphs[0].tensors
        self._operators = _names(schema.BuiltinOperator)
        self._activations = _names(schema.ActivationFunctionType)
        self._types = _names(schema.TensorType)
        self._layers: list[Layer] = []

    def graph(self, file: str, size: int) -> Graph:
        graph = self._model.subgraphs[0]
        start = int(graph.inputs[0])
        made = {start: INPUT}
        for operator in graph.operators:
            self._add(operator, made)
        shape = self._shape(start)
        layers = tuple(_named(layer, self._shape_of(layer, shape)) for layer in self._layers)
        return Graph(file, size, self._weights(), shape, layers)

    def _add(self, operator: Any, made: dict[int, int]) -> None:
        name = self._operators[self._model.operatorCodes[operator.opcodeIndex].builtinCode]
        sources = tuple(made[int(tensor)] for tensor in operator.inputs if int(tensor) in made)
        output = int(operator.outputs[0])
        if name in _PASSED_OVER and sources:
            made[output] = sources[0]
            return
        layer = self._layer(name, operator, sources, output)
        if layer.kind in _MERGED and self._follows(layer):
            self._layers[-1] = replace(layer, sources=self._layers[-1].sources)
        else:
            self._layers.append(layer)
        made[output] = len(self._layers) - 1

    def _follows(self, layer: Layer) -> bool:
        """Return whether the layer before has the same kind and is the only source."""
        before = len(self._layers) - 1
        return before >= 0 and layer.sources == (before,) and self._layers[before].kind == layer.kind

    def _layer(self, name: str, operator: Any, sources: tuple[int, ...], output: int) -> Layer:
        kind, options = _KINDS.get(name, name.lower().replace("_", " ")), operator.builtinOptions
        if name in _WITH_SCALARS and len(sources) == 1:
            kind = SCALE
        shape = self._shape(output)
        weights = [self._shape_of_constant(int(tensor)) for tensor in operator.inputs[1:]]
        kernel = _kernel(kind, options, weights)
        activation = self._activations[getattr(options, "fusedActivationFunction", 0)]
        parameters = sum(math.prod(one) for one in weights) if kind in _WITH_WEIGHTS else 0
        return Layer(
            kind,
            sources,
            shape,
            kernel,
            int(getattr(options, "strideH", 1)),
            "" if activation == "NONE" else activation,
            parameters,
            _multiply_adds(kind, shape, weights),
        )

    def _shape_of(self, layer: Layer, input_shape: Shape) -> Shape:
        source = layer.sources[0] if layer.sources else INPUT
        return input_shape if source == INPUT else self._layers[source].shape

    def _shape(self, tensor: int) -> Shape:
        return tuple(int(side) for side in self._tensors[tensor].shape)[1:]

    def _shape_of_constant(self, tensor: int) -> Shape:
        """Return the whole shape of a stored tensor; (0,) if it is none."""
        if tensor < 0 or self._model.buffers[self._tensors[tensor].buffer].data is None:
            return (0,)
        shape = self._tensors[tensor].shape
        return tuple(int(side) for side in shape) if shape is not None else ()

    def _weights(self) -> str:
        """Return the type of the largest stored tensor."""
        sizes = {
            number: len(data)
            for number, tensor in enumerate(self._tensors)
            if (data := self._model.buffers[tensor.buffer].data) is not None
        }
        largest = max(sizes, key=lambda number: sizes[number], default=None)
        return self._types[self._tensors[largest].type].lower() if largest is not None else "none"


def _named(layer: Layer, before: Shape) -> Layer:
    """Call a reshaping that makes the map larger an enlargement."""
    spatial = 3
    larger = len(layer.shape) == len(before) == spatial and layer.shape[0] > before[0]
    return replace(layer, kind=ENLARGE) if layer.kind == RESHAPE and larger else layer


def _kernel(kind: str, options: Any, weights: list[Shape]) -> tuple[int, int] | None:
    if kind in {CONVOLUTION, DEPTHWISE}:
        return weights[0][1], weights[0][2]
    if hasattr(options, "filterHeight"):
        return int(options.filterHeight), int(options.filterWidth)
    return None


def _multiply_adds(kind: str, shape: Shape, weights: list[Shape]) -> int:
    if kind == DENSE:
        return math.prod(weights[0])
    if kind == CONVOLUTION:
        return math.prod(shape) * math.prod(weights[0][1:])
    if kind == DEPTHWISE:
        return math.prod(shape) * math.prod(weights[0][1:3])
    return 0


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}
