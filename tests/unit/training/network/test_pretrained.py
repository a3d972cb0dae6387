"""training.network.pretrained: what is read is what was written, runs nothing, and lands where it belongs."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from training.errors import WrongInput
from training.network import pretrained
from training.network.architectures import fold, inverted_residual, named_blocks
from training.network.pretrained import begin_with, read_torch
from training.recipe import Network, Stage, load_recipe
from worker.phantom import draw_phantom

NUMBERS = np.arange(12, dtype="<f4")
NETWORK = load_recipe("nightread").network


class _Tensor:
    """Of a storage's numbers those from `start` on, in steps of `strides`."""

    def __init__(self, kind: type, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.kind, self.place = kind, (start, shape, strides)

    def __reduce__(self) -> Any:
        made = sys.modules["torch._utils"]._rebuild_tensor_v2
        return made, ((self.kind, "key"), *self.place, False, OrderedDict())


class _Writer(pickle.Pickler):
    """Storages are written as their kind and key, as PyTorch before 1.6 did."""

    def persistent_id(self, obj: Any) -> Any:
        match obj:
            case (type() as kind, "key"):
                return "storage", kind, "key", "cpu", len(NUMBERS), None
        return None


def written(path: Path, tensors: Any, *, protocol: int = 2) -> Path:
    """A file of weights, with `NUMBERS` as its only storage."""
    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tensors, ["key"]):
        _Writer(file, protocol).dump(part)
    path.write_bytes(file.getvalue() + struct.pack("<q", len(NUMBERS)) + NUMBERS.tobytes())
    return path


@pytest.fixture
def floats(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that a pickle names, without PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    kind = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2() -> None:
        raise AssertionError("reading must not call it")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    torch.FloatStorage = kind  # type: ignore[attr-defined]
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return kind


def test_tensors_are_read_in_the_order_of_their_strides(floats: type, tmp_path: Path) -> None:
    tensors = OrderedDict(
        rows=_Tensor(floats, 0, (3, 4), (4, 1)),
        columns=_Tensor(floats, 0, (4, 3), (1, 4)),
        later=_Tensor(floats, 6, (2,), (3,)),
        scalar=_Tensor(floats, 5, (), ()),
    )
    found = read_torch(written(tmp_path / "w.pth", tensors))
    assert np.array_equal(found["rows"], NUMBERS.reshape(3, 4))
    assert np.array_equal(found["columns"], NUMBERS.reshape(3, 4).T)
    assert found["later"].tolist() == [6, 9]
    assert found["scalar"] == 5


def test_a_file_that_would_run_something_is_refused(tmp_path: Path) -> None:
    marked = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (marked,)

    with pytest.raises(WrongInput, match="not a file of weights"):
        read_torch(written(tmp_path / "evil.pth", {"a": Evil()}))
    assert not marked.exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4", pickle.dumps(1) * 3 + pickle.dumps([1]) * 2])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(WrongInput, match="not a file of weights"):
        read_torch(tmp_path / "other")


def test_a_file_that_ends_too_early_is_refused(floats: type, tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"rows": _Tensor(floats, 0, (3, 4), (4, 1))})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WrongInput, match="not a file of weights"):
        read_torch(path)


def test_a_tensor_beyond_its_numbers_is_refused(floats: type, tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"rows": _Tensor(floats, 4, (3, 4), (4, 1))})
    with pytest.raises(WrongInput, match="not a file of weights"):
        read_torch(path)


def test_the_weights_make_the_statistics_that_come_with_them() -> None:
    """Weights in a wrong place or order would give other means than the batch norms were trained to expect."""
    model = begin_with(inverted_residual(NETWORK), NETWORK)
    chests = [np.asarray(draw_phantom(seed, width=NETWORK.side, height=NETWORK.side)) for seed in range(16)]
    inputs = np.stack(chests)[..., np.newaxis].astype(np.float32)
    convolutions = [f"{name}_project" for name, _ in named_blocks(NETWORK)]
    found = keras.Model(model.input, [model.get_layer(name).output for name in convolutions])(inputs)
    for name, output in zip(convolutions, found, strict=True):
        expected = model.get_layer(f"{name}_norm").moving_mean
        mean = keras.ops.mean(output, axis=(0, 1, 2))
        assert np.corrcoef(*map(keras.ops.convert_to_numpy, (expected, mean)))[0, 1] > 0.5, name
    assert np.isfinite(fold(model, inverted_residual(NETWORK, folded=True)).predict(inputs, verbose=0)).all()


def test_a_network_of_another_shape_cannot_begin_with_them() -> None:
    other = NETWORK.model_copy(
        update={"stages": (Stage(blocks=1, kernel=5, stride=1, expand=1, width=16), *NETWORK.stages[1:])}
    )
    with pytest.raises(WrongInput, match="block0_depthwise has another shape"):
        begin_with(inverted_residual(other), other)


def test_a_network_that_is_too_long_cannot_begin_with_them() -> None:
    stages = NETWORK.stages[:1] * 20
    other: Network = NETWORK.model_copy(update={"stages": stages})
    with pytest.raises(WrongInput, match="another shape"):
        begin_with(inverted_residual(other), other)


def test_weights_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_PACKAGE", "not_installed_at_all")
    with pytest.raises(WrongInput, match=r"install nightread\[train\]"):
        begin_with(inverted_residual(NETWORK), NETWORK)
