"""Export of the Keras reference to ONNX, for runtimes other than LiteRT: browsers, Windows.

This module writes the graph node by node. tf2onnx, which Keras's own `model.export(format="onnx")` calls, is not
used, although tf2onnx 1.17.0 gives the same scores with Keras 3.15.1 and TensorFlow 2.21 (on the shipped network,
both are within 2.1e-5 of the reference). It names nodes from a counter of the process, so the same model gives
other bytes each time; it needs TensorFlow, while this module runs on every backend of Keras; and it is looking
for a maintainer. A released network has half a dozen kinds of layers, so the gain would be small.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
from keras import Model, layers, ops
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.errors import WrongInput
from worker import DISCLAIMER
from worker.inference.bundle import FILM_FILES, RUNTIME_FILES, Bundle

# ONNX 1.12 (2022) is older than most runtimes in use, and nothing here needs a newer version.
OPSET, IR_VERSION = 17, 8

_ABOUT = (
    "Input `grey`: 8-bit grey values after Nightread's preprocessing, uint8 (n, side, side). Output `evidence`: "
    "logits of each label at each place, float32 (n, h, w, 3). Output `probabilities`: softmax of the mean "
    f"evidence divided by the temperature, float32 (n, 3). If `averaged_with` names another network, they are those of one "
    f"network alone: average the mean evidence of both. {DISCLAIMER}"
)


def to_onnx(model: Model, temperature: float, facts: Mapping[str, str]) -> bytes:
    """Convert a reference network to ONNX.

    Args:
        model: from grey values, shape (n, side, side, 1), to evidence, shape (n, h, w, 3); functional,
            channels last, with layers of the types in `_NODES`.
        temperature: divisor of the logits before the softmax.
        facts: metadata of the file, for instance `facts_of(bundle)`.

    Returns:
        The content of a .onnx file, checked, with any number of images as its first dimension.

    Raises:
        WrongInput: the network has a layer of another type or with unsupported settings.
    """
    graph = _Graph(model)
    _probabilities(graph, temperature)
    size, (height, width, classes) = model.input_shape[1:3], model.output_shape[1:]
    made = helper.make_graph(
        graph.nodes,
        model.name,
        [helper.make_tensor_value_info("grey", TensorProto.UINT8, ["n", *size])],
        [
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["n", height, width, classes]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", classes]),
        ],
        graph.weights,
    )
    file = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nightread",
        doc_string=_ABOUT,
    )
    helper.set_model_props(file, dict(facts))
    onnx.checker.check_model(file, full_check=True)
    return bytes(file.SerializeToString(deterministic=True))


def facts_of(bundle: Bundle, *, film: bool = False) -> dict[str, str]:
    """Return what a program needs that has only the .onnx file; lists and objects are JSON.

    `model_sha256` is the identity of the model (`worker.card.identity`). `network_sha256` is the hash of model.tflite,
    and `reference_sha256` that of the model.keras that the file was converted from; with `film`, those of film.tflite and
    film.keras. `averaged_with` is the `network_sha256` of the model's other network; empty: it has no other.
    """
    served, reference, other = RUNTIME_FILES["litert"], RUNTIME_FILES["tensorflow"], FILM_FILES["litert"]
    if film:
        served, reference, other = FILM_FILES["litert"], FILM_FILES["tensorflow"], served
    sha256 = {name: file["sha256"] for name, file in bundle.card["files"].items()}
    return {
        "name": bundle.name,
        "version": bundle.version,
        "model_sha256": bundle.sha256,
        "network_sha256": sha256[served],
        "reference_sha256": sha256[reference],
        "averaged_with": sha256.get(other, ""),
        "labels": json.dumps(bundle.labels),
        "side": str(bundle.side),
        "preprocessing_version": bundle.preprocessing_version,
        "temperature": repr(bundle.temperature),
        "operating_points": json.dumps(
            {name: asdict(point) for name, point in bundle.operating_points.items()}
        ),
        "default_operating_point": bundle.default_operating_point,
        "second_look": json.dumps(bundle.second_look and asdict(bundle.second_look)),
        "disclaimer": DISCLAIMER,
    }


class _Graph:
    """The nodes that compute the same as a functional Keras network, channels first."""

    def __init__(self, model: Model) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._names: dict[int, str] = {}
        for layer in model.layers:
            self._names[id(layer.output)] = self._computed(layer)
        last = self._names[id(model.output)]
        self.node("Transpose", [last], "evidence", perm=[0, 2, 3, 1])

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, values: NDArray[Any] | float) -> str:
        """Add a constant and return its name. Values other than int64 become float32."""
        array = np.asarray(values)
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _computed(self, layer: layers.Layer) -> str:
        if isinstance(layer, layers.InputLayer):
            return _grey(self)
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        names = [self._names[id(tensor)] for tensor in inputs]
        for kind, write in _NODES.items():
            if isinstance(layer, kind):
                return write(self, layer, names)
        raise WrongInput(
            f"The layer {layer.name!r} ({type(layer).__name__}) cannot be exported to ONNX; "
            "no released network has a layer of this type."
        )


def _out(layer: layers.Layer) -> str:
    """Return the name of a layer's output. The slash keeps it apart from the names of graph outputs."""
    return f"{layer.name}/out"


def _grey(graph: _Graph) -> str:
    """Convert uint8 (n, side, side) to float32 (n, 1, side, side)."""
    axis = graph.weight("channel", np.array([1], dtype=np.int64))
    plane = graph.node("Unsqueeze", ["grey", axis], "plane")
    return graph.node("Cast", [plane], "real", to=TensorProto.FLOAT)


def _probabilities(graph: _Graph, temperature: float) -> None:
    mean = graph.node("ReduceMean", ["evidence"], "logits", axes=[1, 2], keepdims=0)
    scaled = graph.node("Div", [mean, graph.weight("temperature", temperature)], "calibrated_logits")
    graph.node("Softmax", [scaled], "probabilities", axis=-1)


def _rescaling(graph: _Graph, layer: layers.Rescaling, inputs: list[str]) -> str:
    scaled = graph.node(
        "Mul", [*inputs, graph.weight(f"{layer.name}/scale", layer.scale)], f"{layer.name}/scaled"
    )
    offset = graph.weight(f"{layer.name}/offset", layer.offset)
    return graph.node("Add", [scaled, offset], _out(layer))


def _convolution(graph: _Graph, layer: layers.Conv2D | layers.DepthwiseConv2D, inputs: list[str]) -> str:
    _expect(layer, layer.data_format == "channels_last", "channels that are not last")
    _expect(layer, layer.activation.__name__ == "linear", "an activation of its own")
    alone = isinstance(layer, layers.DepthwiseConv2D)
    _expect(layer, not alone or layer.depth_multiplier == 1, "more than one filter a channel")
    # ONNX has (output, input, row, column), and one input for each filter of a depthwise convolution.
    kernel = ops.convert_to_numpy(layer.kernel).transpose((2, 3, 0, 1) if alone else (3, 2, 0, 1))
    names = [*inputs, graph.weight(f"{layer.name}/kernel", kernel)]
    if layer.use_bias:
        names.append(graph.weight(f"{layer.name}/bias", ops.convert_to_numpy(layer.bias)))
    return graph.node(
        "Conv",
        names,
        _out(layer),
        strides=layer.strides,
        dilations=layer.dilation_rate,
        group=kernel.shape[0] if alone else layer.groups,
        pads=_pads(layer, layer.kernel_size, layer.dilation_rate),
    )


def _batch_norm(graph: _Graph, layer: layers.BatchNormalization, inputs: list[str]) -> str:
    named = {
        "gamma": layer.gamma,
        "beta": layer.beta,
        "mean": layer.moving_mean,
        "variance": layer.moving_variance,
    }
    weights = [
        graph.weight(f"{layer.name}/{key}", ops.convert_to_numpy(value)) for key, value in named.items()
    ]
    return graph.node("BatchNormalization", [*inputs, *weights], _out(layer), epsilon=layer.epsilon)


def _relu(graph: _Graph, layer: layers.ReLU, inputs: list[str]) -> str:
    _expect(layer, not layer.negative_slope and not layer.threshold, "a slope or a threshold")
    if layer.max_value is None:
        return graph.node("Relu", inputs, _out(layer))
    ends = (
        graph.weight(f"{layer.name}/{end}", value)
        for end, value in (("low", 0.0), ("high", float(layer.max_value)))
    )
    return graph.node("Clip", [*inputs, *ends], _out(layer))


def _sum(graph: _Graph, layer: layers.Add, inputs: list[str]) -> str:
    return graph.node("Sum", inputs, _out(layer))


def _pooling(graph: _Graph, layer: layers.AveragePooling2D, inputs: list[str]) -> str:
    _expect(layer, layer.data_format == "channels_last", "channels that are not last")
    return graph.node(
        "AveragePool",
        inputs,
        _out(layer),
        kernel_shape=layer.pool_size,
        strides=layer.strides,
        pads=_pads(layer, layer.pool_size, (1, 1)),
    )


def _identity(_: _Graph, __: layers.Layer, inputs: list[str]) -> str:
    """Pass the input on: dropout does nothing outside training."""
    return inputs[0]


_NODES: dict[type, Callable[[_Graph, Any, list[str]], str]] = {
    layers.Rescaling: _rescaling,
    layers.Conv2D: _convolution,
    layers.DepthwiseConv2D: _convolution,
    layers.BatchNormalization: _batch_norm,
    layers.ReLU: _relu,
    layers.Add: _sum,
    layers.AveragePooling2D: _pooling,
    layers.SpatialDropout2D: _identity,
}


def _pads(layer: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> list[int]:
    """Return TensorFlow's `same` padding: an odd row or column goes to the bottom or the right.

    Returns:
        (top, left, bottom, right), as ONNX defines it.
    """
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    totals = []
    for size, length, stride, step in zip(
        layer.input.shape[1:3], kernel, layer.strides, dilation, strict=True
    ):
        needed = (-(-size // stride) - 1) * stride + (length - 1) * step + 1 - size
        totals.append(max(needed, 0))
    return [pair // 2 for pair in totals] + [pair - pair // 2 for pair in totals]


def _expect(layer: layers.Layer, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise WrongInput(f"The layer {layer.name!r} has {otherwise}, which cannot be exported to ONNX.")
